"""MODEL and VAE of one run, taking turns on the compute device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import comfy.model_patcher
import comfy.sd
from torch import Tensor

from ..svfr_model.base.errors import WeightsError
from ..svfr_model.base.progress import Callback, report
from ..svfr_model.engine.options import ReferrerOptions
from ..svfr_model.engine.restore import Networks
from ..svfr_model.engine.self_reference import SelfReference, SelfReferrer
from ..svfr_model.faces.face import FaceDetector
from ..svfr_model.networks.identity import Identity
from .images import from_network, to_network
from .model import ComfyBackend
from .types import ResidentEncoder
from .vae import ComfyVAE


@contextmanager
def running(
    model: comfy.model_patcher.ModelPatcher,
    vae: comfy.sd.VAE,
    referrer: ResidentReferrer | None = None,
    callback: Callback | None = None,
) -> Iterator[Networks]:
    """The library's networks. The MODEL is loaded when it is first called, and let go before the VAE works.

    Otherwise the memory manager could take the MODEL's weights away in the middle of a pass. callback: told the stage
    "load", before and after.
    """
    backend = _LoadedWhenCalled(ComfyBackend(model), callback)
    if referrer is not None and referrer.encoder.token_width != backend.token_width:
        raise WeightsError(
            f"The identity projection gives tokens of {referrer.encoder.token_width} channels, but the model takes "
            f"{backend.token_width}: the two files belong to different models."
        )
    try:
        yield Networks(backend, _AfterTheModel(ComfyVAE(vae), backend), referrer)
    finally:
        backend.release()


class ResidentReferrer:
    """The library's SelfReferrer on frames as a wire carries them: in [0,1], clamped.

    So two passes in one node give the same as two samplers with Self-Reference between them.
    """

    def __init__(self, detector: FaceDetector, encoder: ResidentEncoder, options: ReferrerOptions) -> None:
        """See SelfReferrer."""
        self.encoder = encoder
        self._detector, self._options = detector, options

    def __call__(self, frames: Tensor, landmarks: Tensor | None = None) -> SelfReference:
        """Choose from frames (n,3,H,W) in [-1,1], see SelfReferrer."""
        return self.choose(from_network(frames), landmarks)

    def choose(self, image: Tensor, landmarks: Tensor | None = None) -> SelfReference:
        """Choose from frames that came as IMAGE."""
        chosen, alignment = self._options.reference_frame, self._options.alignment
        with self.encoder.loaded() as networks:
            return SelfReferrer(self._detector, networks, chosen, alignment)(to_network(image), landmarks)


def check_width(identity: Identity | None, networks: Networks) -> None:
    """Refuse an identity that was made for another model. Raises WeightsError."""
    if identity is not None and identity.tokens.shape[-1] != networks.backend.token_width:
        raise WeightsError(
            f"The identity has tokens of {identity.tokens.shape[-1]} channels, but the model takes "
            f"{networks.backend.token_width}: load the projection that belongs to the model."
        )


class _LoadedWhenCalled:
    """A DenoiserBackend whose weights are loaded at its first call, with room for that call's size."""

    def __init__(self, backend: ComfyBackend, callback: Callback | None) -> None:
        self._backend, self._callback = backend, callback
        self._stack: ExitStack | None = None
        self.device = backend.device
        self.token_width = backend.token_width
        self.size_multiple_factor = backend.size_multiple_factor

    def __call__(
        self,
        x: Tensor,
        sigma: float,
        degraded: Tensor,
        reference: Tensor | None,
        tokens: Tensor | None,
        task: Tensor,
    ) -> Tensor:
        if self._stack is None:
            report(self._callback, "load", 0, 1)
            stack = ExitStack()
            stack.enter_context(self._backend.load(x.shape[1], x.shape[3], x.shape[4], x.shape[0]))
            self._stack = stack
            report(self._callback, "load", 1, 1)
        return self._backend(x, sigma, degraded, reference, tokens, task)

    def release(self) -> None:
        """End the turn."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()


class _AfterTheModel:
    """A VAE that ends the MODEL's turn before it works."""

    def __init__(self, vae: ComfyVAE, backend: _LoadedWhenCalled) -> None:
        self._vae, self._backend = vae, backend
        self.factor, self.scaling_factor = vae.factor, vae.scaling_factor

    def encode(self, pixels: Tensor, *, full_precision: bool = False) -> Tensor:
        self._backend.release()
        return self._vae.encode(pixels, full_precision=full_precision)

    def decode(self, latents: Tensor) -> Tensor:
        self._backend.release()
        return self._vae.decode(latents)
