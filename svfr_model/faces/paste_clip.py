"""Restored faces back into a clip: their colours fitted over the whole track, then one frame after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..base.clip import Clip, expected_length
from ..base.progress import Callback, report
from ..base.tasks import Tasks
from .color import ColorMatch, ColorStatistics
from .crop import crop_frame
from .options import PasteOptions
from .paste import Pasted, Patch, paste_frame, warn_if_grey
from .track import PlannedCrop


@dataclass(frozen=True, eq=False)
class RestoredTrack:
    """One person's restored crops and where they belong."""

    plan: PlannedCrop
    crops: torch.Tensor
    """(n,3,h,w), uint8 or float in [0,1]."""
    mask: torch.Tensor | None = None
    """The inpainting mask in the crops, (n,1,h,w), bool or float in [0,1]; None where nothing was inpainted."""

    def covers(self, frame: int) -> bool:
        """Whether the person is in this frame of the clip."""
        return self.plan.track.covers(frame)

    def patch(self, frame: int, color: ColorMatch) -> Patch:
        """What belongs into a frame of the clip that this covers."""
        index = frame - self.plan.track.start
        return Patch(self.plan, index, self.crops[index], color, self._mask(index))

    def gather(self, frame: int, picture: np.ndarray, statistics: ColorStatistics) -> None:
        """Add the colours of a frame that this covers: of the crop as it is in the picture (H,W,3), and restored."""
        index = frame - self.plan.track.start
        original = torch.from_numpy(crop_frame(picture, self.plan, index)).permute(2, 0, 1)  # HWC -> CHW
        statistics.add(original, self.crops[index], self.plan.landmarks[index], self._mask(index))

    def _mask(self, index: int) -> np.ndarray | None:
        return None if self.mask is None else self.mask[index, 0].numpy()


def fit_colors(clip: Clip, restored: Sequence[RestoredTrack], mode: str) -> list[ColorMatch]:
    """Each track's colour correction, from its crops as they are in the clip and restored, in one walk of the clip.

    Raises InputError for a mode that is not one of `color.COLOR_MODES`.
    """
    if mode == "none":
        return [ColorMatch()] * len(restored)
    statistics = [ColorStatistics() for _ in restored]
    for number, frame in enumerate(clip):
        for entry, gathered in zip(restored, statistics, strict=True):
            if entry.covers(number):
                entry.gather(number, frame, gathered)
    return [gathered.match(mode) for gathered in statistics]


def paste_clip(
    clip: Clip,
    restored: Sequence[RestoredTrack],
    options: PasteOptions,
    tasks: Tasks | None,
    *,
    allowed: Iterable[np.ndarray] | None = None,
    count: int = 0,
    callback: Callback | None = None,
) -> Iterator[Pasted]:
    """Every frame of the clip with the restored faces in it, and how far each of its pixels was replaced.

    A frame without a face comes as it is. tasks: what the restoration was asked to do, None where that is not known;
    it decides what `options` leave to "auto". allowed: for each frame, where it may change, see `paste_frame`. count:
    of the frames, where it is known better than the clip tells. The clip is walked once for the colours, where there
    are any to fit, and once to paste. Reports stage "paste".
    """
    options = options.for_tasks(tasks)
    colors = fit_colors(clip, restored, options.color_match)
    first = min((entry.plan.track.start for entry in restored), default=-1)
    total = count or expected_length(clip)
    limits = itertools.repeat(None) if allowed is None else allowed
    for number, (frame, limit) in enumerate(zip(clip, limits, strict=allowed is not None)):
        if number == first:
            warn_if_grey(frame, tasks, options.region)
        patches = [
            entry.patch(number, color) for entry, color in zip(restored, colors, strict=True) if entry.covers(number)
        ]
        if patches:
            yield paste_frame(frame, patches, options, limit)
        else:
            yield Pasted(frame, np.zeros(frame.shape[:2], np.float32))
        report(callback, "paste", number + 1, max(total, number + 1))
