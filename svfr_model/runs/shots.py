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
from ..base.clip import Clip
from ..base.progress import Callback, report
from ..faces.cut import CutTrack, cut_shots
from ..faces.find import FoundShot
from ..faces.paste_clip import RestoredShot, RestoredTrack
from ..faces.track import PlannedCrop

CUT_AHEAD = 1
"""Shots that are cut while another is restored."""
WAITING = 4
"""Restored shots that wait for paste-back at most; then the network waits, too."""


@dataclass(frozen=True, eq=False)
class PlannedShot:
    """A shot and the crops that are planned in it; many have none."""

    found: FoundShot
    plans: list[PlannedCrop]


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
    callback: Callback | None = None,
) -> list[PlannedShot]:
    """Find, cut, restore and write a clip's faces; returns its shots.

    masks: (H,W), True where the picture is missing, one per frame. The callback is called in the caller's thread only,
    stage by stage: what the threads report is told while they are waited for. An exception, of the callback too, ends
    all threads before it is raised.
    """
    shots: list[PlannedShot] = []
    searching: Ahead[FoundShot] = Ahead(steps.search, None)

    def planned(told: Callback) -> Iterator[list[PlannedCrop]]:
        for shot in steps.plan(searching, told):
            shots.append(shot)
            yield shot.plans

    def cut(told: Callback) -> Iterator[list[CutTrack]]:
        searching.callback = told
        return cut_shots(clip, planned(told), masks=masks, colors=True, callback=told)

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
