"""UNet and VAE of a run on one card: where both do not fit beside what the VAE needs, the UNet leaves."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from ..base.devices import free_memory
from ..engine.conditioning import VAE
from ..engine.denoiser import DenoiserBackend
from ..networks.unet import DiffusersBackend
from ..networks.vae import DiffusersVAE

log = logging.getLogger(__name__)

RAM = torch.device("cpu")


def take_turns(unet: DiffusersBackend, vae: DiffusersVAE) -> tuple[DenoiserBackend, VAE]:
    """Both, so that the VAE sends the UNet off the card where memory is short; on a CPU, as they are."""
    if unet.device == RAM:
        return unet, vae
    leaving = LeavingUNet(unet)
    return leaving, VAEAlone(vae, leaving)


class LeavingUNet:
    """A UNet that can leave the card and is back when it is called."""

    def __init__(self, unet: DiffusersBackend) -> None:
        self._unet = unet
        self.device = self._home = unet.device
        self.token_width = unet.token_width
        self.size_multiple_factor = unet.size_multiple_factor

    def __call__(
        self,
        x: Tensor,
        sigma: float,
        degraded: Tensor,
        reference: Tensor | None,
        tokens: Tensor | None,
        task: Tensor,
    ) -> Tensor:
        """The denoised estimate, see `DenoiserBackend`."""
        if self._unet.device != self._home:
            self._unet.network.to(self._home)
        return self._unet(x, sigma, degraded, reference, tokens, task)

    def leave(self) -> None:
        """Make room on the card."""
        if self._unet.device == RAM:
            return
        log.info("The UNet leaves %s until the VAE is done.", self._home)
        self._unet.network.to(RAM)
        if self._home.type == "cuda":
            torch.cuda.empty_cache()  # so that what it took is free in one piece


class VAEAlone:
    """A VAE before which the UNet leaves, where there is not room for both."""

    def __init__(self, vae: DiffusersVAE, unet: LeavingUNet) -> None:
        self._vae, self._unet = vae, unet
        self.factor, self.scaling_factor = vae.factor, vae.scaling_factor

    def encode(self, pixels: Tensor, *, full_precision: bool = False) -> Tensor:
        """See `svfr_model.engine.conditioning.VAE`."""
        self._make_room(self._vae.encoding_memory(pixels.shape, full_precision=full_precision))
        return self._vae.encode(pixels, full_precision=full_precision)

    def decode(self, latents: Tensor) -> Tensor:
        """See `svfr_model.engine.conditioning.VAE`."""
        self._make_room(self._vae.decoding_memory(latents.shape))
        return self._vae.decode(latents)

    def _make_room(self, needed: int) -> None:
        if needed > free_memory(self._vae.device):
            self._unet.leave()
