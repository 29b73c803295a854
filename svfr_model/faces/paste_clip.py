"""Restored faces back into a clip: their colours fitted over the whole track, then one frame after the other."""

from __future__ import annotations

import copy
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
from .walk import TrackWalk


@dataclass(frozen=True, eq=False)
class RestoredTrack:
    """One person's restored crops and where they belong."""

    plan: PlannedCrop
    crops: torch.Tensor
    """(n,3,h,w), uint8 or float in [0,1]."""
    mask: torch.Tensor | None = None
    """The inpainting mask in the crops, (n,1,h,w), bool or float in [0,1]; None where nothing was inpainted."""
    originals: ColorStatistics | None = None
    """The colours of the crops as they were, where they were gathered when they were cut."""

    def covers(self, frame: int) -> bool:
        """Whether the person is in this frame of the clip."""
        return self.plan.track.covers(frame)

    def patch(self, frame: int, color: ColorMatch) -> Patch:
        """What belongs into a frame of the clip that this covers."""
        index = frame - self.plan.track.start
        return Patch(self.plan, index, self.crops[index], color, self._mask(index))

    def gather(self, frame: int, picture: np.ndarray, statistics: ColorStatistics) -> None:
        """Add the colours of the crop as it was, in a frame (H,W,3) of the clip that this covers."""
        index = frame - self.plan.track.start
        original = torch.from_numpy(crop_frame(picture, self.plan, index)).permute(2, 0, 1)  # HWC -> CHW
        statistics.add_original(original, self.plan.landmarks[index], self._mask(index))

    def match(self, originals: ColorStatistics, mode: str, callback: Callback | None) -> ColorMatch:
        """The correction that brings the crops, as they are restored, to these colours. Reports stage "colors"."""
        statistics = copy.deepcopy(originals)
        for index, crop in enumerate(self.crops):
            statistics.add_restored(crop, self.plan.landmarks[index], self._mask(index))
            report(callback, "colors", index + 1, len(self.crops))
        return statistics.match(mode)

    def _mask(self, index: int) -> np.ndarray | None:
        return None if self.mask is None else self.mask[index, 0].numpy()


@dataclass(frozen=True, eq=False)
class RestoredShot:
    """What belongs into the frames up to one of the clip."""

    stop: int
    """The frame after the last."""
    tracks: Sequence[RestoredTrack]


def fit_colors(
    clip: Clip, restored: Sequence[RestoredTrack], mode: str, callback: Callback | None = None
) -> list[ColorMatch]:
    """Each track's colour correction, from its crops as they are in the clip and restored.

    Where a track's originals were not gathered when they were cut, the clip is walked for them, once for all tracks.
    Reports stage "colors". Raises InputError for a mode that is not one of `color.COLOR_MODES`.
    """
    if mode == "none":
        return [ColorMatch()] * len(restored)
    originals = [entry.originals or ColorStatistics() for entry in restored]
    missing = [(entry, known) for entry, known in zip(restored, originals, strict=True) if entry.originals is None]
    for number, frame in TrackWalk(clip).frames([entry.plan.track for entry, _ in missing]):
        for entry, gathered in missing:
            if entry.covers(number):
                entry.gather(number, frame, gathered)
        report(callback, "colors", number + 1, max(entry.plan.track.stop for entry, _ in missing))
    return [entry.match(known, mode, callback) for entry, known in zip(restored, originals, strict=True)]


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

    As `paste_shots`, with everything restored before. allowed: for each frame, where it may change, see `paste_frame`.
    """
    last = max((entry.plan.track.stop for entry in restored), default=0)
    whole = [RestoredShot(last, restored)]
    return paste_shots(clip, whole, options, tasks, allowed=allowed, count=count, callback=callback)


def paste_shots(
    clip: Clip,
    shots: Iterable[RestoredShot],
    options: PasteOptions,
    tasks: Tasks | None,
    *,
    allowed: Iterable[np.ndarray] | None = None,
    count: int = 0,
    callback: Callback | None = None,
) -> Iterator[Pasted]:
    """Every frame of the clip with the restored faces in it, in one walk; a frame without a face comes as it is.

    shots: in the clip's order; each is asked for when its first frame has come. tasks: what the restoration was asked
    to do, None where that is not known; it decides what `options` leave to "auto". allowed: for each frame, where it
    may change. count: of the frames, where it is known better than the clip tells. Reports stage "paste".
    """
    options = options.for_tasks(tasks)
    paster = _Paster(clip, iter(shots), options, tasks, callback)
    total = count or expected_length(clip)
    limits = itertools.repeat(None) if allowed is None else allowed
    for number, (frame, limit) in enumerate(zip(clip, limits, strict=allowed is not None)):
        patches = paster.patches(number, frame)
        if patches:
            yield paste_frame(frame, patches, options, limit)
        else:
            yield Pasted(frame, np.zeros(frame.shape[:2], np.float32))
        report(callback, "paste", number + 1, max(total, number + 1))


class _Paster:
    """Knows what belongs into each frame of a walk."""

    def __init__(
        self,
        clip: Clip,
        shots: Iterator[RestoredShot],
        options: PasteOptions,
        tasks: Tasks | None,
        callback: Callback | None,
    ) -> None:
        self._clip, self._shots, self._options, self._tasks, self._callback = clip, shots, options, tasks, callback
        self._shot: RestoredShot | None = RestoredShot(0, ())
        self._colors: list[ColorMatch] = []
        self._begun = False

    def patches(self, number: int, frame: np.ndarray) -> list[Patch]:
        """The patches of the next frame of the walk; warns once where faces in colour come into a grey clip."""
        while self._shot is not None and number >= self._shot.stop:
            self._shot = next(self._shots, None)
            if self._shot is not None:
                mode = self._options.color_match
                self._colors = fit_colors(self._clip, self._shot.tracks, mode, self._callback)
        if self._shot is None:
            return []
        pairs = zip(self._shot.tracks, self._colors, strict=True)
        patches = [entry.patch(number, color) for entry, color in pairs if entry.covers(number)]
        if patches and not self._begun:
            self._begun = True
            warn_if_grey(frame, self._tasks, self._options.region)
        return patches
