"""Restored crops back into their frames, so that nothing shows where they were put in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import cv2
import numpy as np
import torch

from ..base.errors import InputError
from ..base.pixels import as_uint8
from ..base.tasks import Task, Tasks
from .color import COLOR_MODES, ColorMatch, as_picture
from .crop import BORDER, rescaled
from .geometry import invert
from .region import bounds, paste_region, soft_step, to_frame
from .track import FaceTrack, PlannedCrop
from .warp import warp

log = logging.getLogger(__name__)

Region: TypeAlias = Literal["face", "crop"]
OCCLUSION_SIZE = 96
"""Shorter side at which restored and original crops are compared."""
OCCLUSION_BLUR = 2.0
OCCLUSION_LIMITS = (12.0, 24.0)
"""LAB distances of the low frequencies below which the crop is kept, and above which the original is."""
GREY_SPREAD = 4.0
"""Mean difference of a pixel's channels, of 255, below which a frame is grey."""


@dataclass(frozen=True)
class PasteOptions:
    """How restored crops are put back."""

    region: Region = "face"
    """"face" changes the face's oval only (its hull where 68 landmarks are known); "crop" the whole crop."""
    feather: float = 0.12
    """Width of the soft edge, in sides of the face."""
    color_match: Literal["auto", "none", "lab", "wavelet"] = "auto"
    """Colours brought back to the original's: "lab" mean and spread, "wavelet" low frequencies, place by place; "auto"
    is lab, and none for colorization."""
    occlusion_safe: bool = False
    """Keep the original where it and the restored crop disagree strongly in their low frequencies, such as a hand
    before the face. Never for colorization, nor where something was missing."""

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if self.region not in ("face", "crop"):
            raise InputError(f'Unknown paste region "{self.region}": use "face" or "crop".')
        if self.color_match not in ("auto", *COLOR_MODES):
            raise InputError(f'Unknown colour matching "{self.color_match}": use auto, {", ".join(COLOR_MODES)}.')
        if not 0 <= self.feather <= 1:
            raise InputError(f"feather must lie between 0 and 1 side of the face, got {self.feather}.")

    def for_tasks(self, tasks: Tasks | None) -> PasteOptions:
        """The options with "auto" decided and what does not suit the tasks switched off."""
        colorizing = tasks is not None and Task.COLORIZATION in tasks
        color = self.color_match
        if color == "auto":
            color = "none" if colorizing else "lab"
        return replace(self, color_match=color, occlusion_safe=self.occlusion_safe and not colorizing)


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
    missing: np.ndarray | None = None
    """The inpainting mask in the crop, (h,w) in [0,1]: it is filled too where it lies beside the face."""


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


def paste(
    frame: np.ndarray,
    patches: Sequence[Patch],
    options: PasteOptions | None = None,
    user_mask: np.ndarray | None = None,
) -> np.ndarray:
    """The frame (H,W,3), uint8 or float32 in [0,1], with its restored crops; the same dtype, a new array.

    Larger faces cover smaller ones. user_mask (H,W), float in [0,1], uint8 up to 255 or bool: where pixels may change.
    Pixels no patch changes keep their exact value, and a frame without patches comes back as it is. options must be
    decided for the tasks (`PasteOptions.for_tasks`); the colours are those each patch brings.
    """
    options = options or PasteOptions()
    for patch in patches:
        track = patch.plan.track
        if track.frame_size != (frame.shape[1], frame.shape[0]):
            width, height = track.frame_size
            raise InputError(
                f"Track {track.id} was found in frames of {width}x{height}, "
                f"this one is {frame.shape[1]}x{frame.shape[0]}."
            )
    result = frame.copy()
    allowed = None if user_mask is None else checked_mask(user_mask, frame)
    for patch in sorted(patches, key=lambda patch: float(patch.plan.track.sizes[patch.index])):
        _paste_one(result, frame, patch, options, allowed)
    return result


def checked_mask(mask: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A user's mask (H,W) of its frame's size, float in [0,1], uint8 up to 255 or bool, as float32 in [0,1]."""
    if mask.shape != frame.shape[:2]:
        raise InputError(f"The user's mask must be {frame.shape[:2]}, as its frame, got {mask.shape}.")
    return np.clip(mask.astype(np.float32) / (255.0 if mask.dtype == np.uint8 else 1.0), 0.0, 1.0)


def _paste_one(
    result: np.ndarray, frame: np.ndarray, patch: Patch, options: PasteOptions, allowed: np.ndarray | None
) -> None:
    """Blend one patch into result; frame is the untouched original."""
    plan = patch.plan
    window = bounds(plan, patch.index)
    if window[0] >= window[2] or window[1] >= window[3]:
        return
    picture = as_picture(patch.picture)
    if (picture.shape[1], picture.shape[0]) != plan.size:
        raise InputError(
            f"The crop of track {plan.track.id} must be {plan.size[0]}x{plan.size[1]}, got "
            f"{picture.shape[1]}x{picture.shape[0]}."
        )
    if patch.color is not None:
        picture = patch.color.apply(picture)
    weight = blend_weights(frame, picture, patch, options, window)
    if allowed is not None:
        weight = weight * allowed[window[1] : window[3], window[0] : window[2]]
    rows, columns = np.flatnonzero(weight.any(axis=1)), np.flatnonzero(weight.any(axis=0))
    if not len(rows):
        return
    weight = weight[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, None]
    x, y = window[0] + int(columns[0]), window[1] + int(rows[0])
    height, width = weight.shape[:2]
    back = invert(plan.matrices[patch.index])
    back[:, 2] -= (x, y)
    restored = warp(picture, back, (width, height), border="replicate")
    target = result[y : y + height, x : x + width]
    if result.dtype == np.uint8:
        mixed = target + weight * (restored * 255 - target)
        target[...] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    else:
        target[...] = target + weight * (np.clip(restored, 0.0, 1.0) - target)


def blend_weights(
    frame: np.ndarray, picture: np.ndarray, patch: Patch, options: PasteOptions, window: tuple[int, int, int, int]
) -> np.ndarray:
    """How far each pixel of the window becomes the patch: region, holes, occlusions and doubt together."""
    plan, index = patch.plan, patch.index
    weight = paste_region(plan, index, window, options.region, options.feather)
    back = invert(plan.matrices[index])
    if patch.missing is not None:
        whole = paste_region(plan, index, window, "crop", options.feather)
        weight = np.maximum(weight, whole * to_frame(patch.missing.astype(np.float32), back, window))
    if options.occlusion_safe:
        agreed, matrix = _agreement(frame, picture, patch)
        weight = weight * to_frame(agreed, matrix, window)
    return weight * _trust(plan.track, index)


def _trust(track: FaceTrack, index: int) -> float:
    """1 where the face was seen; less the longer it has been out of sight."""
    if track.seen[index]:
        return 1.0
    return float(np.clip(track.scores[index] / max(float(np.median(track.scores[track.seen])), 1e-6), 0.0, 1.0))


def _agreement(frame: np.ndarray, picture: np.ndarray, patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Where the low frequencies of original and restored crop agree, reduced, and its matrix to the frame."""
    size = patch.plan.size
    factor = OCCLUSION_SIZE / min(size)
    small = (max(8, round(size[0] * factor)), max(8, round(size[1] * factor)))
    matrix = rescaled(patch.plan.matrices[patch.index], size, small)
    values = frame.astype(np.float32) / 255 if frame.dtype == np.uint8 else frame
    original = np.clip(warp(values, matrix, small, BORDER), 0.0, 1.0)
    restored = np.clip(cv2.resize(picture, small, interpolation=cv2.INTER_AREA), 0.0, 1.0).astype(np.float32)
    first, second = (
        cv2.GaussianBlur(cv2.cvtColor(p, cv2.COLOR_RGB2Lab), (0, 0), OCCLUSION_BLUR) for p in (original, restored)
    )
    distance = np.linalg.norm(first - second, axis=2)
    low, high = OCCLUSION_LIMITS
    agreed = 1.0 - soft_step((distance - low) / (high - low))
    if patch.missing is not None:
        agreed = np.maximum(agreed, cv2.resize(patch.missing.astype(np.float32), small, interpolation=cv2.INTER_AREA))
    return cv2.GaussianBlur(agreed.astype(np.float32), (0, 0), 1.0), invert(matrix)
