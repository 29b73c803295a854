"""Crops out of a clip: all tracks of a shot are cut in one walk, and their colours are taken in passing."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..base.clip import Clip
from ..base.memory import PLAIN, Memory
from ..base.packed import pack, unpack
from ..base.pixels import MASK_THRESHOLD
from ..base.progress import Callback, report
from .color import ColorStatistics
from .crop import crop_frame, crop_mask
from .track import PlannedCrop
from .walk import TrackWalk

log = logging.getLogger(__name__)

CUT = "cut"
"""The stage that a memory knows a track by that is being cut."""


@dataclass(eq=False)
class CutTrack:
    """The crops of one track as they are in the clip."""

    plan: PlannedCrop
    crops: torch.Tensor
    """(n,3,h,w) uint8."""
    mask: torch.Tensor | None
    """The inpainting mask in the crops, (n,1,h,w) bool; None where the clip has none."""
    colors: ColorStatistics
    """What colour the crops have; nothing where it was not asked for."""
    memory: Memory = PLAIN
    """Where the crops and the mask lie, and what else belongs to the track."""
    done: int = 0
    """How many of its frames are cut."""

    @classmethod
    def of(cls, plan: PlannedCrop, *, masked: bool = False, memory: Memory = PLAIN) -> CutTrack:
        """Before anything is cut, or as an earlier run has left it. memory: that of all tracks."""
        own = memory.part(_name(plan))
        count, (width, height) = len(plan), plan.size
        crops = own.array("crops", (count, 3, height, width), torch.uint8)
        mask = own.array("mask", (count, 1, height, width), torch.bool) if masked else None
        saves = own.done(CUT)
        kept = unpack(own.kept(_state(saves))) if saves else None
        if kept is not None:
            return cls(plan, crops, mask, ColorStatistics.of_originals(kept["colors"]), own, kept["done"])
        return cls(plan, crops, mask if mask is None else mask.zero_(), ColorStatistics(), own)

    @property
    def is_cut(self) -> bool:
        """Whether all of it is cut."""
        return self.done == len(self.plan)

    @property
    def next(self) -> int:
        """The first frame of the clip that is still to be cut."""
        return self.plan.track.start + self.done

    def save(self, *, seldom: bool = False) -> None:
        """Note how much of it is cut."""
        if self.memory.is_due(seldom=seldom):
            saves = self.memory.done(CUT) + 1
            kept = pack({"done": self.done, "colors": self.colors.originals()})
            self.memory.save(CUT, saves, {_state(saves): kept})

    def cut(self, number: int, frame: np.ndarray, mask: np.ndarray | None, *, colors: bool) -> None:
        """Cut frame `number` of the clip, (H,W,3), and its mask (H,W), if the track covers it."""
        if not self.next <= number < self.plan.track.stop:
            return
        index = number - self.plan.track.start
        self.crops[index] = torch.from_numpy(crop_frame(frame, self.plan, index)).permute(2, 0, 1)  # HWC -> CHW
        masked = None
        if mask is not None and self.mask is not None:
            self.mask[index, 0] = torch.from_numpy(crop_mask(mask, self.plan, index) >= MASK_THRESHOLD)
            masked = self.mask[index, 0].numpy()
        if colors:
            self.colors.add_original(self.crops[index], self.plan.landmarks[index], masked)
        self.done = index + 1
        self.save(seldom=self.done < len(self.plan))


def cut_shots(
    clip: Clip,
    shots: Iterable[Sequence[PlannedCrop]],
    *,
    masks: Iterable[np.ndarray] | None = None,
    colors: bool = False,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> Iterator[list[CutTrack]]:
    """The cut tracks of each shot, in one walk of the clip for all.

    shots: the plans of each shot, in the clip's order; they may be made while the walk goes on. masks: (H,W), True
    where the picture is missing, one per frame. colors: gather the colours too. memory: where the crops lie; what an
    earlier run has cut is not cut again. Reports stage "crop". Raises InputError where the clip ends before a track.
    Warns where a mask marks nothing in any crop.
    """
    read = _Masks(masks)
    with contextlib.closing(TrackWalk(clip)) as walk:
        for plans in shots:
            cut = [CutTrack.of(plan, masked=masks is not None, memory=memory) for plan in plans]
            left = [track for track in cut if not track.is_cut]
            last = max((track.plan.track.stop for track in left), default=0)
            begin = min((track.next for track in left), default=0)
            for number, frame in walk.frames([track.plan.track for track in left], begin):
                mask = read.of(number)
                for track in left:
                    track.cut(number, frame, mask, colors=colors)
                report(callback, "crop", number + 1, last)
            read.seen_in(cut)
            yield cut
    read.warn()


def crop_clip(clip: Clip, plans: Sequence[PlannedCrop], callback: Callback | None = None) -> list[torch.Tensor]:
    """The crops of each plan, one (n,3,h,w) uint8 tensor per plan, in one walk of the clip. Reports stage "crop"."""
    return [track.crops for track in next(cut_shots(clip, [plans], callback=callback))]


def _state(saves: int) -> str:
    """The name of what is known after so many saves; the one before is still there while it is written."""
    return f"cut-{saves % 2}"


def _name(plan: PlannedCrop) -> str:
    """The name of a track's memory: another for another way to follow or cut the person."""
    digest = hashlib.sha256(repr((plan.track.start, plan.size, plan.square, plan.reduction)).encode())
    for array in (plan.matrices, plan.landmarks):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"track-{plan.track.id}-{digest.hexdigest()[:16]}"


class _Masks:
    """The masks of a clip, read once and in step with its frames."""

    def __init__(self, masks: Iterable[np.ndarray] | None) -> None:
        self._masks = None if masks is None else iter(masks)
        self._read = 0
        self._marked = self._inside = False

    def of(self, number: int) -> np.ndarray | None:
        """The mask of a frame that comes after those asked for before."""
        if self._masks is None:
            return None
        for mask in self._masks:
            self._marked = self._marked or bool(mask.any())
            self._read += 1
            if self._read > number:
                return mask
        return None

    def seen_in(self, tracks: Sequence[CutTrack]) -> None:
        """Look whether any of these crops shows what is marked."""
        self._inside = self._inside or any(track.mask is not None and bool(track.mask.any()) for track in tracks)

    def warn(self) -> None:
        """Say so where what is marked lies in no crop."""
        if self._marked and not self._inside:
            log.warning(
                "What the mask marks lies outside every face crop, so nothing will be filled in: raise the margin "
                "until the crop covers it, or restore whole frames."
            )
