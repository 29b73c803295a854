"""Colours of a restored face brought back to the original's, by numbers taken over the whole track.

Because one correction serves all frames of a track, it cannot flicker. Everything is measured on strongly reduced
crops, so that detail and noise, which restoration is meant to change, do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias, get_args

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
LEVELS = np.arange(256, dtype=np.float32) / 255

Box: TypeAlias = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels; the last two are not in it."""


class ColorMatch:
    """One correction for all crops of a track; made by `ColorStatistics`. This one leaves them as they are."""

    mode: ClassVar[ColorMode] = "none"

    def apply(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """The piece `box` of a restored crop with the original's colours; may leave [0,1] slightly.

        picture (h,w,3) float32 in [0,1]: that piece, which may be written over. box: where it lies in the crop.
        """
        del box
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

    def apply(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """See `ColorMatch.apply`."""
        del box  # the same for every place
        lab = cv2.cvtColor(np.clip(picture, 0.0, 1.0, out=picture), cv2.COLOR_RGB2Lab)
        moved = cv2.transform(lab, np.column_stack([np.diag(self.gain), self.target - self.gain * self.source]))
        return np.asarray(cv2.cvtColor(moved, cv2.COLOR_Lab2RGB))


@dataclass(frozen=True, eq=False)
class WaveletMatch(ColorMatch):
    """Low frequencies brought back, place by place."""

    mode: ClassVar[ColorMode] = "wavelet"
    field: np.ndarray
    """What is added to each place of the crop, reduced: (h,w,3) float32, 1 is full white."""
    size: tuple[int, int]
    """Width and height of the crops."""

    @cached_property
    def enlarged(self) -> np.ndarray:
        """The field at the size of the crop."""
        return np.asarray(cv2.resize(self.field, self.size, interpolation=cv2.INTER_CUBIC))

    def apply(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """See `ColorMatch.apply`."""
        x1, y1, x2, y2 = box
        matched: np.ndarray = picture + self.enlarged[y1:y2, x1:x2]
        return matched


class _Sums:
    """Over the frames so far: of the face's LAB colours and of their squares, (3,), and of the pictures, (h,w,3)."""

    def __init__(self) -> None:
        self.lab = np.zeros(3)
        self.squares = np.zeros(3)
        self.picture = np.zeros((1, 1, 3))  # float64, so that the difference of two long sums keeps its digits


class ColorStatistics:
    """Gathers the colours of a track's crops, one frame at a time: those of the originals, and those of the restored.

    Nothing is kept of a frame but what it adds to the sums, so that either may be gathered long before the other.
    """

    def __init__(self) -> None:
        """Start without any frame."""
        self._original, self._restored = _Sums(), _Sums()
        self._weight = 0.0
        self._known = np.zeros((1, 1), np.float32)
        self._size: tuple[int, int] | None = None

    def add(
        self, original: torch.Tensor, restored: torch.Tensor, landmarks: np.ndarray | None, mask: np.ndarray | None
    ) -> None:
        """Add one frame's crops, (3,h,w) uint8 or float in [0,1].

        landmarks (5,2) in the crop: LAB colours are taken of the face they belong to; None takes the whole crop.
        mask (h,w) in [0,1] is left out: there the original is missing something.
        """
        self.add_original(original, landmarks, mask)
        self.add_restored(restored, landmarks, mask)

    def add_original(self, crop: torch.Tensor, landmarks: np.ndarray | None, mask: np.ndarray | None) -> None:
        """Add one frame's crop as it was; see `add`."""
        known, weights = self._gather(self._original, crop, landmarks, mask)
        self._known = self._known + known
        self._weight += float(weights.sum())

    def add_restored(self, crop: torch.Tensor, landmarks: np.ndarray | None, mask: np.ndarray | None) -> None:
        """Add one frame's restored crop; see `add`."""
        self._gather(self._restored, crop, landmarks, mask)

    def _gather(
        self, sums: _Sums, crop: torch.Tensor, landmarks: np.ndarray | None, mask: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Add a crop to its sums; how far its reduced pixels count, and how far those of the face: (h,w) each."""
        height, width = crop.shape[-2:]
        picture = _reduced(crop)
        reduced = (picture.shape[1], picture.shape[0])
        if self._size is not None and _reduced_size(*self._size) != reduced:
            raise InputError(f"Crops must be of one size, got {self._size} and {(width, height)} (width, height).")
        self._size = (width, height)
        known = np.ones(picture.shape[:2], np.float32)
        if mask is not None:
            unknown = cv2.resize(mask.astype(np.float32), reduced, interpolation=cv2.INTER_AREA)
            known = np.clip(1.0 - 4.0 * unknown, 0.0, 1.0)
        weights = known * _face_weights(landmarks, (height, width), reduced)
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)
        sums.lab = sums.lab + (weights[..., None] * lab).sum(axis=(0, 1))
        sums.squares = sums.squares + (weights[..., None] * lab**2).sum(axis=(0, 1))
        sums.picture = sums.picture + known[..., None] * picture.astype(np.float64)
        return known, weights

    def originals(self) -> dict[str, Any]:
        """What was gathered of the originals, as `base.packed.pack` takes it."""
        size = None if self._size is None else list(self._size)
        return {**vars(self._original), "known": self._known, "weight": self._weight, "size": size}

    @classmethod
    def of_originals(cls, kept: Mapping[str, Any]) -> ColorStatistics:
        """The statistics that gave these `originals`."""
        statistics = cls()
        sums = statistics._original
        sums.lab, sums.squares, sums.picture = kept["lab"], kept["squares"], kept["picture"]
        statistics._known, statistics._weight = kept["known"], kept["weight"]
        statistics._size = None if kept["size"] is None else (kept["size"][0], kept["size"][1])
        return statistics

    def match(self, mode: str) -> ColorMatch:
        """The correction for all frames added; none where nothing of the original could be seen.

        Raises InputError for a mode that is not one of COLOR_MODES.
        """
        if mode not in COLOR_MODES:
            raise InputError(f'Unknown colour matching "{mode}": use one of {", ".join(COLOR_MODES)}.')
        if mode == "none" or self._size is None or self._weight <= SHADOW:
            return ColorMatch()
        if mode == "wavelet":
            weight = cv2.GaussianBlur(self._known, (0, 0), FIELD_BLUR)[..., None]
            difference = (self._original.picture - self._restored.picture).astype(np.float32)
            field = cv2.GaussianBlur(difference, (0, 0), FIELD_BLUR) / np.maximum(weight, SHADOW)
            return WaveletMatch(field.astype(np.float32), self._size)
        means = [sums.lab / self._weight for sums in (self._original, self._restored)]
        spreads = [
            np.sqrt(np.maximum(sums.squares / self._weight - mean**2, 0.0))
            for sums, mean in zip((self._original, self._restored), means, strict=True)
        ]
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
    """A crop (3,h,w), uint8 or float in [0,1], as (h,w,3) float32 in [0,1] with memory of its own."""
    values = crop.detach().cpu().numpy() if isinstance(crop, torch.Tensor) else np.asarray(crop)
    if values.ndim != 3 or values.shape[0] != 3:
        raise InputError(f"A crop must be (3,h,w), got {values.shape}.")
    if values.dtype != np.uint8:
        values = values.astype(np.float32, copy=False)
    merged: np.ndarray = cv2.merge([np.ascontiguousarray(plane) for plane in values])  # CHW -> HWC
    return np.asarray(cv2.LUT(merged, LEVELS)) if values.dtype == np.uint8 else merged


def _reduced(crop: torch.Tensor) -> np.ndarray:
    picture = as_picture(crop)
    size = _reduced_size(picture.shape[1], picture.shape[0])
    return np.clip(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), 0.0, 1.0)


def _reduced_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of a reduced crop."""
    factor = REDUCED / min(width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _face_weights(landmarks: np.ndarray | None, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The region of the face in a crop of (h,w) = shape, reduced to (w,h) = size: (h,w); ones without landmarks."""
    if landmarks is None:
        return np.ones((size[1], size[0]), np.float32)
    matrix = rescaled(canonical_to_crop(landmarks), (shape[1], shape[0]), size)
    return cv2.warpAffine(face_region(FEATHER), matrix, size, flags=cv2.INTER_LINEAR)
