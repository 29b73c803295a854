"""What a run with the published networks needs of a device, so that it is known which crops fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.conditioning import ENCODE_PIXELS
from ..networks.memory import (
    UNET_WEIGHTS,
    VAE_WEIGHTS,
    decoding_memory,
    denoising_memory,
    encoding_memory,
)
from ..networks.unet import PUBLISHED_CONFIG as UNET
from ..networks.vae import PUBLISHED_CONFIG as VAE

if TYPE_CHECKING:
    import torch

SIZES = (512, 768, 1024)
"""Sides of square crops that are looked at."""

WINDOW = 16


def needed_memory(side: int, rows: int, dtype: torch.dtype) -> int:
    """Bytes at the peak of a run with square crops, rows windows of 16 frames a call; presets do not change it.

    Sampling has both networks on the device. Before encoding and decoding the UNet leaves a card that is too small for
    both, and frames are decoded one by one.
    """
    import torch

    factor = 1 << (len(VAE["block_out_channels"]) - 1)
    latents, picture, channels = (side // factor,) * 2, (side, side), VAE["block_out_channels"][0]
    sampling = UNET_WEIGHTS * dtype.itemsize
    sampling += denoising_memory(rows, WINDOW, latents, UNET["block_out_channels"][0], dtype)
    decoding = decoding_memory(WINDOW, picture, channels, dtype, streamed=True)
    encoding = encoding_memory(max(1, ENCODE_PIXELS // side**2), picture, channels, torch.float32)
    leaves = dtype != torch.float32  # on a CPU, which computes in float32, the UNet stays
    coding = max(decoding, encoding) + (0 if leaves else UNET_WEIGHTS * dtype.itemsize)
    return VAE_WEIGHTS * dtype.itemsize + max(sampling, coding)


def rows_that_fit(side: int, dtype: torch.dtype, free: int) -> tuple[int, int]:
    """How many windows a call can have, 2 as by default, 1 or 0, and what that many need, or for 0 what one would."""
    for rows in (2, 1):
        if needed_memory(side, rows, dtype) <= free:
            return rows, needed_memory(side, rows, dtype)
    return 0, needed_memory(side, 1, dtype)
