"""What the library calls a clip: frames that can be walked through more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np


class Clip(Protocol):
    """Frames plus their rate; each walk starts at the first frame and holds one frame at a time.

    Frames are (H,W,3) RGB arrays, all of one size: uint8, or float32 in [0,1].
    """

    fps: Fraction
    width: int
    height: int

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
    """How many frames a clip says it has, without decoding any; 0 where it does not say. For progress only."""
    promised = getattr(clip, "promised", None)
    if promised is not None:
        return int(promised)
    return len(clip) if isinstance(clip, Sized) else 0
