"""Stable Video Diffusion's VAE with the temporal decoder, as diffusers builds it (docs/reference/svfr.md#vae)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..base.devices import free_memory, is_out_of_memory
from ..base.errors import InputError
from ..weights import load_network
from .memory import decoding_memory, encoding_memory
from .streaming import Framewise, Stage, StreamedDecoder, TemporalBlock, decode_streamed, own_parameters

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder

log = logging.getLogger(__name__)

ROLE = "vae"

PUBLISHED_CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
"""Constructor arguments of the published checkpoint."""


def build_vae(config: Mapping[str, Any] | None = None) -> AutoencoderKLTemporalDecoder:
    """A randomly initialised VAE; under `torch.device("meta")` it takes no memory and waits for its weights.

    config holds diffusers' constructor arguments, by default those of the published checkpoint.
    Raises InputError for a config diffusers cannot build.
    """
    from diffusers import AutoencoderKLTemporalDecoder

    try:
        return AutoencoderKLTemporalDecoder(**(PUBLISHED_CONFIG if config is None else config)).eval()
    except (TypeError, ValueError) as error:
        raise InputError(f"No VAE can be built from this config: {error}") from error


def load_vae(
    path: Path | str, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> DiffusersVAE:
    """The VAE of a checkpoint: of the published architecture, or of the one its metadata describes.

    Raises WeightsError for a file that is missing, damaged or of another architecture.
    """
    network = load_network(path, ROLE, build_vae, device=device, dtype=dtype)
    return DiffusersVAE(network)


class DiffusersVAE:
    """Frames to latents and back. The decoding half keeps its device and dtype."""

    def __init__(self, network: AutoencoderKLTemporalDecoder) -> None:
        self.network = network

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.decoder.conv_in.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in, unless full precision is asked for."""
        dtype: torch.dtype = self.network.decoder.conv_in.weight.dtype
        return dtype

    @property
    def factor(self) -> int:
        """Pixels per latent along each side: 8 at full size."""
        levels = len(self.network.config.block_out_channels)
        return 1 << (levels - 1)

    @property
    def scaling_factor(self) -> float:
        """What the sampler multiplies the encoder's latents by."""
        return float(self.network.config.scaling_factor)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, *, full_precision: bool = False) -> torch.Tensor:
        """The mode of the posterior of each picture, unscaled.

        pixels is (B,3,H,W) float in [-1,1], H and W multiples of `factor`; the result is (B,4,H/f,W/f)
        float32. full_precision computes in float32 whatever the weights are stored in and under any autocast, as the
        reference does for the degraded frames but not for the reference frame (docs/reference/svfr.md#encoding).
        """
        dtype = torch.float32 if full_precision else self.dtype
        self._put_encoder_in(dtype)
        with _without_autocast(self.device) if full_precision else nullcontext():
            mode: torch.Tensor = self.network.encode(pixels.to(self.device, dtype)).latent_dist.mode()
        return mode.float()

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The frames of one clip.

        latents is (F,4,h,w), already divided by `scaling_factor`; the result is (F,3,H,W) float32.
        The temporal decoder sees exactly the frames of this call, so where a long clip is split changes the
        result. Values are around [-1,1] and not clamped. Where the device's free memory does not hold all
        frames at once they are decoded frame by frame, which changes no more than rounding.
        """
        latents = latents.to(self.device, self.dtype)
        if self.decoding_memory(latents.shape) <= free_memory(self.device):
            try:
                return self._decode_whole(latents)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            log.warning("Out of memory with %d frames decoded at once: they are decoded frame by frame.", len(latents))
        return self._decode_streamed(latents)

    def encoding_memory(self, shape: torch.Size, *, full_precision: bool = False) -> int:
        """Bytes needed besides the weights to encode pixels of that shape (B,3,H,W)."""
        dtype = torch.float32 if full_precision else self.dtype
        return encoding_memory(shape[0], (shape[-2], shape[-1]), self.network.config.block_out_channels[0], dtype)

    def decoding_memory(self, shape: torch.Size, *, streamed: bool = False) -> int:
        """Bytes needed besides the weights to decode latents of that shape (F,4,h,w), at once or frame by frame."""
        count, _, height, width = shape
        size = height * self.factor, width * self.factor
        channels = self.network.config.block_out_channels[0]
        return decoding_memory(count, size, channels, self.dtype, streamed=streamed)

    def _decode_whole(self, latents: torch.Tensor) -> torch.Tensor:
        frames: torch.Tensor = self.network.decode(latents, num_frames=latents.shape[0]).sample
        return frames.float()

    def _decode_streamed(self, latents: torch.Tensor) -> torch.Tensor:
        return decode_streamed(_taken_apart(self.network.decoder), latents).float()

    def _put_encoder_in(self, dtype: torch.dtype) -> None:
        """Put the encoding half into another dtype and leave it there: a clip is encoded in many calls.

        Going up and back again loses nothing.
        """
        for half in (self.network.encoder, self.network.quant_conv):
            if next(half.parameters()).dtype != dtype:
                half.to(dtype)


def _taken_apart(decoder: Any) -> StreamedDecoder:
    """diffusers' TemporalDecoder as `decode_streamed` takes it."""
    stages: list[Stage] = []
    before: list[Framewise] = [decoder.conv_in]
    middle = decoder.mid_block
    for resnets, after in (
        ([middle.resnets[0]], middle.attentions),
        (middle.resnets[1:], ()),
        *((block.resnets, block.upsamplers or ()) for block in decoder.up_blocks),
    ):
        for resnet in resnets:
            stages.append(Stage([*before, partial(resnet.spatial_res_block, temb=None)], _temporal(resnet)))
            before = []
        before = list(after)
    return StreamedDecoder(
        stages, [decoder.conv_norm_out, decoder.conv_act, decoder.conv_out], decoder.time_conv_out, own_parameters
    )


def _temporal(block: Any) -> TemporalBlock:
    """The half of diffusers' SpatioTemporalResBlock that works over time."""
    inner = block.temporal_res_block
    return TemporalBlock((inner.norm1, inner.norm2), (inner.conv1, inner.conv2), block.time_mixer.mix_factor)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computing as precisely as the weights are; the meta device, on which sizes are counted, knows no autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)
