"""What travels along the wires besides ComfyUI's own types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy_api.latest import io

from ..svfr_model.base.errors import InputError
from ..svfr_model.networks.identity import IdentityEncoder
from ..svfr_model.stc.network import CodeFormer3D
from .memory import ALLOWANCE, Resident, is_out_of_memory

TaskType = io.Custom("SVFR_TASK")
"""A set of `svfr_model.base.tasks.Task`."""

IdentityType = io.Custom("SVFR_IDENTITY")
"""An `svfr_model.networks.identity.Identity`."""

EncoderType = io.Custom("SVFR_ID_ENCODER")
"""A `ResidentEncoder`."""

DetectorType = io.Custom("SVFR_FACE_DETECTOR")
"""An `svfr_model.faces.detectors.load.FaceDetector`, on the CPU."""

TrackType = io.Custom("SVFR_FACE_TRACK")
"""An `svfr_model.faces.track.PlannedCrop`: a face's track and where its crops are cut."""

STCType = io.Custom("STC_MODEL")
"""A `ResidentSTC`."""


class ResidentEncoder:
    """An identity encoder whose networks lie on the compute device only while they are used."""

    def __init__(self, encoder: IdentityEncoder) -> None:
        """Networks as they were loaded; ComfyUI's memory manager has them from now on."""
        self._encoder = encoder
        self._resident = Resident(encoder.recognizer, encoder.projection)

    @property
    def token_width(self) -> int:
        """Channels of one token."""
        return self._encoder.token_width

    @contextmanager
    def loaded(self) -> Iterator[IdentityEncoder]:
        """The encoder, ready to be called within this."""
        with self._resident.loaded():
            yield self._encoder


class ResidentSTC:
    """A network of BFVR-STC that lies on the compute device only while it is used."""

    ALIVE = 3.4
    """Activations alive at the network's peak, in pictures of its first level; counted on the full-size network."""

    def __init__(self, network: CodeFormer3D) -> None:
        """A network as it was loaded; ComfyUI's memory manager has it from now on."""
        self.network = network
        self._resident = Resident(network)
        for module in network.modules():  # so that cancel need not wait for the end of a window
            module.register_forward_pre_hook(lambda *_: throw_exception_if_processing_interrupted())

    def estimate_memory(self, window: int) -> float:
        """Bytes of activations that a window of so many frames needs, in float32."""
        network = self.network
        return ALLOWANCE * self.ALIVE * 4 * network.sizes.nf * window * network.img_size**2

    @contextmanager
    def loaded(self, window: int) -> Iterator[CodeFormer3D]:
        """The network, ready for windows of so many frames within this. Raises InputError where they do not fit."""
        with self._resident.loaded(self.estimate_memory(window)):
            try:
                yield self.network
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise InputError(
                    f"There is not enough memory on {self._resident.device} for a window of {window} frames: choose a "
                    "shorter window."
                ) from error
