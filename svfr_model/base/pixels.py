"""Pixels between files and networks: value ranges, sides, and the state that each task expects its input in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .tasks import Task, Tasks

MASK_THRESHOLD = 0.5
"""Mask values of at least this are masked: the picture is missing there. The network sees only white or not white."""


def as_uint8(frame: np.ndarray) -> np.ndarray:
    """A frame (H,W,3), uint8 or float in [0,1], as uint8; InputError for anything else."""
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise InputError(f"A frame must be an (H,W,3) picture, got an array of shape {frame.shape}.")
    if frame.dtype == np.uint8:
        return frame
    if not np.issubdtype(frame.dtype, np.floating):
        raise InputError(f"A frame must be uint8 or float in [0,1], got {frame.dtype}.")
    levels: np.ndarray = np.clip(frame, 0.0, 1.0) * 255 + 0.5
    return levels.astype(np.uint8)

ASPECT_TOLERANCE = 0.02
"""By how much two sides' ratios may differ, for sizes that were rounded when a clip was scaled."""


def is_stretched(mask: tuple[int, int], frame: tuple[int, int]) -> bool:
    """Whether a mask of this width and height has another shape than the frames that it belongs to."""
    return abs(mask[0] * frame[1] / (mask[1] * frame[0]) - 1) > ASPECT_TOLERANCE


def to_network_range(pixels: Tensor) -> Tensor:
    """uint8 [0,255] to float32 [-1,1], rounded as the reference does: value/255 in float32, then (v-0.5)/0.5."""
    return (pixels.float() / 255.0 - 0.5) / 0.5


def from_network_range(pixels: Tensor, *, truncate: bool = False) -> Tensor:
    """float [-1,1], clamped, to uint8 [0,255], rounded half up.

    truncate drops the fraction instead, as the reference does for its videos and its identity picture.
    """
    scaled = (pixels.float() * 0.5 + 0.5).clamp(0, 1) * 255.0
    return (scaled if truncate else scaled + 0.5).floor().to(torch.uint8)


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Frames (...,H,W) of any dtype, padded to the next multiple by repeating their right and bottom edges.

    Nothing is stretched: cropping to (H,W) gives the frames back. Returns the same tensor if there is nothing to add.
    """
    for dim in (-2, -1):
        size = frames.shape[dim]
        missing = -size % multiple
        if missing:
            index = torch.arange(size + missing, device=frames.device).clamp(max=size - 1)
            frames = frames.index_select(dim, index)
    return frames


def degrade_for_tasks(pixels: Tensor, tasks: Tasks, mask: Tensor | None = None) -> Tensor:
    """Bring a clip into the state that its tasks expect: grey for colorization, white under the mask for inpainting.

    pixels (B,3,H,W) uint8. mask (1,1,H,W) or (B,1,H,W), float in [0,1] or bool: the picture is missing where it is at
    least MASK_THRESHOLD. Only inpainting uses it. Grey is ITU-R 601 luma with Pillow's rounding, so the result is
    bit-identical to the reference's convert("L"). Returns uint8, and the same tensor if nothing changes.
    """
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise InputError(f"Frames must be a (B,3,H,W) uint8 tensor, not {tuple(pixels.shape)} {pixels.dtype}.")
    if Task.COLORIZATION in tasks:
        red, green, blue = pixels.to(torch.int32).unbind(1)
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        pixels = luma.to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    if Task.INPAINTING in tasks and mask is not None:
        _check_mask(mask, pixels)
        pixels = pixels.masked_fill(mask.to(pixels.device) >= MASK_THRESHOLD, 255)
    return pixels


def _check_mask(mask: Tensor, pixels: Tensor) -> None:
    count, size = pixels.shape[0], pixels.shape[-2:]
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.shape[0] not in (1, count) or mask.shape[-2:] != size:
        raise InputError(
            f"The mask is {tuple(mask.shape)}, but {count} frames of {size[0]}x{size[1]} need (1,1,H,W) or "
            "(B,1,H,W) of the same size: resize it with the frames."
        )
