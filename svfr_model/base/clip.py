"""What the library calls a clip: frames that can be read more than once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np


class Clip(Protocol):
    """Frames and their rate; each iteration starts at the first frame and holds one frame at a time.

    Frames are (H,W,3) RGB arrays, all of one size: uint8, or float32 in [0,1].
    """

    @property
    def fps(self) -> Fraction:
        """Frames per second."""
        ...

    @property
    def width(self) -> int:
        """Width of every frame in pixels."""
        ...

    @property
    def height(self) -> int:
        """Height of every frame in pixels."""
        ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True)
class ArrayClip:
    """A clip whose frames are in memory: a sequence of (H,W,3) arrays or one (N,H,W,3) array."""

    frames: Sequence[np.ndarray] | np.ndarray
    fps: Fraction = Fraction(25)

    @property
    def width(self) -> int:
        """Width of every frame in pixels."""
        return int(self.frames[0].shape[1])

    @property
    def height(self) -> int:
        """Height of every frame in pixels."""
        return int(self.frames[0].shape[0])

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.frames)


def expected_length(clip: Clip) -> int:
    """How many frames a clip is said to have, without decoding any; 0 if that is not known. For progress only."""
    stated = getattr(clip, "stated_length", None)
    if stated is not None:
        return int(stated)
    return len(clip) if isinstance(clip, Sized) else 0


def picked(clip: Clip, wanted: Callable[[int], bool]) -> Iterator[np.ndarray | None]:
    """Every frame of the clip that is wanted by its number, and None for the others.

    wanted: asked when the frame's turn has come. A clip whose frames cost something to make has a method `picked` of
    its own that saves it.
    """
    own: Callable[[Callable[[int], bool]], Iterator[np.ndarray | None]] | None = getattr(clip, "picked", None)
    if own is not None:
        return own(wanted)
    return (frame if wanted(number) else None for number, frame in enumerate(clip))
