"""Which faces of your own videos are trained on: found and cut as at inference, and unsuitable ones dropped.

From the papers (docs/reference/training.md#data): crops under 512 px, side faces, low no-reference quality. The text
filter of BFVR-STC, which drops frames with writing in them, is not here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from ..base.errors import DependencyError, InputError
from ..base.options import Range, option, options
from ..faces.crop import BORDER, plan_crop
from ..faces.face import FaceDetector
from ..faces.find import find_tracks
from ..faces.landmarks import LandmarkModel, add_outlines
from ..faces.options import CropOptions
from ..faces.track import FaceTrack, PlannedCrop
from ..faces.warp import warp
from ..files.paths import VIDEO_SUFFIXES
from ..media.reader import VideoClip
from ..media.seek import frame_stamps, read_frames

if TYPE_CHECKING:
    from torch import Tensor

QualityScore: TypeAlias = "Callable[[Tensor], float]"
"""Frames (n,3,H,W) uint8 to a score in [0,1]; higher is better."""

QUALITY_FRAMES = 5
"""How many frames of a clip the quality score is the mean of, evenly spread; the papers do not say. Ours."""


@options
class FootageOptions:
    """Which crops are kept. Limits are the papers' where there is one."""

    size: int = option(default=512, within=Range(64), unit="pixels", help="Side of the crops.")
    least_crop: int = option(
        default=512, within=Range(1), unit="pixels", help="Crops whose side covers fewer video pixels are dropped."
    )
    frontal: tuple[float, float] = option(
        default=(0.4, 2.5),
        within=Range(0.0, above=True),
        help="Allowed range of |x1-x0| / |x2-x0|, where x1 and x2 are the eyes and x0 the nose tip.",
    )
    least_quality: float | None = option(
        default=None, help="Lowest no-reference quality score of a crop; by default no score is computed."
    )
    frames: int = option(default=16, within=Range(4), unit="frames", help="Shortest clip worth keeping.")
    keep_crops: bool = option(
        default=False,
        help="Keep the crops too, as ProRes HQ, which is visually lossless: they are read faster than they are cut out "
        "of the videos, but take much room.",
    )

    def __post_init__(self) -> None:
        """Refuse a range that does not ascend."""
        if self.frontal[0] >= self.frontal[1]:
            raise InputError(f"frontal is the range {self.frontal}; it must ascend.")


@dataclass(frozen=True)
class Tools:
    """What finds and judges faces: functions that load it, because every process loads its own.

    landmarks: for the 68 points of facial prior learning. quality: needed for FootageOptions.least_quality, see
    `load_arniqa`.
    """

    detector: Callable[[], FaceDetector]
    landmarks: Callable[[], LandmarkModel] | None = None
    quality: Callable[[], QualityScore] | None = None

    def loaded(self) -> LoadedTools:
        """Load everything."""
        landmarks = None if self.landmarks is None else self.landmarks()
        return LoadedTools(self.detector(), landmarks, None if self.quality is None else self.quality())


@dataclass(frozen=True)
class LoadedTools:
    """The same, loaded."""

    detector: FaceDetector
    landmarks: LandmarkModel | None
    quality: QualityScore | None


@dataclass(frozen=True, eq=False)
class UsableClip:
    """A run of frames of one person that can be trained on: where it is cut, and the face's points in the crop.

    first: its first frame in the video. matrices (n,2,3) from frame to crop; five (n,5,2), landmarks (n,68,2) or None.
    stamps (n,): the frames' times in the video, or in that of the kept crops, see `media.seek.frame_stamps`; or empty.
    """

    track: int
    first: int
    size: int
    matrices: np.ndarray
    five: np.ndarray
    landmarks: np.ndarray | None
    stamps: np.ndarray

    def __len__(self) -> int:
        return len(self.matrices)


def find_videos(folder: Path | str) -> list[Path]:
    """The videos under a folder, sorted. Raises InputError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give the folder with the training videos.")
    videos = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not videos:
        raise InputError(
            f"{folder} holds no videos ({', '.join(sorted(VIDEO_SUFFIXES))}): put the training footage there."
        )
    return videos


def usable_clips(
    path: Path, options: FootageOptions, tools: LoadedTools
) -> tuple[list[UsableClip], Counter[str]]:
    """The clips of a video that can be trained on, and how many faces were "kept" or dropped for which reason.

    Raises InputError for a video that cannot be read.
    """
    clip = VideoClip(path)
    tracks = find_tracks(clip, tools.detector).tracks
    if tools.landmarks is not None and tracks:
        tracks = add_outlines(clip, tracks, tools.landmarks)
    stamps = frame_stamps(clip)
    kept, fates = [], Counter[str]()
    for track in tracks:
        planned, first, last = _planned(track, options)
        fate = _fate(planned, first, last, options)
        if fate is None:
            found = _usable(planned, first, last, options.size, stamps)
            fate = _quality(path, found, options, tools.quality)
            if fate is None:
                kept.append(found)
        fates[fate or "kept"] += 1
    return kept, fates


def _planned(track: FaceTrack, options: FootageOptions) -> tuple[PlannedCrop, int, int]:
    """The crop of a track, and its longest run of frames that show the face from the front, (first, last + 1)."""
    good = track.seen & is_frontal(_eyes_and_nose(track), options.frontal)
    planned = plan_crop(track, CropOptions(mode="tracked", size=(options.size, options.size)))
    return planned, *longest_run(good)


def _fate(planned: PlannedCrop, first: int, last: int, options: FootageOptions) -> str | None:
    """Why a track is dropped, if it is."""
    if last - first < options.frames:
        return "side face or too short"
    scale = np.sqrt(np.abs(np.linalg.det(planned.matrices[:, :, :2])))
    if options.size / float(np.median(scale)) < options.least_crop:
        return f"crop under {options.least_crop} px"
    return None


def _usable(planned: PlannedCrop, first: int, last: int, size: int, stamps: np.ndarray) -> UsableClip:
    run, start = slice(first, last), planned.track.start + first
    return UsableClip(
        planned.track.id,
        start,
        size,
        planned.matrices[run],
        planned.landmarks[run].astype(np.float32),
        None if planned.outlines is None else planned.outlines[run].astype(np.float32),
        stamps[start : start + last - first],
    )


def _quality(path: Path, clip: UsableClip, options: FootageOptions, score: QualityScore | None) -> str | None:
    """Why a clip is dropped for its quality, if it is."""
    if options.least_quality is None or score is None:
        return None
    chosen = np.unique(np.linspace(0, len(clip) - 1, QUALITY_FRAMES).round().astype(int))
    crops = np.concatenate([read_crops(path, clip, int(number), int(number) + 1) for number in chosen])
    if score(torch.from_numpy(crops).permute(0, 3, 1, 2)) < options.least_quality:
        return f"quality under {options.least_quality}"
    return None


def read_crops(path: Path, clip: UsableClip, first: int, stop: int) -> np.ndarray:
    """Crops first to stop - 1 of a clip, decoded from its video: (n,S,S,3) uint8. Raises InputError."""
    frames = read_frames(path, clip.first + first, clip.first + stop, clip.stamps[first:stop])
    size = (clip.size, clip.size)
    return np.stack([warp(frame, clip.matrices[first + k], size, BORDER) for k, frame in enumerate(frames)])


def is_frontal(eyes_and_nose: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """(N,) bool: whether the nose tip is between the eyes and the ratio of its distances to them is within the limits.

    eyes_and_nose (N,3,2): a point of the left and of the right eye, and the nose tip (BFVR-STC's rule).
    """
    left, right, nose = np.moveaxis(eyes_and_nose[..., 0], -1, 0)
    near, far = nose - left, right - nose
    ratio = np.abs(near) / np.maximum(np.abs(far), 1e-6)
    frontal: np.ndarray = (near > 0) & (far > 0) & (limits[0] <= ratio) & (ratio <= limits[1])
    return frontal


def longest_run(good: np.ndarray) -> tuple[int, int]:
    """The (first, last + 1) of the longest run of True; (0, 0) if there is none."""
    best, position = (0, 0), 0
    for value, group in groupby(good.tolist()):
        length = len(list(group))
        if value and length > best[1] - best[0]:
            best = (position, position + length)
        position += length
    return best


def load_arniqa() -> QualityScore:
    """ARNIQA from torchmetrics, in [0,1].

    torchmetrics has its regressors for KonIQ-10k and KADID-10k; the first is used. SVFR filtered at 0.75 of the one
    trained on LIVE, which no kept library ships: the same threshold does not mean the same here. The weights are
    downloaded when it is first used, as torchmetrics does. Raises DependencyError where torchmetrics is missing or
    has no ARNIQA.
    """
    try:
        from torchmetrics.functional.image import arniqa
    except ImportError as error:
        raise DependencyError(
            "The quality filter needs torchmetrics 1.8 or newer with torchvision: pip install -r "
            "requirements-train.txt, or train without footage.least_quality."
        ) from error
    return lambda frames: float(arniqa(frames.float() / 255, regressor_dataset="koniq10k", normalize=True))


def _eyes_and_nose(track: FaceTrack) -> np.ndarray:
    """(N,3,2): the outer eye corners and nose tip of the 68 landmarks, or without these the centres of the eyes."""
    if track.outlines is not None:
        return track.outlines[:, [36, 45, 30]]
    return track.landmarks[:, :3]
