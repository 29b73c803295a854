"""Your own videos as training clips: faces are found and cut out as at inference, and unsuitable ones dropped.

The filters are SVFR's and BFVR-STC's (docs/reference/training.md#data): crops under 512 px, low no-reference
quality, side faces.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..base.clip import Clip
from ..base.errors import DependencyError, FaceNotFoundError, InputError
from ..base.options import Range, option, options
from ..base.progress import Callback, report
from ..faces.crop import plan_crop
from ..faces.cut import crop_clip
from ..faces.face import FaceDetector
from ..faces.find import find_tracks
from ..faces.landmarks import LandmarkModel, add_outlines
from ..faces.options import CropOptions
from ..faces.track import FaceTrack
from ..files.paths import VIDEO_SUFFIXES
from ..files.staging import staged
from ..media import open_clip

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

INDEX = "clips.json"

QualityScore: TypeAlias = "Callable[[Tensor], float]"
"""Frames (n,3,H,W) uint8 to a score in [0,1]; higher is better."""


@options
class FootageOptions:
    """Which crops are kept. The defaults are the papers'."""

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

    def __post_init__(self) -> None:
        """Refuse a range that does not ascend."""
        if self.frontal[0] >= self.frontal[1]:
            raise InputError(f"frontal is the range {self.frontal}; it must ascend.")


def prepare_footage(
    folder: Path | str,
    target: Path | str,
    detector: FaceDetector,
    options: FootageOptions | None = None,
    *,
    landmarks: LandmarkModel | None = None,
    quality: QualityScore | None = None,
    callback: Callback | None = None,
) -> Counter[str]:
    """Cut every usable face out of a folder's videos and save them in target, as arrays with an index.

    Returns how many tracks were "kept", and how many were dropped for which reason. landmarks: finds the 68 points that
    facial prior learning needs. quality: needed if options.least_quality is set; see load_arniqa. Raises InputError for
    a folder without videos and if nothing was kept, FaceNotFoundError if no video shows a face.
    """
    options = options or FootageOptions()
    if options.least_quality is not None and quality is None:
        raise InputError("least_quality is set, but there is no quality score: give load_arniqa(), or unset it.")
    videos = find_videos(folder)
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    entries: list[dict[str, object]] = []
    for number, path in enumerate(videos):
        clip = open_clip(path)
        tracks = find_tracks(clip, detector).tracks
        if landmarks is not None:
            tracks = add_outlines(clip, tracks, landmarks)
        for track in tracks:
            fate, entry = _keep(clip, track, options, quality, target, f"{number:05d}_{track.id:03d}")
            counts[fate] += 1
            if entry is not None:
                entries.append({"video": path.name, **entry})
        report(callback, "footage", number + 1, len(videos))
    _check(counts, len(videos), options)
    with staged(target / INDEX) as path:
        path.write_text(json.dumps({"size": options.size, "clips": entries}, indent=1), encoding="utf-8")
    return counts


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


def _keep(
    clip: Clip, track: FaceTrack, options: FootageOptions, quality: QualityScore | None, target: Path, name: str
) -> tuple[str, dict[str, object] | None]:
    """Save one track and return "kept" and its entry in the index, or return why it is dropped."""
    good = track.seen & is_frontal(_eyes_and_nose(track), options.frontal)
    first, last = longest_run(good)
    if last - first < options.frames:
        return "side face or too short", None
    planned = plan_crop(track, CropOptions(mode="tracked", size=(options.size, options.size)))
    scale = np.sqrt(np.abs(np.linalg.det(planned.matrices[:, :, :2])))
    if options.size / float(np.median(scale)) < options.least_crop:
        return f"crop under {options.least_crop} px", None
    crops = crop_clip(clip, [planned])[0][first:last]
    if options.least_quality is not None and quality is not None:
        middle = crops[len(crops) // 2][None]
        if quality(middle) < options.least_quality:
            return f"quality under {options.least_quality}", None
    np.save(target / f"{name}.npy", crops.permute(0, 2, 3, 1).numpy())
    points = {"five": planned.landmarks[first:last].tolist()}
    if planned.outlines is not None:
        points["landmarks"] = planned.outlines[first:last].tolist()
    (target / f"{name}.json").write_text(json.dumps(points), encoding="utf-8")
    return "kept", {"name": name, "frames": last - first}


def _eyes_and_nose(track: FaceTrack) -> np.ndarray:
    """(N,3,2): the outer eye corners and nose tip of the 68 landmarks, or without these the centres of the eyes."""
    if track.outlines is not None:
        return track.outlines[:, [36, 45, 30]]
    return track.landmarks[:, :3]


def _check(counts: Counter[str], videos: int, options: FootageOptions) -> None:
    if not counts:
        raise FaceNotFoundError(
            f"No face was found in any of {videos} videos. Lower the detection threshold, or choose other footage."
        )
    if not counts["kept"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
        raise InputError(
            f"None of {counts.total()} faces in {videos} videos can be trained on: {reasons}. Use larger or more "
            f"frontal faces, or loosen least_crop ({options.least_crop}), frontal or frames ({options.frames})."
        )


@dataclass(frozen=True)
class TrainingWindow:
    """Consecutive frames of one person, from which a training row is made.

    frames (F,S,S,3) uint8; five (F,5,2) and landmarks (F,68,2), in pixels; landmarks is None where unknown. other:
    another frame of the clip (S,S,3), with its five points, for reference.
    """

    frames: np.ndarray
    five: np.ndarray
    landmarks: np.ndarray | None
    other: np.ndarray
    other_five: np.ndarray


class Footage:
    """The clips that `prepare_footage` saved in a folder, read as they are needed."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        path = self._folder / INDEX
        if not path.is_file():
            raise InputError(f"{folder} has no prepared footage ({INDEX} is missing): prepare the videos first.")
        stored = json.loads(path.read_text(encoding="utf-8"))
        self.size = int(stored["size"])
        self._names: Sequence[str] = [entry["name"] for entry in stored["clips"]]
        self._points = [json.loads((self._folder / f"{name}.json").read_text(encoding="utf-8")) for name in self._names]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def has_landmarks(self) -> bool:
        """Whether there are 68 landmarks for every clip."""
        return all("landmarks" in points for points in self._points)

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of a clip, and another frame of it for reference."""
        frames = np.load(self._folder / f"{self._names[index]}.npy", mmap_mode="r")
        five = np.array(self._points[index]["five"])
        landmarks = self._points[index].get("landmarks")
        first, other = int(rng.integers(len(frames) - length + 1)), int(rng.integers(len(frames)))
        part = slice(first, first + length)
        known = None if landmarks is None else np.array(landmarks)[part]
        return TrainingWindow(np.array(frames[part]), five[part], known, np.array(frames[other]), five[other])
