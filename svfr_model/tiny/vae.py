"""Training svfr-tiny's VAE: the class of Stable Video Diffusion's, at a factor of 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.pixels import to_network_range
from ..base.progress import Callback
from ..networks.vae import PUBLISHED_CONFIG, build_vae
from ..training.loop import Loop, LoopOptions, Losses, placed

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder
    from diffusers.models.resnet import SpatioTemporalResBlock

TINY_VAE: dict[str, Any] = {
    **PUBLISHED_CONFIG,
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "block_out_channels": [64, 64, 64],
    "sample_size": 64,
}
"""Two layers per block like the published one: ComfyUI's decoder has no counterpart for one. 64 channels, because
diffusers normalises in 32 groups whatever the width: a group of one channel would lose the picture's brightness."""

KL_WEIGHT = 1e-6
EDGE_WEIGHT = 0.5
CHANGE_WEIGHT = 1.0
UNSTEADY = 0.25
"""Most noise on the latents that the decoder's temporal layers learn from; scaled latents have a deviation of 1."""
NARROW = -6.0
"""The posterior's log variance at the start."""


class _Pass(nn.Module):
    """Stands in for a residual block that adds nothing, at no cost."""

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return x


class _Spatial(nn.Module):
    """The spatial half of a spatio-temporal block, whose temporal half adds nothing."""

    def __init__(self, block: SpatioTemporalResBlock) -> None:
        super().__init__()
        self.spatial_res_block: nn.Module = block.spatial_res_block

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        out: Tensor = self.spatial_res_block(x, None)
        return out


class _Reconstruct(nn.Module):
    """Pixels to the losses of their reconstruction, as one forward call."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Losses:
        """(B,3,H,W) in [-1,1]: absolute error of pixels and of their differences, and latent diffusion's KL term."""
        posterior = self.vae.encode(pixels).latent_dist
        made = self.vae.decode(posterior.sample(), num_frames=1).sample.float()
        error = F.l1_loss(made, pixels)
        edges = sum(F.l1_loss(made.diff(dim=d), pixels.diff(dim=d)) for d in (-1, -2))
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        squared = F.mse_loss(made.detach(), pixels)
        return {"loss": error + EDGE_WEIGHT * edges + KL_WEIGHT * kl, "mse": squared, "kl": kl.detach()}


def train_vae(
    frames: np.ndarray,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    config: Mapping[str, Any] = TINY_VAE,
    batch: int = 12,
) -> AutoencoderKLTemporalDecoder:
    """A VAE that reconstructs frames. frames (K,N,H,W,3) uint8 RGB of K clips; batch frames a step.

    To take only minutes on a CPU, the residual blocks at full resolution and the decoder's temporal halves stay at
    zero, where they are the identity, and are left out of the computation. An eighth of the frames is shown in grey and
    an eighth with a white box, because the encoder meets such frames in a restoration. Returns the averaged network, in
    its published scale (see fit_scale).
    """
    torch.manual_seed(options.seed)
    network = build_vae(config).train()
    start_at_identity(network)
    thin = _Reconstruct(network)
    removed = take_out(network)

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        rng = np.random.default_rng(seed)
        losses: Losses = modules["vae"](placed(modules["vae"], _spoiled(draw_frames(frames, rng, batch), rng)))
        return losses

    loop = Loop({"vae": thin}, step, options, folder)
    loop.run(callback)
    loop.averaged()
    put_back(removed)
    network.cpu().eval()
    fit_scale(network, to_network_range(torch.from_numpy(np.ascontiguousarray(frames[:64, 0])).permute(0, 3, 1, 2)))
    return network


@torch.no_grad()
def start_at_identity(network: AutoencoderKLTemporalDecoder) -> None:
    """Make every residual branch add nothing at first (the second convolution and the attention's output are zero)."""
    for name, module in network.named_modules():
        if name.endswith((".conv2", ".to_out.0")):
            module.weight.zero_()
            module.bias.zero_()
    for channel in range(3):  # the last layer mixes neighbouring frames: at first each passes as it is
        network.decoder.time_conv_out.weight[channel].zero_()
        network.decoder.time_conv_out.weight[channel, channel, 1] = 1.0
    network.decoder.time_conv_out.bias.zero_()
    # a posterior as wide as at random would drown the first thousand steps in noise
    network.quant_conv.bias[network.config.latent_channels :] = NARROW


Removed = list[tuple[nn.Module, str, nn.Module]]
"""Parent, name and block of everything that take_out replaced."""


def put_back(removed: Removed) -> None:
    """Undo take_out."""
    for parent, name, block in removed:
        setattr(parent, name, block)


def take_out(network: AutoencoderKLTemporalDecoder, *, temporal: bool = True, full: bool = True) -> Removed:
    """Replace blocks that stay the identity with nothing.

    temporal: the decoder's temporal halves too. full: every block of the decoder at full resolution; otherwise the
    spatial half of the first one stays.
    """
    removed: Removed = []

    def replace(parent: nn.Module, name: str, stand_in: nn.Module) -> None:
        removed.append((parent, name, getattr(parent, name)))
        setattr(parent, name, stand_in)

    last = network.decoder.up_blocks[-1].resnets
    for blocks in (network.encoder.down_blocks[0].resnets, last):
        for name, block in list(blocks._modules.items()):
            stays = not full and block is last[0]
            replace(blocks, name, _Spatial(block) if stays else _Pass())
    if not temporal:
        return removed
    for blocks in (network.decoder.mid_block.resnets, *(up.resnets for up in network.decoder.up_blocks[:-1])):
        for name, block in list(blocks._modules.items()):
            replace(blocks, name, _Spatial(block))
    return removed


def _decoded(decoder: nn.Module, latents: Tensor, pixels: Tensor) -> Tensor:
    """Latents (B,F,4,h,w), unscaled, of B clips as pictures of the shape of pixels (B,F,3,H,W)."""
    clips, count = pixels.shape[:2]
    told = torch.zeros(clips, count, device=latents.device)
    made: Tensor = decoder(latents.flatten(0, 1), num_frames=count, image_only_indicator=told)
    return made.float().view_as(pixels)


class _Steady(nn.Module):
    """Latents of clips to the losses of their decoding, as one forward call."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor, pixels: Tensor) -> Losses:
        """latents (B,F,4,h,w) unscaled, pixels (B,F,3,H,W) in [-1,1]: absolute error of pixels and of differences."""
        made = _decoded(self.decoder, latents, pixels)
        error = F.l1_loss(made, pixels)
        edges = sum(F.l1_loss(made.diff(dim=d), pixels.diff(dim=d)) for d in (-1, -2))
        change = F.l1_loss(made.diff(dim=1), pixels.diff(dim=1))
        return {"loss": error + EDGE_WEIGHT * edges + CHANGE_WEIGHT * change, "change": change.detach()}


def train_steadiness(
    vae: AutoencoderKLTemporalDecoder,
    frames: np.ndarray,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    clips: int = 2,
    length: int = 8,
) -> AutoencoderKLTemporalDecoder:
    """Train the temporal halves of a VAE's decoder, so that flicker in the latents does not reach the pictures.

    As for Stable Video Diffusion (arXiv 2311.15127), everything but the decoder's temporal layers is frozen. Ours: the
    latents get noise that differs from frame to frame, with a deviation of 0 to `UNSTEADY`, like those that a UNet
    samples. frames (K,N,H,W,3) uint8. Returns the same module with the averaged weights.
    """
    torch.manual_seed(options.seed)
    vae.requires_grad_(False)
    removed = take_out(vae, temporal=False)
    for name, parameter in vae.decoder.named_parameters():
        parameter.requires_grad_("temporal" in name or name.startswith("time_") or "time_mixer" in name)

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        rng = np.random.default_rng(seed)
        pixels = _draw_clips(frames, rng, clips, length)
        with torch.no_grad():
            latents = vae.encode(pixels.flatten(0, 1)).latent_dist.mode().float().unflatten(0, (clips, length))
            latents = latents.contiguous()  # backward through channels-last ones crashes torch 2.13 on a CPU
        levels = UNSTEADY / vae.config.scaling_factor * torch.from_numpy(rng.uniform(size=(clips, 1, 1, 1, 1))).float()
        shown = placed(modules["decoder"], (latents + levels * torch.randn(latents.shape), pixels))
        losses: Losses = modules["decoder"](*shown)
        return losses

    loop = Loop({"decoder": _Steady(vae.decoder)}, step, options, folder)
    loop.run(callback)
    loop.averaged()
    put_back(removed)
    return vae.cpu().requires_grad_(True).eval()


class _Polished(nn.Module):
    """Latents of clips to the squared error of their decoding, as one forward call."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latents: Tensor, pixels: Tensor) -> Losses:
        """latents (B,F,4,h,w) unscaled, pixels (B,F,3,H,W) in [-1,1]: squared error of pixels and of their changes."""
        made = _decoded(self.decoder, latents, pixels)
        error = F.mse_loss(made, pixels)
        change = F.mse_loss(made.diff(dim=1), pixels.diff(dim=1))
        return {"loss": error + CHANGE_WEIGHT * change, "mse": error.detach(), "change": change.detach()}


def polish_decoder(
    vae: AutoencoderKLTemporalDecoder,
    frames: np.ndarray,
    estimates: Tensor,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    length: int = 8,
) -> AutoencoderKLTemporalDecoder:
    """Train the decoder once more, its first block at full resolution too, on what the UNet gives it to decode. Ours.

    The encoder stays as it is, so the UNet does too. frames (K,N,H,W,3) uint8; estimates (K,N,4,h,w), the UNet's,
    scaled. A step shows one clip's estimate and another clip's encoding, so that the decoder stays one of encodings as
    well. The same squared error over time as over pixels keeps it from smoothing. Returns the same module with the
    averaged weights.
    """
    torch.manual_seed(options.seed)
    vae.requires_grad_(False)
    removed = take_out(vae, temporal=False, full=False)
    vae.decoder.requires_grad_(True)

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        rng = np.random.default_rng(seed)
        clip, first = int(rng.integers(len(frames))), int(rng.integers(frames.shape[1] - length + 1))
        shown = np.array(frames[clip, first : first + length])
        pixels = [to_network_range(torch.from_numpy(shown).permute(0, 3, 1, 2)), _draw_clips(frames, rng, 1, length)[0]]
        with torch.no_grad():
            encoded = vae.encode(pixels[1]).latent_dist.mode().float()
        estimate = estimates[clip, first : first + length].float() / vae.config.scaling_factor
        batch = torch.stack([estimate, encoded]).contiguous(), torch.stack(pixels)
        losses: Losses = modules["decoder"](*placed(modules["decoder"], batch))
        return losses

    loop = Loop({"decoder": _Polished(vae.decoder)}, step, options, folder)
    with _contiguous_norms(vae.decoder):
        loop.run(callback)
    loop.averaged()
    put_back(removed)
    return vae.cpu().requires_grad_(True).eval()


@contextmanager
def _contiguous_norms(network: nn.Module) -> Iterator[None]:
    """Contiguous inputs for group norms: on a CPU, torch 2.13 goes back through channels-last ones very slowly."""
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    hooks = [norm.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),)) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _draw_clips(frames: np.ndarray, rng: np.random.Generator, clips: int, length: int) -> Tensor:
    """Runs of random clips, (clips,length,3,H,W) float32 in [-1,1]; half of them mirrored."""
    chosen, first = rng.integers(len(frames), size=clips), rng.integers(frames.shape[1] - length + 1, size=clips)
    turns = [1 if rng.random() < 0.5 else -1 for _ in chosen]
    drawn = [frames[c, f : f + length, :, ::turn] for c, f, turn in zip(chosen, first, turns, strict=True)]
    return to_network_range(torch.from_numpy(np.stack(drawn)).permute(0, 1, 4, 2, 3))


def draw_frames(frames: np.ndarray, rng: np.random.Generator, batch: int) -> Tensor:
    """Random frames of random clips, (batch,3,H,W) float32 in [-1,1]; half of them mirrored."""
    clips, numbers = rng.integers(len(frames), size=batch), rng.integers(frames.shape[1], size=batch)
    chosen = [frames[c, n, :, :: 1 if rng.random() < 0.5 else -1] for c, n in zip(clips, numbers, strict=True)]
    return to_network_range(torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2))


def _spoiled(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """An eighth of the frames grey, the next eighth with a white box."""
    part = max(len(pixels) // 8, 1)
    luma = pixels.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    pixels = pixels.clone()
    pixels[:part] = (pixels[:part] * luma).sum(1, keepdim=True)
    height, width = pixels.shape[-2:]
    top, left = int(rng.integers(height - 8)), int(rng.integers(width - 8))
    bottom, right = top + int(rng.integers(8, height // 2)), left + int(rng.integers(8, width // 2))
    pixels[part : 2 * part, :, top:bottom, left:right] = 1.0
    return pixels


@torch.no_grad()
def fit_scale(vae: AutoencoderKLTemporalDecoder, pixels: Tensor) -> None:
    """Scale the latents so that scaling_factor, the published 0.18215, brings them to a standard deviation of 1.

    The encoder's last layer and the decoder's first get opposite factors, so pictures do not change. The sampler's
    noise levels then mean the same for this VAE as for the published one.
    """
    latents = vae.encode(pixels).latent_dist.mode()
    gain = 1.0 / (vae.config.scaling_factor * float(latents.std()))
    mean = vae.config.latent_channels
    vae.quant_conv.weight[:mean] *= gain
    vae.quant_conv.bias[:mean] *= gain
    vae.quant_conv.bias[mean:] += 2 * float(np.log(gain))
    vae.decoder.conv_in.weight /= gain
