"""Faces out of a clip as BFVR-STC was trained to see them, and back into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..base.clip import Clip
from ..base.progress import Callback
from ..base.tasks import Task
from ..faces.color import ColorMatch, ColorMode, ColorStatistics
from ..faces.crop import CropOptions, crop_clip, crop_frame, plan_crop
from ..faces.paste import PasteOptions
from ..faces.track import FaceTrack, PlannedCrop
from ..stc.enhance import FACE_MARGIN
from ..stc.network import TaskName
from .restore_clip import RestoredTrack, pasted_frames

RESTORATION = frozenset({Task.BFR})
"""What paste-back needs to know: this is a restoration, not a colorization."""


def cut_faces(
    clip: Clip, tracks: Sequence[FaceTrack], side: int, callback: Callback | None = None
) -> tuple[list[PlannedCrop], list[Tensor]]:
    """A plan per track and its crops, one (n,3,side,side) uint8 tensor each: a steady upright square per track.

    side: the network's img_size. Reports stage "crop".
    """
    options = CropOptions(mode="static", size=(side, side), margin=FACE_MARGIN)
    plans = [plan_crop(track, options) for track in tracks]
    return plans, crop_clip(clip, plans, callback)


def paste_faces(
    clip: Clip,
    plans: Sequence[PlannedCrop],
    crops: Sequence[Tensor],
    tasks: Sequence[TaskName],
    options: PasteOptions,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """The clip's frames, in their own dtype, with enhanced crops in them; frames without a face come as they are.

    plans and crops: from `cut_faces`, the crops enhanced since. tasks: what was done to them. Reports stage "paste".
    """
    # The colours of a flickering clip are what de-flickering is to change, so they are no target.
    options = options if set(tasks) == {"bfr"} else replace(options, color_match="none")
    options = options.for_tasks(RESTORATION)
    colors = _fit_colors(clip, plans, crops, options.color_match)
    restored = [RestoredTrack(*entry) for entry in zip(plans, crops, colors, strict=True)]
    return pasted_frames(clip, restored, options, RESTORATION, callback)


def _fit_colors(clip: Clip, plans: Sequence[PlannedCrop], crops: Sequence[Tensor], mode: ColorMode) -> list[ColorMatch]:
    """Each track's colour correction, from the crops as they were (cut again in one walk) and as they are."""
    if mode == "none":
        return [ColorMatch()] * len(plans)
    statistics = [ColorStatistics() for _ in plans]
    for number, frame in enumerate(clip):
        for plan, pictures, gathered in zip(plans, crops, statistics, strict=True):
            if plan.track.covers(number):
                index = number - plan.track.start
                before = torch.from_numpy(crop_frame(frame, plan, index)).permute(2, 0, 1)  # HWC -> CHW
                gathered.add(before, pictures[index], plan.landmarks[index], None)
    return [gathered.match(mode) for gathered in statistics]
