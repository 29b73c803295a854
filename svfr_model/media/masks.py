"""Reading masks: a picture, a video or a folder, of any size, one for the whole clip or one per frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np

from ..base.errors import InputError
from ..base.pixels import MASK_THRESHOLD, is_stretched
from .pictures import PictureClip
from .reader import VideoClip, open_clip

log = logging.getLogger(__name__)

Reading: TypeAlias = Literal["colour", "opaque", "transparent"]
"""Where a mask is drawn: in white colour, in what is opaque, or in what is transparent."""

_EXTREME = 24  # grey levels that still count as black or white
_PLAIN = 0.98  # share of the opaque pixels from which a picture counts as black and white

_SAID = {
    "opaque": "%s: the mask is drawn in the alpha channel, white on nothing: what is opaque is masked",
    "transparent": "%s: the mask is drawn in the alpha channel: what is transparent is masked",
}


class MaskClip:
    """Binary masks of a clip, read like its frames: (H,W) bool arrays, True where the picture is missing."""

    def __init__(self, source: VideoClip | PictureClip, count: int, width: int, height: int) -> None:
        self._source = source
        self._reading = _reading_of_clip(source) if isinstance(source, PictureClip) else "colour"
        self._count = count
        self.width = width
        self.height = height

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[np.ndarray]:
        masks = (_binary(grey, self.width, self.height) for grey in self._drawings())
        if len(self._source) == self._count:
            yield from masks
            return
        single = next(masks)
        for _ in range(self._count):
            yield single

    def _drawings(self) -> Iterator[np.ndarray]:
        """The grey pictures, (h,w) float32 in 0..255, white where the picture is missing."""
        if isinstance(self._source, VideoClip):
            yield from (luma(frame) for frame in self._source)
            return
        for frame, alpha in self._source.with_alpha():
            yield drawing(frame, alpha, self._reading)


def luma(frame: np.ndarray) -> np.ndarray:
    """(h,w,3) uint8 RGB -> (h,w) float32 in 0..255 by BT.601's weights."""
    return frame.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def reading_of(frame: np.ndarray, alpha: np.ndarray | None) -> Reading:
    """Where a mask with an alpha channel holds its drawing. frame (h,w,3) uint8 RGB, alpha (h,w) uint8.

    With the same alpha everywhere the drawing is in the colours. If alpha varies, the opaque part decides. If it is all
    white, it consists of strokes on nothing, as a paint program saves them, and is the mask. If it has another colour,
    or is a picture, something was cut out of it, as ComfyUI's mask editor does, and the transparent part is the mask.
    If it is black and white, the mask may be in the colours or in alpha, and ValueError is raised.
    """
    if alpha is None or (alpha == alpha.flat[0]).all():
        return "colour"
    grey = luma(frame)[alpha >= 255 * MASK_THRESHOLD]
    black, white = (grey <= _EXTREME).mean(), (grey >= 255 - _EXTREME).mean()
    if not grey.size or black >= _PLAIN:
        return "transparent"
    if white >= _PLAIN:
        return "opaque"
    if black + white >= _PLAIN:
        raise ValueError("black and white in what is opaque, and an alpha channel that varies")
    return "transparent"


def drawing(frame: np.ndarray, alpha: np.ndarray | None, reading: Reading) -> np.ndarray:
    """A mask picture as grey, (h,w) float32 in 0..255, white where the picture is missing; see `reading_of`."""
    if reading == "colour":
        return luma(frame)
    shown = np.full(frame.shape[:2], 255, np.uint8) if alpha is None else alpha
    return (255 - shown if reading == "transparent" else shown).astype(np.float32)


def _reading_of_clip(source: PictureClip) -> Reading:
    """How to read the first picture whose alpha varies, and all others. Warns if it is not the usual way."""
    for frame, alpha in source.with_alpha():
        try:
            reading = reading_of(frame, alpha)
        except ValueError as error:
            raise InputError(
                f"{source.path}: the mask could be drawn in its colours or in its transparency: it has {error}. Save "
                "it without transparency, white where the picture is missing."
            ) from error
        if reading != "colour":
            log.warning(_SAID[reading], source.path)
            return reading
    return "colour"


def read_mask(path: str | os.PathLike[str], count: int, width: int, height: int) -> MaskClip:
    """The mask of a clip of count frames of width x height pixels, as (height,width) bool masks, True = missing.

    path is a picture, a video or a folder of pictures with one frame (used for the whole clip) or exactly count
    frames, of any size. White is masked. Colour is reduced to its luma (BT.601 weights); the grey picture is
    resized to the frame (area average when shrinking, bilinear when growing) and only then thresholded, so that the
    edge stays where it was: values of at least MASK_THRESHOLD (0.5) are masked. Pictures with transparency are read as
    `reading_of` says, with a warning; a mask of another shape is stretched, with a warning.

    Raises InputError if the frame counts do not match (it names both), for a drawing that can be read in two ways, and
    as `open_clip` does.
    """
    source = open_clip(path)
    if len(source) not in (1, count):
        raise InputError(
            f"{path}: the mask has {len(source)} frames, the clip {count}. Give a mask of 1 or of {count} frames."
        )
    if is_stretched((source.width, source.height), (width, height)):
        log.warning(
            "%s: the mask has %dx%d pixels, but the clip has %dx%d, which is another shape: it is stretched, and no "
            "longer marks the places it was drawn on. Draw it on a frame of the clip itself.",
            *(path, source.width, source.height, width, height),
        )
    return MaskClip(source, count, width, height)


def _binary(grey: np.ndarray, width: int, height: int) -> np.ndarray:
    """(h,w) float32 in 0..255 -> (height,width) bool."""
    import cv2

    if grey.shape != (height, width):
        shrinks = height < grey.shape[0] or width < grey.shape[1]
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return grey >= 255 * MASK_THRESHOLD
