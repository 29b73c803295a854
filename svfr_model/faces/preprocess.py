"""From a frame to what the network is given, number for number with the reference (spec section 3c), and back."""

from __future__ import annotations

import numpy as np
import torch

MISSING = 0.5
"""A mask is missing from here on; the reference's own test, ==255, agrees for every mask of only 0 and 255."""


def crop_resize(frame: np.ndarray, square: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The piece x1,y1,x2,y2 of a frame (H,W,3) uint8, resized to (width, height) by Pillow's bicubic: (h,w,3) uint8.

    What lies outside the frame is black, as Pillow has it.
    """
    from PIL import Image

    piece = Image.fromarray(np.ascontiguousarray(frame)).crop(square)
    return np.array(piece.resize(size, Image.Resampling.BICUBIC))


def to_grey(picture: np.ndarray) -> np.ndarray:
    """A picture (h,w,3) uint8 without its colour, still with three channels (Pillow's L)."""
    from PIL import Image

    return np.array(Image.fromarray(np.ascontiguousarray(picture)).convert("L").convert("RGB"))


def whiten(pictures: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pictures (...,3,h,w) in [-1,1] with white where the mask (...,1,h,w) in [0,1] says that they are missing."""
    return torch.where(mask >= MISSING, torch.ones_like(pictures), pictures)


def to_pixels(picture: np.ndarray | torch.Tensor) -> torch.Tensor:
    """uint8 pictures, (h,w,3) array or (...,3,h,w) tensor, as float32 in [-1,1], channels first.

    Divided by 255 in float32 first and then moved, in the reference's order, so that the last bit agrees.
    """
    if isinstance(picture, np.ndarray):
        picture = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)  # HWC -> CHW
    return (picture.float() / 255 - 0.5) / 0.5


def lq_pixels(
    frame: np.ndarray,
    square: tuple[int, int, int, int],
    size: tuple[int, int],
    grey: bool = False,
    mask: np.ndarray | None = None,
) -> torch.Tensor:
    """The degraded frame as the network sees it: (3,h,w) float32 in [-1,1].

    frame (H,W,3) uint8; grey for colorization; mask (h,w) uint8 in crop coordinates, where 128 and more is missing.
    """
    picture = crop_resize(frame, square, size)
    pixels = to_pixels(to_grey(picture) if grey else picture)
    if mask is None:
        return pixels
    return whiten(pixels, torch.from_numpy(np.ascontiguousarray(mask)).float()[None] / 255)


def to_uint8(pixels: torch.Tensor, truncate: bool = False) -> torch.Tensor:
    """Pixels in [-1,1], clamped, as uint8: rounded, or truncated as the reference does for its mp4 files."""
    value = (pixels.float() * 0.5 + 0.5).clamp(0, 1) * 255
    return value.to(torch.uint8) if truncate else (value + 0.5).floor().to(torch.uint8)
