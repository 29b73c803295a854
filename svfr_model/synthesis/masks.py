"""Random masks of missing areas: brush strokes and boxes, still or moving. The shapes are our own choice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import cv2
import numpy as np

from ..base.errors import InputError
from .options import MaskKind


def random_mask(
    rng: np.random.Generator, frames: int, size: tuple[int, int], kind: MaskKind = "any", moving: bool | None = None
) -> np.ndarray:
    """All masks at once, (N,H,W) uint8; see `mask_frames`."""
    return np.stack(list(mask_frames(rng, frames, size, kind, moving)))


def mask_frames(
    rng: np.random.Generator, frames: int, size: tuple[int, int], kind: MaskKind = "any", moving: bool | None = None
) -> Iterator[np.ndarray]:
    """Masks (H,W) uint8, one by one, 1 where the picture is missing.

    frames: how many; size: (H,W). A box covers 20 to 50% of each side; a brush makes one to three strokes with three
    to six corners, 4 to 12% of the shorter side thick. moving: whether the shape moves during the clip; None chooses
    at random. The same generator state gives the same masks. Raises InputError for an unknown kind.
    """
    if kind not in get_args(MaskKind):
        raise InputError(f"Unknown kind of mask {kind!r}: use one of {', '.join(get_args(MaskKind))}.")
    height, width = size
    if kind == "any":
        kind = "brush" if rng.random() < 0.5 else "box"
    moving = bool(rng.random() < 0.5) if moving is None else moving
    draw = _box(rng, height, width) if kind == "box" else _brush(rng, height, width)
    path = _path(rng, frames, height, width) if moving else np.zeros((frames, 2))
    for dx, dy in path:
        shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        yield cv2.warpAffine(draw, shift, (width, height), flags=cv2.INTER_NEAREST)


def paint_white(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """frames (N,H,W,3) uint8, painted white where masks (N,H,W) are not 0: that is how SVFR is shown missing areas."""
    return np.where(masks[..., None] > 0, np.uint8(255), frames)


def _box(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    tall, wide = (max(round(rng.uniform(0.2, 0.5) * side), 1) for side in (height, width))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    mask[top : top + tall, left : left + wide] = 1
    return mask


def _brush(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        point = rng.uniform(0.15, 0.85, 2) * [width, height]
        corners = [point]
        for _ in range(int(rng.integers(2, 6))):
            point = np.clip(point + rng.uniform(-0.35, 0.35, 2) * [width, height], 0, [width - 1, height - 1])
            corners.append(point)
        thickness = max(round(rng.uniform(0.04, 0.12) * min(height, width)), 1)
        cv2.polylines(mask, [np.rint(corners).astype(np.int32)], False, 1, thickness)
    return mask


def _path(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """Offsets (N,2) in pixels: a drift of up to 1% of the side per frame, and a slow sway."""
    time = np.arange(frames)[:, None]
    speed = rng.uniform(-0.01, 0.01, 2) * [width, height]
    sway = rng.uniform(0, 0.05, 2) * [width, height] * np.sin(time * rng.uniform(0.1, 0.5) + rng.uniform(0, 6.3, 2))
    return np.rint(speed * time + sway)
