"""Masks in: a picture, a video or a folder, of any size, one for the whole clip or one per frame."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ..errors import InputError
from ..pictures import PictureClip
from ..pixels import MASK_THRESHOLD
from .reader import VideoClip, open_clip


class MaskClip:
    """Binary masks of a clip, walked like its frames: (H,W) bool arrays, True where the picture is missing."""

    def __init__(self, source: VideoClip | PictureClip, count: int, width: int, height: int) -> None:
        self._source = source
        self._count = count
        self.width = width
        self.height = height

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        masks = (_binary(frame, self.width, self.height) for frame in self._source)
        if len(self._source) == self._count:
            yield from masks
            return
        single = next(masks)
        for _ in range(self._count):
            yield single


def read_mask(path: str | os.PathLike[str], count: int, width: int, height: int) -> MaskClip:
    """The mask of a clip of count frames of width x height pixels, as (height,width) bool masks, True = missing.

    path is a picture, a video or a folder of pictures with one frame (used for the whole clip) or exactly count
    frames, of any size. White means missing. Colour is reduced to its luma (BT.601 weights); the grey picture is
    resized to the frame (area average when shrinking, bilinear when growing) and only then thresholded, so that the
    edge stays where it was: values of at least MASK_THRESHOLD (0.5) are missing.

    Raises InputError, naming both numbers, when the frame counts do not fit, and as `open_clip` does.
    """
    source = open_clip(path)
    if len(source) not in (1, count):
        raise InputError(
            f"{path}: the mask has {len(source)} frames, the clip {count}. Give a mask of 1 or of {count} frames."
        )
    return MaskClip(source, count, width, height)


def _binary(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """(h,w,3) uint8 RGB -> (height,width) bool."""
    import cv2

    grey = frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if grey.shape != (height, width):
        shrinks = height < grey.shape[0] or width < grey.shape[1]
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return grey >= 255 * MASK_THRESHOLD
