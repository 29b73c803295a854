"""From frames of any size to the square pictures that BFVR-STC works on, and back (docs/reference/stc.md#video)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError

FramingMode: TypeAlias = Literal["letterbox", "squash"]

LEAST_SIDE = 64
"""Smaller frames are refused: enlarged eight times or more, they show nothing that could be restored."""

LOW_FREQUENCY_SIGMA = 8.0
"""Sigma, in pixels of the network's picture, of the blur that leaves the low frequencies: one latent position."""


@dataclass(frozen=True)
class Framing:
    """Where frames of one size lie in the network's square picture.

    height, width: of the frames in pixels. side: of the picture. mode: "letterbox" keeps the aspect, centres the frame
    and fills the rest with its reflection; "squash" is the reference's way, which stretches the frame over the square.
    Either way whatever is finer than the picture is lost.

    Raises InputError for frames below 64 pixels on a side.
    """

    height: int
    width: int
    side: int
    mode: FramingMode = "letterbox"

    def __post_init__(self) -> None:
        if self.mode not in ("letterbox", "squash"):
            raise InputError(f'Unknown framing {self.mode!r}: use "letterbox" or "squash".')
        if min(self.height, self.width) < LEAST_SIDE:
            raise InputError(
                f"Frames of {self.width}x{self.height} pixels are too small: BFVR-STC needs at least {LEAST_SIDE} on "
                "each side. Enlarge them first, or restore them with SVFR."
            )

    @property
    def content(self) -> tuple[int, int]:
        """Height and width of the frame inside the picture."""
        if self.mode == "squash":
            return self.side, self.side
        scale = self.side / max(self.height, self.width)
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the frame's first pixel inside the picture."""
        height, width = self.content
        return (self.side - height) // 2, (self.side - width) // 2

    def fit(self, frame: np.ndarray) -> np.ndarray:
        """Resize a frame (H,W,3) uint8 to its size inside the picture. Raises InputError for another shape or type."""
        if frame.dtype != np.uint8 or frame.shape != (self.height, self.width, 3):
            raise InputError(
                f"Every frame must be a ({self.height},{self.width},3) uint8 array like the first, "
                f"not {frame.shape} {frame.dtype}."
            )
        if frame.shape[:2] == self.content:
            return frame
        shrinking = self.mode == "letterbox" and max(frame.shape[:2]) > self.side
        # The reference always resizes linearly, so fine detail flickers when frames shrink a lot.
        return _resize(frame, self.content, cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)

    def pad(self, fitted: np.ndarray) -> np.ndarray:
        """Pad a fitted frame to the picture (side,side,3)."""
        (top, left), (height, width) = self.corner, self.content
        bottom, right = self.side - height - top, self.side - width - left
        return cv2.copyMakeBorder(fitted, top, bottom, left, right, cv2.BORDER_REFLECT_101)

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """Cut the frame (h,w,3) out of a picture (side,side,3)."""
        (top, left), (height, width) = self.corner, self.content
        return picture[top : top + height, left : left + width]

    def unfit(self, fitted: np.ndarray) -> np.ndarray:
        """Resize a fitted frame (h,w,3) float32 back to the size of the frames, (H,W,3)."""
        size = self.height, self.width
        if fitted.shape[:2] == size:
            return fitted
        growing = self.height * self.width > fitted.shape[0] * fitted.shape[1]
        return _resize(fitted, size, cv2.INTER_CUBIC if growing else cv2.INTER_AREA)


def smooth(change: np.ndarray) -> np.ndarray:
    """The low frequencies of a change (h,w,3) float32: what changed in brightness, not in texture."""
    smoothed: np.ndarray = cv2.GaussianBlur(change, (0, 0), LOW_FREQUENCY_SIGMA, borderType=cv2.BORDER_REFLECT_101)
    return smoothed


def to_network(pictures: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """Pictures (T,3,S,S) uint8 to the network's input (1,3,T,S,S), float32 in 0..1."""
    values = pictures.float() / 255  # on the CPU: a GPU divides by a constant inexactly
    return rearrange(values, "t c h w -> 1 c t h w").to(device)


def stretch(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Map low..high, which must differ, to 0..1; in float32, as the reference does for a whole clip."""
    return (values - low) / (high - low)


def to_pixels(values: Tensor) -> Tensor:
    """Float values, clamped to 0..1, as uint8, rounded half to even as the reference does."""
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)


def _resize(picture: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    resized: np.ndarray = cv2.resize(picture, (size[1], size[0]), interpolation=interpolation)
    return resized
