"""BFVR-STC from file to file: one task or several, one after the other, on face crops or on whole frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..base.clip import Clip
from ..base.devices import choose_device
from ..base.errors import InputError
from ..base.progress import Callback
from ..faces.find import find_tracks
from ..faces.options import FaceChoice, PasteOptions, TrackOptions
from ..faces.select import select_tracks
from ..files.paths import check_frames, check_paths
from ..media import ClipWriter, open_clip
from ..media.options import ReadOptions, VideoOptions
from ..media.writer import clip_output
from ..stc.enhance import enhance_crops, enhance_whole
from ..stc.load import ROLES, load_stc
from ..stc.network import TASKS, CodeFormer3D, TaskName
from ..stc.options import EnhanceOptions
from ..weights import find
from .loader import Loader
from .restore_clip import find_shots
from .stc_clip import cut_faces, paste_faces


@dataclass(frozen=True)
class EnhanceJob:
    """Files and options of one enhancement.

    tasks: run in this order. whole: whole frames instead of face crops; None takes crops where "bfr" is among the
    tasks. faces: which, see select_tracks. track: how they are searched and followed. reading, writing: how the source
    is read and the target written.
    """

    source: Path
    target: Path
    tasks: tuple[TaskName, ...] = ("bfr",)
    whole: bool | None = None
    faces: FaceChoice | int = "largest"
    track: TrackOptions = field(default_factory=TrackOptions)
    options: EnhanceOptions = field(default_factory=EnhanceOptions)
    paste: PasteOptions = field(default_factory=PasteOptions)
    reading: ReadOptions = field(default_factory=ReadOptions)
    writing: VideoOptions = field(default_factory=VideoOptions)

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise InputError(f"Unknown BFVR-STC task {', '.join(unknown) or '(none)'}: use {', '.join(TASKS)}.")


def run_enhance(job: EnhanceJob, loader: Loader, callback: Callback | None = None) -> Path:
    """Do the job and return the path that was written. Raises the library's errors."""
    output = clip_output(job.target)
    check_paths([job.source], [output])
    whole = job.whole if job.whole is not None else "bfr" not in job.tasks
    clip = open_clip(job.source, job.reading, deep=not whole and job.writing.keeps_depth)
    check_frames(clip, [output])
    writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip, options=job.writing)
    choose_device(loader.device)
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
    frames: Iterable[np.ndarray] = clip
    for task in job.tasks:
        frames = enhance_whole(frames, _load(task, loader), spans, job.options, callback=callback)
    return iter(frames)


def _crops(job: EnhanceJob, loader: Loader, clip: Clip, callback: Callback | None) -> Iterator[np.ndarray]:
    """The clip's frames with the enhanced faces in them."""
    found = find_tracks(clip, loader.face_detector, job.track, callback=callback)
    chosen = select_tracks(found.tracks, job.faces)
    network = _load(job.tasks[0], loader)
    plans, crops = cut_faces(clip, chosen, network.img_size, callback)
    for number, task in enumerate(job.tasks):
        network = network if number == 0 else _load(task, loader)
        for pictures in crops:
            enhance_crops(network, pictures, job.options, callback=callback)
    return paste_faces(clip, plans, crops, job.tasks, job.paste, callback)
