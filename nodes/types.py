"""What travels along the wires besides ComfyUI's own types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy_api.latest import io

from ..svfr_model.identity import IdentityEncoder
from .memory import Resident

TaskType = io.Custom("SVFR_TASK")
"""A set of `svfr_model.tasks.Task`."""

IdentityType = io.Custom("SVFR_IDENTITY")
"""An `svfr_model.identity.Identity`."""

EncoderType = io.Custom("SVFR_ID_ENCODER")
"""A `ResidentEncoder`."""

DetectorType = io.Custom("SVFR_FACE_DETECTOR")
"""An `svfr_model.faces.detect.FaceDetector`, on the CPU."""

TrackType = io.Custom("SVFR_FACE_TRACK")
"""An `svfr_model.faces.track.FaceTrack` whose crop is planned."""


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
