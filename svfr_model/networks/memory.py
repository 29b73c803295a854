"""What the networks take of a device's memory besides their weights, so that it can be known before they run.

Counted are the tensors that are alive at a network's peak, by running the published network on the meta device
(`python benchmarks/memory.py networks`); they are proportional to the pictures' size and the first level's channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ALLOWANCE = 1.3
"""Memory asked for, relative to the tensors that are alive at a network's peak: room for convolutions' workspaces and
for fragmentation. Chosen, not measured."""

UNET_WEIGHTS, VAE_WEIGHTS = 1_524_634_602, 97_742_847
"""Numbers in the published networks."""

_DENOISED = 28.3
"""Numbers held per latent place, frame and channel of the first level by diffusers' UNet."""

_DECODED = 8.0
_ENCODED = 5.1
"""Numbers held per pixel and channel of the first level for each picture, in the networks of diffusers. ComfyUI's hold
7.1 and 3.1."""

_STREAMED = 2.0
_STREAMED_ONCE = 5.0
"""The same for a clip decoded picture by picture: for each picture, and for the one that is worked on."""


def denoising_memory(rows: int, frames: int, size: tuple[int, int], channels: int, dtype: torch.dtype) -> int:
    """Bytes for one call with rows windows of frames latents of size (height, width).

    channels are those of the UNet's first level.
    """
    return int(ALLOWANCE * _DENOISED * rows * frames * channels * size[0] * size[1] * dtype.itemsize)


def decoding_memory(
    count: int, size: tuple[int, int], channels: int, dtype: torch.dtype, *, streamed: bool = False
) -> int:
    """Bytes for count frames of size (height, width) decoded as one clip, at once or streamed.

    channels are those of the decoder's level with the size of the picture.
    """
    held = _STREAMED * count + _STREAMED_ONCE if streamed else _DECODED * count
    return int(ALLOWANCE * held * channels * size[0] * size[1] * dtype.itemsize)


def encoding_memory(count: int, size: tuple[int, int], channels: int, dtype: torch.dtype) -> int:
    """Bytes for count pictures of size (height, width) encoded at once; channels as for `decoding_memory`."""
    return int(ALLOWANCE * _ENCODED * count * channels * size[0] * size[1] * dtype.itemsize)
