"""Faces restored shot by shot, so that the network waits for nothing but its own shot.

Searching and cutting run ahead of the network, each in a thread; paste-back and encoding follow behind it in another.
A shot goes through all of them: found, planned, cut, restored, pasted. Only what several shots share is shared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ..base.background import Ahead, Behind
from ..base.clip import Clip, expected_length
from ..base.memory import PLAIN, Memory
from ..base.progress import Callback, report
from ..faces.cut import CutTrack, cut_shots
from ..faces.find import FoundShot
from ..faces.paste_clip import RestoredShot, RestoredTrack
from ..faces.track import PlannedCrop
from .space import Space

CUT_AHEAD = 1
"""Shots that are cut while another is restored."""
WAITING = 4
"""Restored shots that wait for paste-back at most; then the network waits, too."""
FACES_AT_ONCE = 4
"""Where there is room for so many faces from the first frame to the last, no need to know first how many there are."""


@dataclass(frozen=True, eq=False)
class PlannedShot:
    """A shot and the crops that are planned in it; many have none."""

    found: FoundShot
    plans: list[PlannedCrop]


@dataclass(frozen=True)
class Room:
    """Where the crops and latents of a clip lie, and how much of them there will be."""

    memory: Memory
    space: Space

    def checked(self, shots: Iterable[PlannedShot], count: int) -> Iterable[PlannedShot]:
        """The shots, as soon as it is sure that there is room for all of them. Raises InputError where there is not.

        count: of the clip's frames, 0 where that is not known. Where there is room for more faces than there will be,
        the shots come one by one; otherwise all are waited for, and what they need is known.
        """
        if count and self.memory.has_room(self.space.needed([count] * FACES_AT_ONCE)):
            return shots
        known = list(shots)
        self.memory.require(self.space.needed(len(plan) for shot in known for plan in shot.plans))
        return known


Search: TypeAlias = "Callable[[Callback], Iterable[FoundShot]]"
Plan: TypeAlias = "Callable[[Iterable[FoundShot], Callback], Iterable[PlannedShot]]"
Restore: TypeAlias = "Callable[[CutTrack, Callback], RestoredTrack]"
Write: TypeAlias = "Callable[[Iterator[RestoredShot], Callback], None]"


@dataclass(frozen=True)
class ShotSteps:
    """What is done to each shot, in this order; all but `restore` are called in threads, with a callback to report to.

    search: finds the shots of the clip and their people. plan: chooses among the people, shot by shot or, where the
    choice needs it, when all are found. restore: restores a track's crops; called in the caller's thread. write: pastes
    shots back and writes the frames; called when the whole clip was searched.
    """

    search: Search
    plan: Plan
    restore: Restore
    write: Write


def restore_shots(
    clip: Clip,
    steps: ShotSteps,
    *,
    masks: Iterable[np.ndarray] | None = None,
    room: Room | None = None,
    callback: Callback | None = None,
) -> list[PlannedShot]:
    """Find, cut, restore and write a clip's faces; returns its shots.

    masks: (H,W), True where the picture is missing, one per frame. room: for the crops; in memory where it is not
    given. The callback is called in the caller's thread only, stage by stage: what the threads report is told while
    they are waited for. An exception, of the callback too, ends all threads before it is raised.
    """
    shots: list[PlannedShot] = []
    searching: Ahead[FoundShot] = Ahead(steps.search, None)
    memory = PLAIN if room is None else room.memory

    def planned(told: Callback) -> Iterator[list[PlannedCrop]]:
        found = steps.plan(searching, told)
        for shot in found if room is None else room.checked(found, expected_length(clip)):
            shots.append(shot)
            yield shot.plans

    def cut(told: Callback) -> Iterator[list[CutTrack]]:
        searching.callback = told
        return cut_shots(clip, planned(told), masks=masks, colors=True, memory=memory, callback=told)

    def write(restored: Iterator[RestoredShot], told: Callback) -> None:
        searching.wait_until_made()  # the times of the frames are known only then
        steps.write(restored, told)

    cutting, writing = Ahead(cut, CUT_AHEAD, callback), Behind(write, WAITING, callback)

    def checked(stage: str, done: int, total: int, preview: torch.Tensor | None = None) -> None:
        writing.check()
        report(callback, stage, done, total, preview)

    with ExitStack() as threads:
        for thread in (searching, cutting, writing):
            threads.enter_context(thread)
            threads.callback(_stop, searching, cutting, writing)  # all of them, before any is waited for
        for number, tracks in enumerate(cutting):
            restored = _restored(deque(tracks), steps.restore, checked)
            del tracks
            writing.put(RestoredShot(shots[number].found.stop, restored))
            del restored
        writing.finish()
    return shots


def _stop(*threads: Ahead[FoundShot] | Ahead[list[CutTrack]] | Behind[RestoredShot]) -> None:
    for thread in threads:
        thread.stop()


def _restored(tracks: deque[CutTrack], restore: Restore, callback: Callback) -> list[RestoredTrack]:
    return [restore(tracks.popleft(), callback) for _ in range(len(tracks))]
