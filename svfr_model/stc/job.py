"""BFVR-STC from file to file: one task or several, one after the other, on face crops or on whole frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..clip import Clip
from ..errors import InputError
from ..faces.color import ColorMatch, ColorMode, ColorStatistics
from ..faces.crop import CropOptions, crop_clip, crop_frame, plan_crop
from ..faces.find import find_tracks
from ..faces.paste import PasteOptions
from ..faces.select import select_tracks
from ..faces.track import FaceTrack
from ..load import Loader, choose_device
from ..pipeline import RestoredTrack, find_shots, pasted_frames
from ..progress import Callback
from ..tasks import Task
from ..video import ClipWriter, open_clip
from ..weights import find
from .enhance import FACE_MARGIN, EnhanceOptions, enhance_crops, enhance_whole
from .load import ROLES, load_stc
from .network import TASKS, CodeFormer3D, TaskName

RESTORATION = frozenset({Task.BFR})
"""What paste-back needs to know: this is a restoration, not a colorization."""


@dataclass(frozen=True)
class EnhanceJob:
    """Files and wishes of one enhancement.

    tasks: run in this order. whole: whole frames instead of face crops; None takes crops where "bfr" is among the
    tasks. faces: which, see select_tracks.
    """

    source: Path
    target: Path
    tasks: tuple[TaskName, ...] = ("bfr",)
    whole: bool | None = None
    faces: str = "largest"
    options: EnhanceOptions = field(default_factory=EnhanceOptions)
    paste: PasteOptions = field(default_factory=PasteOptions)

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise InputError(f"Unknown BFVR-STC task {', '.join(unknown) or '(none)'}: use {', '.join(TASKS)}.")


def run_enhance(job: EnhanceJob, loader: Loader, callback: Callback | None = None) -> Path:
    """Do the job and return the path that was written. Raises the library's errors."""
    clip = open_clip(job.source)
    writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip)
    whole = job.whole if job.whole is not None else "bfr" not in job.tasks
    for task in job.tasks:
        find(ROLES[task], loader.folders)
    frames = _whole(job, loader, clip, callback) if whole else _crops(job, loader, clip, callback)
    with writer:
        for frame in frames:
            writer.write(frame)
    return job.target


def _load(task: TaskName, loader: Loader) -> CodeFormer3D:
    return load_stc(find(ROLES[task], loader.folders), task, device=choose_device(loader.device))


def _whole(job: EnhanceJob, loader: Loader, clip: Clip, callback: Callback | None) -> Iterator[np.ndarray]:
    """The clip's frames through one network after the other, streamed."""
    spans = find_shots(clip, callback)
    frames = clip
    for task in job.tasks:
        frames = enhance_whole(frames, _load(task, loader), spans, job.options, callback=callback)
    return iter(frames)


def _crops(job: EnhanceJob, loader: Loader, clip: Clip, callback: Callback | None) -> Iterator[np.ndarray]:
    """The clip's frames with the enhanced faces in them."""
    found = find_tracks(clip, loader.face_detector, callback=callback)
    chosen = select_tracks(found.tracks, job.faces)
    network = _load(job.tasks[0], loader)
    options = CropOptions(mode="static", size=(network.img_size, network.img_size), margin=FACE_MARGIN)
    tracks = [plan_crop(track, options) for track in chosen]
    crops = crop_clip(clip, tracks, callback)
    for number, task in enumerate(job.tasks):
        network = network if number == 0 else _load(task, loader)
        for pictures in crops:
            enhance_crops(network, pictures, job.options, callback=callback)
    # The colours of a flickering clip are what de-flickering is to change, so they are no target.
    paste = job.paste if set(job.tasks) == {"bfr"} else replace(job.paste, color_match="none")
    paste = paste.for_tasks(RESTORATION)
    colors = _fit_colors(clip, tracks, crops, paste.color_match)
    restored = [RestoredTrack(*entry) for entry in zip(tracks, crops, colors, strict=True)]
    return pasted_frames(clip, restored, paste, RESTORATION, callback)


def _fit_colors(clip: Clip, tracks: Sequence[FaceTrack], crops: Sequence[Tensor], mode: ColorMode) -> list[ColorMatch]:
    """Each track's colour correction, from the crops as they were (cut again in one walk) and as they are."""
    if mode == "none":
        return [ColorMatch()] * len(tracks)
    statistics = [ColorStatistics() for _ in tracks]
    for number, frame in enumerate(clip):
        for track, pictures, gathered in zip(tracks, crops, statistics, strict=True):
            if track.covers(number):
                index = number - track.start
                before = torch.from_numpy(crop_frame(frame, track, index)).permute(2, 0, 1)  # HWC -> CHW
                gathered.add(before, pictures[index], track.crop_landmarks[index], None)
    return [gathered.match(mode) for gathered in statistics]
