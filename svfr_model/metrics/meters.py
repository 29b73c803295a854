"""Means that grow frame by frame, so that memory does not follow the clip's length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from .faces import Person
from .report import Measure

Item = TypeVar("Item")

ONE_FRAME = "it compares frames with each other, and there is only one"


@dataclass(frozen=True)
class Pair:
    """One frame of both clips: (H,W,3) uint8 RGB, a mask (H,W) bool, and the person in each."""

    restored: np.ndarray
    truth: np.ndarray | None = None
    mask: np.ndarray | None = None
    restored_person: Person | None = None
    truth_person: Person | None = None


class Meter(Protocol):
    """Sees every pair of frames once, in order, and then says what it measured."""

    key: str
    """The metric's, one of METRICS."""

    def add(self, pair: Pair) -> None:
        """Take the next frame."""
        ...

    def measure(self) -> Measure:
        """The metric of all frames so far."""
        ...


@dataclass
class Mean:
    """A running mean that knows how many values it should have had."""

    total: float = 0.0
    counted: int = 0
    expected: int = 0

    def add(self, value: float | None) -> None:
        """One more value, or None for one that could not be measured."""
        self.expected += 1
        if value is not None:
            self.total += value
            self.counted += 1

    @property
    def value(self) -> float | None:
        """The mean, None of nothing."""
        return self.total / self.counted if self.counted else None


class FrameMeter:
    """The mean over frames of a score of one pair; a score of None is a frame that could not be measured."""

    def __init__(self, key: str, score: Callable[[Pair], float | None], nothing: str) -> None:
        """key: the metric's. nothing: the reason to give where no frame could be measured."""
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
    """Mean comparison of each item with the one before it, or with the very first; None is a missing item."""

    def __init__(self, compare: Callable[[Item, Item], float], *, first: bool) -> None:
        self._compare, self._with_first = compare, first
        self._anchor: Item | None = None
        self._started = False
        self.mean = Mean()

    def add(self, item: Item | None) -> None:
        """Compare the next item."""
        if self._started:
            missing = item is None or self._anchor is None
            self.mean.add(None if missing else self._compare(self._anchor, item))
        if not self._with_first or not self._started:
            self._anchor = item
        self._started = True


class ChainMeter(Generic[Item]):
    """A metric of one clip by itself, measured in the restored clip and, beside it, in the true one."""

    def __init__(
        self,
        key: str,
        items: Callable[[Pair], tuple[Item | None, Item | None]],
        compare: Callable[[Item, Item], float],
        nothing: str,
        *,
        first: bool = False,
    ) -> None:
        """items: what is compared, of the restored and of the true frame. first: with frame 1, not the one before."""
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
        """The mean over the restored clip, with the true clip's beside it."""
        mean = self._restored.mean
        absent = "" if mean.counted else self._nothing if mean.expected else ONE_FRAME
        return Measure(self.key, mean.value, absent, self._truth.mean.value, mean.counted, mean.expected)
