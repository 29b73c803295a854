"""The files that SVFR Compare's page plays: both clips, one of both beside each other, and what is drawn over them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..svfr_model.base.clip import Clip, expected_length
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.pixels import as_uint8
from ..svfr_model.base.progress import Callback, report
from ..svfr_model.faces.geometry import apply, invert
from ..svfr_model.faces.track import PlannedCrop
from ..svfr_model.media import ClipWriter
from ..svfr_model.media.options import VideoOptions
from .images import to_masks
from .video_files import new_file, unused_file

SHOWN = VideoOptions(crf=14, stepping=True)
STEM = "SVFR_compare"
LABEL = 0.05
"""Height of a label's letters, as a fraction of the picture's."""


@dataclass(frozen=True)
class Pair:
    """Two clips as the page plays them: H.264 of even sides at one rate, with a frame for each frame.

    before, after, together: their files. sizes: width and height of each clip before its sides were made even. counts:
    how many frames each had; the shorter one's are in the files.
    """

    before: Path
    after: Path
    together: Path
    sizes: tuple[tuple[int, int], tuple[int, int]]
    counts: tuple[int, int]
    fps: Fraction

    def shown(self) -> dict[str, Any]:
        """What the page is told."""
        files = {"before": self.before.name, "after": self.after.name}
        return {**files, "sizes": self.sizes, "count": min(self.counts), "fps": float(self.fps)}


def write_pair(before: Clip, after: Clip, fps: Fraction, labels: tuple[str, str], callback: Callback) -> Pair:
    """Write the files, frame by frame: only one frame of each clip is held.

    Reports the stage "compare". Raises InputError where a clip has no frame.
    """
    sizes = ((before.width, before.height), (after.width, after.height))
    paths = [new_file(SHOWN, STEM) for _ in range(3)]
    wide, high = _even(sizes[1])
    banner = _banner(labels, (wide, high))
    shapes = [*map(_even, sizes), (2 * wide, high)]
    writers = [ClipWriter(path, fps, size, options=SHOWN) for path, size in zip(paths, shapes, strict=True)]
    total, counts = expected_length(before), [0, 0]
    with writers[0], writers[1], writers[2]:
        for pictures in zip_longest(before, after):
            counts = [count + (picture is not None) for count, picture in zip(counts, pictures, strict=True)]
            if any(picture is None for picture in pictures):
                continue
            padded = [_padded(as_uint8(picture)) for picture in pictures]
            for writer, picture in zip(writers, [*padded, _together(padded, banner)], strict=False):
                writer.write(picture)
            report(callback, "compare", counts[0], max(total, counts[0]))
    return Pair(paths[0], paths[1], paths[2], sizes, (counts[0], counts[1]), fps)


def write_overlay(pair: Pair, tracks: Sequence[PlannedCrop], mask: Tensor | None) -> Path:
    """A JSON file of what is drawn over the frames, in the pixels of the clip before.

    tracks: each with id, person, start, and for each of its frames a box (x1, y1, x2, y2) and the crop's corners
    (x and y of four). shapes: the outlines of each different mask, as lists of x and y; masks: which of the shapes each
    frame has. Raises InputError for tracks or a mask of another clip.
    """
    size, count = pair.sizes[0], min(pair.counts)
    for plan in tracks:
        if plan.track.frame_size != size:
            raise InputError(
                f"The tracks belong to frames of {'x'.join(map(str, plan.track.frame_size))} pixels, the clip before "
                f"has {size[0]}x{size[1]}: wire the clip that SVFR Face Crop was given to before."
            )
    shapes, which = ([], []) if mask is None else _outlines(to_masks(mask, count, size[::-1]))
    told = {"size": size, "tracks": [_told(plan) for plan in tracks], "shapes": shapes, "masks": which}
    path = unused_file(STEM, ".json")
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def _told(plan: PlannedCrop) -> dict[str, Any]:
    """A track for the page, rounded to a tenth of a pixel."""
    track, (width, height) = plan.track, plan.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64) - 0.5
    crops = [apply(invert(matrix), corners).ravel().round(1).tolist() for matrix in plan.matrices]
    boxes = track.boxes.round(1).tolist()
    return {"id": track.id, "person": track.person, "start": track.start, "boxes": boxes, "crops": crops}


def _outlines(masks: Iterable[np.ndarray]) -> tuple[list[list[list[float]]], list[int]]:
    """The outlines of each mask that differs from the one before it, and for each frame which they are."""
    shapes: list[list[list[float]]] = []
    which, last = [], None
    for mask in masks:
        if last is None or not np.array_equal(mask, last):
            found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
            shapes.append([outline.ravel().tolist() for outline in found])
            last = mask
        which.append(len(shapes) - 1)
    return shapes, which


def _even(size: tuple[int, int]) -> tuple[int, int]:
    """What browsers play: H.264 with even sides."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _padded(frame: np.ndarray) -> np.ndarray:
    """A frame (H,W,3) with even sides."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _together(pictures: Sequence[np.ndarray], banner: np.ndarray) -> np.ndarray:
    """Both beside each other at the size of the second, with their labels. banner: (H,2W,4) uint8, with alpha."""
    before, after = pictures
    height, width = after.shape[:2]
    if before.shape != after.shape:
        before = cv2.resize(before, (width, height), interpolation=cv2.INTER_AREA)
    both = np.concatenate([before, after], axis=1)
    rows = banner.shape[0]
    alpha = banner[..., 3:].astype(np.float32) / 255
    both[:rows] = (both[:rows] * (1 - alpha) + banner[..., :3] * alpha + 0.5).astype(np.uint8)
    return both


def _banner(labels: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """The labels over two pictures of this size: RGBA, as wide as both and as high as the letters need."""
    width, height = size
    letters = max(10, round(LABEL * height))
    picture = Image.new("RGBA", (2 * width, min(height, 2 * letters)))
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(letters)
    for label, left in zip(labels, (0, width), strict=True):
        place = (left + letters // 2, letters // 3)
        pen.text(place, label, "white", font, stroke_width=max(1, letters // 10), stroke_fill="black")
    return np.array(picture)
