"""What training windows are drawn from: prepared footage, or synthetic clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..base.errors import InputError
from ..media.seek import read_frames
from ..synthesis.clips import make_clip
from .footage import UsableClip, read_crops
from .index import INDEX, IndexedClip, crops_path, load_arrays, read_index


@dataclass(frozen=True)
class TrainingWindow:
    """Consecutive frames of one person, from which a training row is made.

    frames (F,S,S,3) uint8; five (F,5,2) and landmarks (F,68,2), in pixels; landmarks is None where unknown. other:
    another frame of the clip (S,S,3), with its five points, for reference. first, other_number: where they are in the
    clip.
    """

    frames: np.ndarray
    five: np.ndarray
    landmarks: np.ndarray | None
    other: np.ndarray
    other_five: np.ndarray
    first: int
    other_number: int


class WindowSource(Protocol):
    """Clips to draw windows from."""

    def __len__(self) -> int: ...

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of clip `index`."""
        ...


def _places(frames: int, length: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where a window of a clip begins, and which frame is the other one."""
    return int(rng.integers(frames - length + 1)), int(rng.integers(frames))


@dataclass(frozen=True)
class SyntheticClips:
    """Synthetic clips as a source: clip k is drawn from seed k."""

    count: int
    size: int
    frames: int = 24

    def __len__(self) -> int:
        return self.count

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of a clip of `frames` frames, and another frame of it."""
        clip = make_clip(index, max(self.frames, length), self.size)
        first, other = _places(len(clip.frames), length, rng)
        part, five = slice(first, first + length), clip.five
        return TrainingWindow(
            clip.frames[part], five[part], clip.landmarks[part], clip.frames[other], five[other], first, other
        )


class Footage:
    """The clips that `prepare_footage` found. Only their names are in memory; the rest is read when it is drawn.

    Crops are decoded from the videos, or from where they were kept.
    """

    def __init__(self, cache: Path | str) -> None:
        """cache: the folder of what was prepared. Raises InputError where nothing was."""
        self._cache = Path(cache)
        index = read_index(self._cache)
        if index.settings is None:
            raise InputError(f"{cache} has no prepared footage ({INDEX} is missing): prepare the videos first.")
        self._videos = Path(index.folder)
        self.size = int(index.settings["size"])
        self.has_landmarks = bool(index.settings["landmarks"])
        self._kept = bool(index.settings["keep_crops"])
        there = [video for video in index.videos if self._kept or (self._videos / video).is_file()]
        self.clips: Sequence[IndexedClip] = index.all_clips(there)

    def __len__(self) -> int:
        return len(self.clips)

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of a clip, and another frame of it for reference. Raises InputError for a damaged file."""
        entry = self.clips[index]
        clip = load_arrays(self._cache, entry.name)
        first, other = _places(len(clip), length, rng)
        part = slice(first, first + length)
        frames = self._crops(entry, clip, first, first + length)
        inside = first <= other < first + length
        another = frames[other - first] if inside else self._crops(entry, clip, other, other + 1)[0]
        known = None if clip.landmarks is None else clip.landmarks[part]
        return TrainingWindow(frames, clip.five[part], known, another, clip.five[other], first, other)

    def _crops(self, entry: IndexedClip, clip: UsableClip, first: int, stop: int) -> np.ndarray:
        """(n,S,S,3) uint8."""
        if not self._kept:
            return read_crops(self._videos / entry.video, clip, first, stop)
        path = crops_path(self._cache, entry.name)
        return np.stack(read_frames(path, first, stop, clip.stamps[first:stop]))
