"""The index of prepared footage: what became of each video, written as it grows, so that nothing is done twice.

`clips.jsonl` begins with a line for the settings and the videos' folder. Then each clip has a line, and each video one
after those of its clips: only that makes them count, so a run that is killed leaves no half of a video. The crop plan
and the landmarks of a clip are arrays beside it, `clips/NAME.npz`, and with `keep_crops` the crops `clips/NAME.mov`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..base.errors import InputError
from ..files.lines import read_lines
from ..files.staging import staged
from .footage import UsableClip

INDEX = "clips.jsonl"
ARRAYS = "clips"
_NUMBERS = ("first", "size", "track")


@dataclass(frozen=True)
class IndexedClip:
    """A clip in the index: its name, its video (relative to the footage's folder) and how many frames it has."""

    name: str
    video: str
    frames: int

    def line(self) -> dict[str, Any]:
        """As it stands in the index."""
        return {"clip": self.name, "video": self.video, "frames": self.frames}


@dataclass(frozen=True)
class VideoOutcome:
    """What became of a video. mark: its size and date, by which a change is seen. reason: why it could not be read."""

    video: str
    mark: tuple[int, int]
    fates: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None

    def line(self) -> dict[str, Any]:
        """As it stands in the index."""
        return {"video": self.video, "mark": list(self.mark), "fates": dict(self.fates), "reason": self.reason}


@dataclass
class Index:
    """What `read_index` found. settings: None before the first line. folder: where the videos were."""

    settings: dict[str, Any] | None = None
    folder: str = ""
    videos: dict[str, VideoOutcome] = field(default_factory=dict)
    clips: dict[str, list[IndexedClip]] = field(default_factory=dict)

    def has(self, video: str, mark: tuple[int, int]) -> bool:
        """Whether a video is done, and is still the same file."""
        return video in self.videos and self.videos[video].mark == mark

    def all_clips(self, videos: Iterable[str] | None = None) -> list[IndexedClip]:
        """The clips of these videos, by default of all, in the order of the videos' names."""
        chosen = sorted(self.clips if videos is None else set(videos) & set(self.clips))
        return [clip for video in chosen for clip in self.clips[video]]

    def fates(self, videos: Iterable[str]) -> Counter[str]:
        """How many faces of these videos were kept, or dropped for which reason."""
        counts: Counter[str] = Counter()
        for video in videos:
            counts.update(self.videos[video].fates if video in self.videos else {})
        return counts


def read_index(folder: Path) -> Index:
    """The index in a folder, empty where there is none yet. Raises InputError for one that cannot be read."""
    index = Index()
    waiting: dict[str, dict[str, IndexedClip]] = {}
    for line in read_lines(folder / INDEX):
        try:
            if "settings" in line:
                index.settings, index.folder = dict(line["settings"]), str(line["folder"])
            elif "clip" in line:
                clip = IndexedClip(str(line["clip"]), str(line["video"]), int(line["frames"]))
                waiting.setdefault(clip.video, {})[clip.name] = clip
            else:
                low, high = line["mark"]
                done = VideoOutcome(line["video"], (low, high), dict(line["fates"]), line["reason"])
                index.videos[done.video] = done
                index.clips[done.video] = sorted(waiting.pop(done.video, {}).values(), key=lambda clip: clip.name)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{folder / INDEX} is no index of prepared footage ({error}): delete {folder}.") from error
    return index


def mark_of(path: Path) -> tuple[int, int]:
    """Size and date of a file, by which a changed one is recognised; zeros where there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def clip_name(video: str, track: int) -> str:
    """The name of a clip's files: the same on every run, and none twice."""
    return f"{hashlib.sha256(video.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}-{track:04d}"


def arrays_path(folder: Path, name: str) -> Path:
    """Where the arrays of a clip lie."""
    return folder / ARRAYS / f"{name}.npz"


def crops_path(folder: Path, name: str) -> Path:
    """Where the crops of a clip lie, if they were kept."""
    return folder / ARRAYS / f"{name}.mov"


def save_arrays(folder: Path, name: str, clip: UsableClip) -> None:
    """Write a clip's crop plan and points. Raises InputError where that is not possible."""
    arrays: dict[str, Any] = {"matrices": clip.matrices, "five": clip.five, "stamps": clip.stamps}
    if clip.landmarks is not None:
        arrays["landmarks"] = clip.landmarks
    arrays.update({key: np.array(getattr(clip, key)) for key in _NUMBERS})
    with staged(arrays_path(folder, name)) as path:
        np.savez(path, **arrays)


def load_arrays(folder: Path, name: str) -> UsableClip:
    """What `save_arrays` wrote. Raises InputError where it is missing or damaged."""
    path = arrays_path(folder, name)
    try:
        with np.load(path) as found:
            landmarks = found["landmarks"] if "landmarks" in found.files else None
            track, first, size = (int(found[key]) for key in ("track", "first", "size"))
            return UsableClip(track, first, size, found["matrices"], found["five"], landmarks, found["stamps"])
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: the plan of a clip's crops cannot be read ({error}). Delete {folder}, and the footage will be "
            "prepared again."
        ) from error
