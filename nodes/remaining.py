"""How much of a run is done, as a part of the time that all of it takes.

How much work each phase is, is counted before; how long a piece of it takes is learned as it is done. So the same count
serves every network and machine, and what nobody could count, such as loading and searching, weighs what it took.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

ALIKE = {"first denoise": "denoise", "first decode": "decode"}
"""Stages whose work takes as long as that of another."""
GROUPS = {"encode": "pictures", "decode": "pictures", "crop": "walks", "paste": "walks"}
"""What the speed of a stage is taken from before it has begun: of the same network, or of walks through the clip, which
are counted by frames. All others are one group."""
DOUBT = 0.02
"""The part of a stage's work for which the speed of its group counts as much as its own: first pieces may be slow."""


class Remaining:
    """The share of a run that is done. Stages may have several runs, such as one for each face, one after the other."""

    def __init__(self) -> None:
        """Nothing is known yet of what is to come."""
        self._work: dict[str, list[float]] = {}
        self._done: dict[str, list[float]] = defaultdict(list)
        self._spent: dict[str, float] = defaultdict(float)
        self._within: dict[str, float] = defaultdict(float)
        self._elapsed = 0.0
        self.share = 0.0
        """The part that is done, 0 to 1, of what is known. It never falls."""

    def plan(self, work: Mapping[str, Sequence[float]]) -> None:
        """What is to come: of each stage, how much work each of its runs is."""
        self._work = {name: list(runs) for name, runs in work.items()}
        self._done = defaultdict(list)

    def runs(self, stage: str) -> tuple[int, int]:
        """How many runs of a stage have begun, and how many there are."""
        return len(self._done[stage]), len(self._work.get(stage, []))

    def passed(self, seconds: float, stage: str | None = None) -> None:
        """So much time was spent, on a stage or on what nobody counts."""
        self._elapsed += seconds
        if stage is not None:
            self._spent[_kind(stage)] += seconds
        left = self.seconds
        if left is None:
            return
        held = self.share + (1 - self.share) * seconds / (seconds + left) if seconds + left else self.share
        whole = self._elapsed + left
        self.share = max(held, self._elapsed / whole) if whole else self.share

    def note(self, stage: str, part: float, step: float | None = None) -> None:
        """The latest run of a stage has come so far, 0 to 1; what follows a finished run begins the next.

        step: the part is that of a step, which is this much of the run, and comes on top of the steps before.
        """
        runs = self._done[stage]
        if not runs or runs[-1] >= 1:
            runs.append(0.0)
        self._within[stage] = 0.0 if step is None else part * step
        runs[-1] = part if step is None else runs[-1]

    def known(self, share: float) -> None:
        """At least this much is done, 0 to 1."""
        self.share = max(self.share, share)

    @property
    def seconds(self) -> float | None:
        """How long the rest will take; None before any of the counted work has taken time."""
        speeds = {group: self._speed(group) for group in ("pictures", "walks", "")}
        known = [speed for group, speed in speeds.items() if speed is not None and group != "walks"]
        if not known:
            return None
        left = 0.0
        for stage, runs in self._work.items():
            group = _group(stage)
            common = speeds[group] or (0.0 if group == "walks" else known[0])
            left += (sum(runs) - self._finished(stage)) * self._pace(stage, common)
        return left

    def _finished(self, stage: str) -> float:
        """The work of a stage that is done."""
        runs = [*self._done[stage]]
        if runs:
            runs[-1] += self._within[stage]
        return sum(work * done for work, done in zip(self._work[stage], runs, strict=False))

    def _of_kind(self, kind: str) -> tuple[float, float]:
        """The work of all stages of a kind, and what of it is done."""
        stages = [stage for stage in self._work if _kind(stage) == kind]
        return sum(sum(self._work[stage]) for stage in stages), sum(map(self._finished, stages))

    def _speed(self, group: str) -> float | None:
        """Seconds for a piece of work of the stages of a group; None where none of it is done."""
        kinds = {_kind(stage) for stage in self._work if _group(stage) == group}
        done = {kind: self._of_kind(kind)[1] for kind in kinds}
        work = sum(done.values())
        return sum(self._spent[kind] for kind in kinds if done[kind]) / work if work else None

    def _pace(self, stage: str, common: float) -> float:
        """Seconds for a piece of a stage's work: its own kind's as far as that is known, else common."""
        kind = _kind(stage)
        work, done = self._of_kind(kind)
        doubt = DOUBT * work
        return (self._spent[kind] + doubt * common) / (done + doubt) if done else common


def _kind(stage: str) -> str:
    return ALIKE.get(stage, stage)


def _group(stage: str) -> str:
    return GROUPS.get(_kind(stage), "")
