"""Temporal windows: which frames the network sees together at each step, and how their results are blended.

Pure index arithmetic. `reference_windows` is the published plan (docs/reference/svfr.md#windows): circular in time,
with overlap in the first three steps only. `linear_windows` never wraps around the ends and never crosses a scene cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..base.errors import InputError
from ..base.options import Flag, Range, Widget, option, options

PlanName: TypeAlias = Literal["reference", "linear"]

MOST_FRAMES = 256
"""In a window or a decode chunk; more would run out of memory."""

MIN_FRAMES = 4
"""Shots of fewer frames are padded by repeating their last one: windows need more than the published overlap of 3."""

OVERLAPPED_STEPS = 3
"""The reference overlaps its windows in this many first steps; afterwards it only shifts them."""


@dataclass(frozen=True)
class Window:
    """Frames seen together, and the weight of each in the blend. A frame may occur more than once."""

    frames: tuple[int, ...]
    weights: tuple[float, ...]


def triangle_weights(length: int) -> tuple[float, ...]:
    """Blend weight min(j+1, length-j) of window position j: 1,2,...,8,8,...,2,1 for 16 frames."""
    return tuple(float(min(j + 1, length - j)) for j in range(length))


def reference_window_starts(count: int, length: int, overlap: int, step: int) -> list[int]:
    """First frames of the reference's windows at a step, not yet taken modulo the clip (so they may be negative).

    The windows start every length-overlap frames during the first three steps and every length frames later; before
    each step all of them have moved back by overlap frames more, modulo the window length.
    """
    _check(count, length, overlap)
    shift = (step * overlap) % length
    stride = length - overlap if step < OVERLAPPED_STEPS else length
    return [start - shift for start in range(0, count, stride)]


def reference_windows(count: int, length: int, overlap: int, step: int) -> list[Window]:
    """The reference's windows over count frames at a step (docs/reference/svfr.md#windows), circular in time.

    Every window has exactly length frames; with fewer frames in the clip some occur several times.
    """
    weights = triangle_weights(length)
    return [
        Window(tuple((start + j) % count for j in range(length)), weights)
        for start in reference_window_starts(count, length, overlap, step)
    ]


def linear_windows(count: int, length: int, overlap: int, step: int, cuts: Sequence[int] = ()) -> list[Window]:
    """Windows that stay inside one shot each and overlap at every step.

    cuts are the first frames of the second and later shots. Inside a shot neighbouring windows share at least overlap
    frames. From step to step all inner windows move back by overlap frames, modulo the stride, so that no join stays
    at one place for the whole run. A shot of at most length frames is one window.
    """
    _check(count, length, overlap)
    windows = []
    for first, last in shots(count, cuts):
        size = min(length, last - first)
        for start in _linear_starts(last - first, size, min(overlap, size - 1), step):
            windows.append(Window(tuple(range(first + start, first + start + size)), triangle_weights(size)))
    return windows


def _linear_starts(count: int, length: int, overlap: int, step: int) -> list[int]:
    """Ascending starts of windows that cover 0..count without leaving it, inner ones moved according to the step."""
    stride = length - overlap
    offset = (step * max(overlap, 1)) % stride
    last = count - length
    return sorted({min(max(start - offset, 0), last) for start in range(0, last + stride + offset, stride)})


def shots(count: int, cuts: Sequence[int] = ()) -> list[tuple[int, int]]:
    """The (first, last+1) frame ranges between cuts; InputError for a cut outside 1..count-1 or out of order."""
    if list(cuts) != sorted(set(cuts)) or any(not 0 < cut < count for cut in cuts):
        raise InputError(f"Cuts must be ascending frame numbers between 1 and {count - 1}, not {list(cuts)}.")
    edges = [0, *cuts, count]
    return list(itertools.pairwise(edges))


@options
class WindowPlan:
    """How a clip is cut into windows at every step."""

    length: int = option(
        default=16,
        within=Range(1, MOST_FRAMES),
        unit="frames",
        help="How many frames the network sees together; it was trained on 16. Fewer need less memory, but show it "
        "less of the motion.",
        flag=Flag("window"),
        widget=Widget("window"),
    )
    overlap: int = option(
        default=3,
        within=Range(0, MOST_FRAMES - 1),
        unit="frames",
        help="How many frames neighbouring windows share; fewer than the window has. More join the windows better and "
        "take longer.",
    )
    name: PlanName = option(
        default="reference",
        help="How windows are laid out. reference joins the clip's end to its start and overlaps windows only in the "
        "first three steps; linear never wraps around and always overlaps: slower, for clips whose end looks unlike "
        "their start.",
        flag=Flag("windows"),
        widget=Widget("plan"),
    )
    cuts: tuple[int, ...] = ()
    """First frames of later shots; the reference plan is circular and knows no cuts."""

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if self.cuts and self.name == "reference":
            raise InputError(
                "The reference window plan joins the clip's end to its start and cannot respect scene cuts: "
                'use the "linear" plan, or restore each shot by itself.'
            )
        _check_overlap(self.length, self.overlap)

    def at_step(self, count: int, step: int) -> list[Window]:
        """The windows over count frames at a step (0 is the first)."""
        if self.name == "reference":
            return reference_windows(count, self.length, self.overlap, step)
        return linear_windows(count, self.length, self.overlap, step, self.cuts)


@dataclass(frozen=True)
class Padding:
    """A clip in which every shot has at least the minimum of frames, the last one of a short shot repeated.

    frames: the clip's frame number at each position of the padded clip. kept: the position of each frame of the clip.
    cuts: first positions of later shots.
    """

    frames: tuple[int, ...]
    kept: tuple[int, ...]
    cuts: tuple[int, ...]


def pad_shots(count: int, cuts: Sequence[int] = (), minimum: int = MIN_FRAMES) -> Padding:
    """How a clip of count frames is padded so that its shots are not too short for the network's windows."""
    frames: list[int] = []
    kept: list[int] = []
    starts: list[int] = []
    for first, last in shots(count, cuts):
        starts.append(len(frames))
        kept += range(len(frames), len(frames) + last - first)
        frames += list(range(first, last)) + [last - 1] * (minimum - (last - first))
    return Padding(tuple(frames), tuple(kept), tuple(starts[1:]))


def _check(count: int, length: int, overlap: int) -> None:
    if count < 1:
        raise InputError("The clip has no frames.")
    _check_overlap(length, overlap)


def _check_overlap(length: int, overlap: int) -> None:
    if length < 1 or not 0 <= overlap < length:
        raise InputError(
            f"A window of {length} frames cannot overlap its neighbour by {overlap}: "
            "the overlap must be 0 or more and smaller than the window."
        )
