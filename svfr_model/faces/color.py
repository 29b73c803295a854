"""Colours of a restored face brought back to the original's, by numbers taken over the whole track.

Because one correction serves all frames of a track, it cannot flicker. Everything is measured on strongly reduced
crops, so that detail and noise, which restoration is meant to change, do not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, get_args

import cv2
import numpy as np
import torch

from ..base.errors import InputError
from .crop import rescaled
from .options import ColorMode
from .region import canonical_to_crop, face_region

COLOR_MODES: tuple[ColorMode, ...] = get_args(ColorMode)
REDUCED = 64
"""Length of the shorter side of the reduced crops."""
FIELD_BLUR = 4.0
"""Spread of the low-pass of the colour field in reduced pixels, 1/16 of the crop."""
GAIN_LIMITS = (0.7, 1.4)
FEATHER = 0.1
SHADOW = 1e-3


class ColorMatch:
    """One correction for all crops of a track; made by `ColorStatistics`. This one leaves them as they are."""

    mode: ClassVar[ColorMode] = "none"

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """A restored crop (h,w,3) float32 in [0,1] with the original's colours; may leave [0,1] slightly."""
        return picture


@dataclass(frozen=True, eq=False)
class LabMatch(ColorMatch):
    """Mean and spread of the LAB colours brought back."""

    mode: ClassVar[ColorMode] = "lab"
    gain: np.ndarray
    """Factor per LAB channel, (3,)."""
    source: np.ndarray
    """Mean LAB colour of the restored crops, (3,)."""
    target: np.ndarray
    """Mean LAB colour of the original crops, (3,)."""

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """See `ColorMatch.apply`."""
        lab = cv2.cvtColor(np.clip(picture, 0.0, 1.0).astype(np.float32), cv2.COLOR_RGB2Lab)
        moved = (lab - self.source) * self.gain + self.target
        return np.asarray(cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB))


@dataclass(frozen=True, eq=False)
class WaveletMatch(ColorMatch):
    """Low frequencies brought back, place by place."""

    mode: ClassVar[ColorMode] = "wavelet"
    field: np.ndarray
    """What is added to each place of the crop, reduced: (h,w,3) float32, 1 is full white."""

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """See `ColorMatch.apply`."""
        size = (picture.shape[1], picture.shape[0])
        matched: np.ndarray = picture + cv2.resize(self.field, size, interpolation=cv2.INTER_CUBIC)
        return matched


class ColorStatistics:
    """Gathers the colours of a track's crops, original and restored, one frame at a time."""

    def __init__(self) -> None:
        """Start without any frame."""
        self._weight = 0.0
        self._sums = np.zeros((2, 3))
        self._squares = np.zeros((2, 3))
        self._difference: np.ndarray | None = None
        self._known: np.ndarray | None = None

    def add(
        self, original: torch.Tensor, restored: torch.Tensor, landmarks: np.ndarray | None, mask: np.ndarray | None
    ) -> None:
        """Add one frame's crops, (3,h,w) uint8 or float in [0,1].

        landmarks (5,2) in the crop: LAB colours are taken of the face they belong to; None takes the whole crop.
        mask (h,w) in [0,1] is left out: there the original is missing something.
        """
        first, second = _reduced(original), _reduced(restored)
        if first.shape != second.shape:
            raise InputError(f"Crops must be of one size, got {tuple(original.shape)} and {tuple(restored.shape)}.")
        size = (first.shape[1], first.shape[0])
        known = np.ones(first.shape[:2], np.float32)
        if mask is not None:
            unknown = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
            known = np.clip(1.0 - 4.0 * unknown, 0.0, 1.0)
        height, width = original.shape[-2:]
        weights = known * _face_weights(landmarks, (height, width), size)
        for row, picture in enumerate((first, second)):
            lab = cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)
            self._sums[row] += (weights[..., None] * lab).sum(axis=(0, 1))
            self._squares[row] += (weights[..., None] * lab**2).sum(axis=(0, 1))
        self._weight += float(weights.sum())
        difference = known[..., None] * (first - second)
        self._difference = difference if self._difference is None else self._difference + difference
        self._known = known if self._known is None else self._known + known

    def match(self, mode: str) -> ColorMatch:
        """The correction for all frames added; none where nothing of the original could be seen.

        Raises InputError for a mode that is not one of COLOR_MODES.
        """
        if mode not in COLOR_MODES:
            raise InputError(f'Unknown colour matching "{mode}": use one of {", ".join(COLOR_MODES)}.')
        if mode == "none" or self._difference is None or self._known is None or self._weight <= SHADOW:
            return ColorMatch()
        if mode == "wavelet":
            weight = cv2.GaussianBlur(self._known, (0, 0), FIELD_BLUR)[..., None]
            field = cv2.GaussianBlur(self._difference, (0, 0), FIELD_BLUR) / np.maximum(weight, SHADOW)
            return WaveletMatch(field.astype(np.float32))
        means = self._sums / self._weight
        spreads = np.sqrt(np.maximum(self._squares / self._weight - means**2, 0.0))
        gain = np.clip((spreads[0] + SHADOW) / (spreads[1] + SHADOW), *GAIN_LIMITS)
        return LabMatch(gain, source=means[1], target=means[0])


def color_shift(originals: Iterable[torch.Tensor], restored: Iterable[torch.Tensor]) -> float:
    """Distance in LAB between the mean colours of two clips, frame by frame (3,h,w), uint8 or float in [0,1].

    About 2 is just visible. Where a clip was colorised it is large and means nothing.
    """
    statistics = ColorStatistics()
    for before, after in zip(originals, restored, strict=True):
        statistics.add(before, after, None, None)
    match = statistics.match("lab")
    return float(np.linalg.norm(match.source - match.target)) if isinstance(match, LabMatch) else 0.0


def as_picture(crop: torch.Tensor | np.ndarray) -> np.ndarray:
    """A crop (3,h,w), uint8 or float in [0,1], as (h,w,3) float32 in [0,1]."""
    values = crop.detach().cpu().numpy() if isinstance(crop, torch.Tensor) else np.asarray(crop)
    if values.ndim != 3 or values.shape[0] != 3:
        raise InputError(f"A crop must be (3,h,w), got {values.shape}.")
    values = np.ascontiguousarray(values.transpose(1, 2, 0))  # CHW -> HWC
    return values.astype(np.float32) / 255 if values.dtype == np.uint8 else values.astype(np.float32)


def _reduced(crop: torch.Tensor) -> np.ndarray:
    picture = as_picture(crop)
    factor = REDUCED / min(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    return np.clip(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), 0.0, 1.0)


def _face_weights(landmarks: np.ndarray | None, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The region of the face in a crop of (h,w) = shape, reduced to (w,h) = size: (h,w); ones without landmarks."""
    if landmarks is None:
        return np.ones((size[1], size[0]), np.float32)
    matrix = rescaled(canonical_to_crop(landmarks), (shape[1], shape[0]), size)
    return cv2.warpAffine(face_region(FEATHER), matrix, size, flags=cv2.INTER_LINEAR)
