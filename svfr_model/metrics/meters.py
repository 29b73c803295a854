"""Running means: each frame is measured and let go, so memory does not grow with the clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from .faces import Sighting
from .report import Measure

Item = TypeVar("Item")

ONE_FRAME = "it compares frames with each other, and there is only one"


@dataclass(frozen=True)
class Pair:
    """One frame of both clips: (H,W,3) uint8 RGB, a mask (H,W) bool, and the person in each."""

    restored: np.ndarray
    truth: np.ndarray | None = None
    mask: np.ndarray | None = None
    restored_person: Sighting | None = None
    truth_person: Sighting | None = None


class Meter(Protocol):
    """Is shown every pair of frames once, in order, and then gives its metric."""

    @property
    def key(self) -> str:
        """Which metric, one of METRICS."""
        ...

    def add(self, pair: Pair) -> None:
        """Take the next frame."""
        ...

    def measure(self) -> Measure:
        """The metric of all frames so far."""
        ...


@dataclass
class Mean:
    """A running mean that also counts the values that could not be measured."""

    total: float = 0.0
    counted: int = 0
    expected: int = 0

    def add(self, value: float | None) -> None:
        """Take the next value; None means that it could not be measured."""
        self.expected += 1
        if value is not None:
            self.total += value
            self.counted += 1

    @property
    def value(self) -> float | None:
        """The mean, or None where nothing was measured."""
        return self.total / self.counted if self.counted else None


class FrameMeter:
    """The mean over frames of a score of each pair; a score of None means that the frame could not be measured."""

    def __init__(self, key: str, score: Callable[[Pair], float | None], nothing: str) -> None:
        """key: one of METRICS. nothing: the reason to give where no frame could be measured."""
        self.key = key
        self._score, self._nothing = score, nothing
        self._mean = Mean()

    def add(self, pair: Pair) -> None:
        """Score the next frame."""
        self._mean.add(self._score(pair))

    def measure(self) -> Measure:
        """The mean of the scores."""
        mean = self._mean
        absent = "" if mean.counted else self._nothing
        return Measure(self.key, mean.value, absent, counted=mean.counted, expected=mean.expected)


class Chain(Generic[Item]):
    """The mean over comparisons of each item with the one before it, or with the first; None is a missing item."""

    def __init__(self, compare: Callable[[Item, Item], float], *, first: bool) -> None:
        self._compare, self._with_first = compare, first
        self._anchor: Item | None = None
        self._started = False
        self.mean = Mean()

    def add(self, item: Item | None) -> None:
        """Compare the next item with its predecessor, or with the first."""
        if self._started:
            anchor = self._anchor
            self.mean.add(None if item is None or anchor is None else self._compare(anchor, item))
        if not self._with_first or not self._started:
            self._anchor = item
        self._started = True


class ChainMeter(Generic[Item]):
    """A metric that needs no true clip, measured in the restored clip and, for comparison, in the true one."""

    def __init__(
        self,
        key: str,
        items: Callable[[Pair], tuple[Item | None, Item | None]],
        compare: Callable[[Item, Item], float],
        nothing: str,
        *,
        first: bool = False,
    ) -> None:
        """items: what to compare, from the restored and from the true frame. first: compare with frame 1, not the one
        before. key, nothing: see FrameMeter.
        """
        self.key = key
        self._items, self._nothing = items, nothing
        self._restored = Chain(compare, first=first)
        self._truth = Chain(compare, first=first)

    def add(self, pair: Pair) -> None:
        """Compare the next frame with an earlier one."""
        restored, truth = self._items(pair)
        self._restored.add(restored)
        self._truth.add(truth)

    def measure(self) -> Measure:
        """The mean over the restored clip, and the true clip's own."""
        mean = self._restored.mean
        absent = "" if mean.counted else self._nothing if mean.expected else ONE_FRAME
        return Measure(self.key, mean.value, absent, self._truth.mean.value, mean.counted, mean.expected)
