"""Hard cuts, found from how a frame's colours and layout differ from its neighbours'.

A cut shows in both the colour histogram and the layout of the picture, and what was before does not come back a frame
later. A jolt of the camera keeps the colours, a change of light keeps the layout, a flash passes: none of them is a
cut. Dissolves and fades are not looked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .options import ShotOptions

BINS = 8
HISTOGRAM_SIZE = (64, 36)
LAYOUT_SIZE = (32, 18)
REACH = 3
"""Frames on either side of a cut that must all differ from those on the other."""


@dataclass(frozen=True)
class _Look:
    histogram: np.ndarray
    layout: np.ndarray


def _look(frame: np.ndarray) -> _Look:
    small = cv2.resize(frame, HISTOGRAM_SIZE, interpolation=cv2.INTER_AREA)
    counts = cv2.calcHist([small], [0, 1, 2], None, [BINS] * 3, [0, 256] * 3)
    # Neighbouring bins share, so that a slight change of light does not move all the weight.
    shares = cv2.GaussianBlur(counts.reshape(BINS, BINS * BINS), (0, 0), 0.6).reshape(BINS, BINS, BINS)
    grey = cv2.cvtColor(cv2.resize(small, LAYOUT_SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    layout = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    layout -= layout.mean()
    return _Look(np.sqrt(shares.ravel() / max(shares.sum(), 1e-6)), layout)


def _distance(first: _Look, second: _Look) -> float:
    """Geometric mean of the histograms' Hellinger distance and one minus the layouts' correlation, in [0,1]."""
    colours = np.sqrt(max(0.0, 1.0 - float(first.histogram @ second.histogram)))
    spread = np.linalg.norm(first.layout) * np.linalg.norm(second.layout)
    # Frames without any layout, such as black ones, are alike in layout only where both have none.
    floor = first.layout.size
    if spread > floor:
        likeness = float((first.layout * second.layout).sum() / spread)
    else:
        likeness = 1.0 if np.abs(first.layout - second.layout).max() < 4 else 0.0
    return float(np.sqrt(colours * np.clip(1.0 - likeness, 0.0, 1.0)))


class CutDetector:
    """Walks a clip once; holds the looks of six frames and two numbers per frame."""

    def __init__(self, options: ShotOptions | None = None) -> None:
        """Start before the first frame."""
        self._options = options or ShotOptions()
        self._looks: deque[_Look] = deque(maxlen=2 * REACH)
        self._steps: list[float] = []
        self._lasting: list[float] = []

    def state(self) -> dict[str, Any]:
        """All that it knows, as `base.packed.pack` takes it."""
        return {
            "histograms": [look.histogram for look in self._looks],
            "layouts": [look.layout for look in self._looks],
            "steps": np.array(self._steps),
            "lasting": np.array(self._lasting),
        }

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Know what the one knew that gave this `state`."""
        self._looks.extend(map(_Look, state["histograms"], state["layouts"]))
        self._steps, self._lasting = state["steps"].tolist(), state["lasting"].tolist()

    def add(self, frame: np.ndarray) -> bool:
        """Take the next frame (H,W,3) uint8; True where a shot may start here, which only `cuts` decides."""
        self._looks.append(_look(frame))
        self._steps.append(_distance(self._looks[-1], self._looks[-2]) if len(self._looks) > 1 else 0.0)
        self._lasting.append(1.0)
        # Each new frame is compared with those before it: candidate t lies between t-1 and t.
        count, held = len(self._steps), len(self._looks)
        for after in range(min(REACH, held - 1)):
            candidate = count - 1 - after
            for before in range(after + 1, min(after + REACH, held - 1) + 1):
                distance = _distance(self._looks[-1], self._looks[-1 - before])
                self._lasting[candidate] = min(self._lasting[candidate], distance)
        return self._steps[-1] > self._options.minimum / 2

    @property
    def count(self) -> int:
        """How many frames it was given."""
        return len(self._steps)

    @property
    def decided(self) -> int:
        """How many frames there are, from the first, of which no later frame can change whether a shot starts there."""
        return max(0, len(self._steps) - max(self._options.neighbours, REACH - 1))

    @property
    def cuts(self) -> list[int]:
        """Frames at which a new shot starts, ascending, for the frames seen so far."""
        return self.cuts_among(range(len(self._steps)))

    def cuts_among(self, frames: Iterable[int]) -> list[int]:
        """Those of the frames at which a new shot starts; the clip's first is none."""
        return [index for index in frames if index > 0 and self._is_cut(index)]

    def _is_cut(self, index: int) -> bool:
        """Whether the change before a frame lasts, and is much larger than those around it."""
        low, high = max(1, index - self._options.neighbours), index + self._options.neighbours + 1
        others = self._steps[low:index] + self._steps[index + 1 : high]
        usual = float(np.mean(others)) if others else 0.0
        return self._lasting[index] >= max(self._options.minimum, self._options.ratio * usual)
