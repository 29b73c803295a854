"""Restored crops back into their frames, so that nothing shows where they were put in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..base.errors import InputError
from ..base.pixels import as_uint8
from ..base.tasks import Task, Tasks
from .color import Box, ColorMatch, as_picture
from .crop import BORDER, rescaled
from .geometry import invert
from .options import PasteOptions, Region
from .region import bounds, paste_region, soft_step, to_frame
from .track import FaceTrack, PlannedCrop
from .warp import moved_source, source_window, warp

log = logging.getLogger(__name__)

OCCLUSION_SIZE = 96
"""Shorter side at which restored and original crops are compared."""
OCCLUSION_BLUR = 2.0
OCCLUSION_LIMITS = (12.0, 24.0)
"""LAB distances of the low frequencies below which the crop is kept, and above which the original is."""
GREY_SPREAD = 4.0
"""Mean difference of a pixel's channels, of 255, below which a frame is grey."""


@dataclass(frozen=True, eq=False)
class Patch:
    """One restored crop and where it belongs."""

    plan: PlannedCrop
    index: int
    """Entry of the track: the frame's number less `plan.track.start`."""
    picture: torch.Tensor | np.ndarray
    """The restored crop, (3,h,w), uint8 or float in [0,1]."""
    color: ColorMatch | None = None
    """The track's colour correction, see `color.fit_colors`."""
    mask: np.ndarray | None = None
    """The inpainting mask in the crop, (h,w) in [0,1]: it is filled too where it lies beside the face."""

    def colored(self, box: Box) -> np.ndarray:
        """The piece x1,y1,x2,y2 of the crop with its colour correction, (h,w,3) float32; may leave [0,1] slightly."""
        x1, y1, x2, y2 = box
        piece = as_picture(self.picture[:, y1:y2, x1:x2])
        return piece if self.color is None else self.color.apply(piece, box)

    def check(self, frame: np.ndarray) -> None:
        """Raise InputError where the frame (H,W,3) or the crop is not of the planned size."""
        _check_frame_size(frame, self.plan.track)
        height, width = self.picture.shape[-2:]
        if (width, height) != self.plan.size:
            raise InputError(
                f"The crop of track {self.plan.track.id} must be {self.plan.size[0]}x{self.plan.size[1]}, got "
                f"{width}x{height}."
            )


class Pasted(NamedTuple):
    """A frame with its restored crops."""

    frame: np.ndarray
    """(H,W,3), of the original's dtype and range."""
    changed: np.ndarray
    """How far each pixel was replaced: (H,W) float32 in [0,1]."""


def warn_if_grey(frame: np.ndarray, tasks: Tasks | None, region: Region = "face") -> bool:
    """Warn where colourised faces are about to be pasted into a grey frame (H,W,3); True where it warned."""
    if tasks is None or Task.COLORIZATION not in tasks:
        return False
    pixels = as_uint8(frame).astype(np.int16)
    if float(np.ptp(pixels, axis=2).mean()) >= GREY_SPREAD:
        return False
    log.warning(
        "Colourised faces are pasted into a grey clip: only the %s will have colour. "
        "Choose to keep the crops only, or to colourise the whole frame without a crop.",
        "faces" if region == "face" else "crops",
    )
    return True


def paste_frame(
    frame: np.ndarray,
    patches: Sequence[Patch],
    options: PasteOptions | None = None,
    allowed: np.ndarray | None = None,
) -> Pasted:
    """The frame (H,W,3), uint8 or float32 in [0,1], with its restored crops, and how far each pixel was replaced.

    Larger faces cover smaller ones. allowed (H,W), float in [0,1], uint8 up to 255 or bool: where, and how far, pixels
    may change. Pixels no patch changes keep their exact value. options must be decided for the tasks
    (`PasteOptions.for_tasks`); the colours are those each patch brings. Raises InputError where sizes do not agree.
    """
    options = options or PasteOptions()
    for patch in patches:
        patch.check(frame)
    limits = None if allowed is None else _checked_limits(allowed, frame)
    pasted, changed = frame.copy(), np.zeros(frame.shape[:2], np.float32)
    for patch in sorted(patches, key=lambda patch: float(patch.plan.track.sizes[patch.index])):
        x1, y1, x2, y2 = window = bounds(patch.plan, patch.index)
        if x1 >= x2 or y1 >= y2:
            continue
        weight = _blend_weights(frame, patch, options, window)
        if limits is not None:
            weight = weight * limits[y1:y2, x1:x2]
        rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
        if not len(rows):
            continue
        # Only the box that changes is coloured, warped and mixed: it is a fraction of the crop.
        weight = weight[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = (slice(y1 + rows[0], y1 + rows[-1] + 1), slice(x1 + columns[0], x1 + columns[-1] + 1))
        _blend(pasted[box], patch, weight, (x1 + int(columns[0]), y1 + int(rows[0])))
        changed[box] = 1.0 - (1.0 - changed[box]) * (1.0 - np.clip(weight, 0.0, 1.0))
    return Pasted(pasted, changed)


def _check_frame_size(frame: np.ndarray, track: FaceTrack) -> None:
    if track.frame_size != (frame.shape[1], frame.shape[0]):
        width, height = track.frame_size
        raise InputError(
            f"Track {track.id} was found in frames of {width}x{height}, this one is {frame.shape[1]}x{frame.shape[0]}."
        )


def _checked_limits(allowed: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Where a frame may change, as float32 in [0,1] of its size."""
    if allowed.shape != frame.shape[:2]:
        raise InputError(
            f"The mask of where pixels may change must have its frame's size {frame.shape[:2]}, got {allowed.shape}."
        )
    limits: np.ndarray = np.clip(allowed.astype(np.float32) / (255.0 if allowed.dtype == np.uint8 else 1.0), 0.0, 1.0)
    return limits


def _blend(target: np.ndarray, patch: Patch, weight: np.ndarray, corner: tuple[int, int]) -> None:
    """Mix a crop into target (h,w,3), the part of the frame whose upper left corner (x,y) is given; weight (h,w)."""
    height, width = weight.shape
    back = invert(patch.plan.matrices[patch.index])
    back[:, 2] -= corner
    source = source_window(back, (width, height), patch.plan.size)
    restored = warp(patch.colored(source), moved_source(back, source[:2]), (width, height), border="replicate")
    np.clip(restored, 0.0, 1.0, out=restored)  # Lanczos overshoots, and frames of either dtype are to get the same
    # In place and with a weight for each channel: broadcasting over three channels is what takes numpy longest.
    weights = cv2.merge([weight, weight, weight])
    if target.dtype == np.uint8:
        restored *= 255
        restored -= target
        restored *= weights
        restored += target
        restored += 0.5
        target[...] = restored
    else:
        restored -= target
        restored *= weights
        target += restored


def _blend_weights(frame: np.ndarray, patch: Patch, options: PasteOptions, window: Box) -> np.ndarray:
    """How far each pixel of the window becomes the patch: region, inpainting mask, occlusions and doubt together."""
    plan, index = patch.plan, patch.index
    weight = paste_region(plan, index, window, options.region, options.feather)
    back = invert(plan.matrices[index])
    if patch.mask is not None:
        whole = paste_region(plan, index, window, "crop", options.feather)
        weight = np.maximum(weight, whole * to_frame(patch.mask.astype(np.float32), back, window))
    if options.occlusion_safe:
        agreed, matrix = _agreement(frame, patch)
        weight = weight * to_frame(agreed, matrix, window)
    return weight * _trust(plan.track, index)


def _trust(track: FaceTrack, index: int) -> float:
    """1 where the face was seen; less the longer it has been out of sight."""
    if track.seen[index]:
        return 1.0
    return float(np.clip(track.scores[index] / max(float(np.median(track.scores[track.seen])), 1e-6), 0.0, 1.0))


def _agreement(frame: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Where the low frequencies of original and restored crop agree, reduced, and its matrix to the frame."""
    size = patch.plan.size
    factor = OCCLUSION_SIZE / min(size)
    small = (max(8, round(size[0] * factor)), max(8, round(size[1] * factor)))
    matrix = rescaled(patch.plan.matrices[patch.index], size, small)
    values = frame.astype(np.float32) / 255 if frame.dtype == np.uint8 else frame
    original = np.clip(warp(values, matrix, small, BORDER), 0.0, 1.0)
    picture = patch.colored((0, 0, *size))
    restored = np.clip(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), 0.0, 1.0).astype(np.float32)
    first, second = (
        cv2.GaussianBlur(cv2.cvtColor(p, cv2.COLOR_RGB2Lab), (0, 0), OCCLUSION_BLUR) for p in (original, restored)
    )
    distance = np.linalg.norm(first - second, axis=2)
    low, high = OCCLUSION_LIMITS
    agreed = 1.0 - soft_step((distance - low) / (high - low))
    if patch.mask is not None:
        agreed = np.maximum(agreed, cv2.resize(patch.mask.astype(np.float32), small, interpolation=cv2.INTER_AREA))
    return cv2.GaussianBlur(agreed.astype(np.float32), (0, 0), 1.0), invert(matrix)
