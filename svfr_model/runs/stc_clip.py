"""Faces out of a clip as BFVR-STC was trained to see them, and back into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from ..base.clip import Clip
from ..base.progress import Callback
from ..base.tasks import Task
from ..faces.crop import crop_clip, plan_crop
from ..faces.options import CropOptions, PasteOptions
from ..faces.paste_clip import RestoredTrack, paste_clip
from ..faces.track import FaceTrack, PlannedCrop
from ..stc.enhance import FACE_MARGIN
from ..stc.network import TaskName

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
    restored = [RestoredTrack(plan, pictures) for plan, pictures in zip(plans, crops, strict=True)]
    return (entry.frame for entry in paste_clip(clip, restored, options, RESTORATION, callback=callback))
