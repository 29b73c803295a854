"""BFVR-STC from file to file: one task or several, one after the other, on face crops or on whole frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..base.clip import Clip
from ..base.devices import choose_device
from ..base.errors import InputError
from ..base.memory import Memory
from ..base.progress import Callback
from ..faces.detectors.load import DETECTOR_ROLES
from ..faces.find import find_tracks
from ..faces.options import FaceChoice, PasteOptions, TrackOptions
from ..faces.select import select_tracks
from ..files.paths import Output, check_frames, check_paths
from ..media import ClipWriter, open_clip
from ..media.options import ReadOptions, VideoOptions
from ..media.writer import clip_output
from ..stc.enhance import enhance_whole
from ..stc.load import ROLES, load_stc
from ..stc.network import TASKS, CodeFormer3D, TaskName
from ..stc.options import EnhanceOptions
from ..weights import find
from .fingerprint import work_folder
from .loader import Loader
from .restore_clip import find_shots
from .stc_clip import cut_faces, enhance_faces, paste_faces
from .write_behind import write_behind


@dataclass(frozen=True)
class EnhanceJob:
    """Files and options of one enhancement.

    tasks: run in this order. whole: whole frames instead of face crops; None takes crops where "bfr" is among the
    tasks. faces: which, see select_tracks. track: how they are searched and followed. reading, writing: how the source
    is read and the target written. work: the folder for what is in the way of memory, None beside the target.
    """

    command: ClassVar[str] = "stc"

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
    work: Path | None = None

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise InputError(f"Unknown BFVR-STC task {', '.join(unknown) or '(none)'}: use {', '.join(TASKS)}.")
        if self.options.stretch and self.on_whole_frames and len(self.tasks) > 1:
            raise InputError(
                "Stretching reads the frames twice, which whole frames of a second task do not allow. Leave out "
                "--stretch, or run the tasks one by one: only the last one with --stretch."
            )

    @property
    def on_whole_frames(self) -> bool:
        """Whether whole frames are enhanced, which the tasks decide where nothing else does."""
        return self.whole if self.whole is not None else "bfr" not in self.tasks

    def inputs(self) -> list[Path]:
        """All that is read, apart from weights."""
        return [self.source]

    def outputs(self) -> list[Output]:
        """All that is written."""
        return [clip_output(self.target)]

    def weights(self, loader: Loader) -> dict[str, Path]:
        """The weight files that the job needs, by role. Raises WeightsError for one that is missing."""
        roles = [ROLES[task] for task in self.tasks]
        roles += [] if self.on_whole_frames else [DETECTOR_ROLES[loader.detector]]
        return {role: find(role, loader.folders) for role in roles}


def run_enhance(job: EnhanceJob, loader: Loader, callback: Callback | None = None) -> Path:
    """Do the job and return the path that was written. Raises the library's errors."""
    outputs = job.outputs()
    check_paths(job.inputs(), outputs)
    clip = open_clip(job.source, job.reading, deep=not job.on_whole_frames and job.writing.keeps_depth)
    check_frames(clip, outputs)
    writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip, options=job.writing)
    choose_device(loader.device)
    job.weights(loader)
    with ExitStack() as targets:
        if job.on_whole_frames:
            frames = _whole(job, loader, clip, callback)
        else:
            memory = targets.enter_context(work_folder(job, loader))
            frames = _crops(job, loader, clip, memory, callback)
        write_behind(frames, writer, targets)
    return job.target


def _load(task: TaskName, loader: Loader) -> CodeFormer3D:
    path, device = find(ROLES[task], loader.folders), choose_device(loader.device)
    return loader.kept(ROLES[task], (path, device), lambda: load_stc(path, task, device=device))


def _whole(job: EnhanceJob, loader: Loader, clip: Clip, callback: Callback | None) -> Iterator[np.ndarray]:
    """The clip's frames through one network after the other, streamed."""
    spans = find_shots(clip, callback)
    frames: Iterable[np.ndarray] = clip
    for task in job.tasks:
        frames = enhance_whole(frames, _load(task, loader), spans, job.options, callback=callback)
    return iter(frames)


def _crops(
    job: EnhanceJob, loader: Loader, clip: Clip, memory: Memory, callback: Callback | None
) -> Iterator[np.ndarray]:
    """The clip's frames with the enhanced faces in them. memory: for the crops, and what is found."""
    found = find_tracks(clip, loader.face_detector, job.track, callback=callback, memory=memory)
    chosen = select_tracks(found.tracks, job.faces)
    network = _load(job.tasks[0], loader)
    cut = cut_faces(clip, chosen, network.img_size, callback, memory, tasks=len(job.tasks))
    for number, task in enumerate(job.tasks):
        network = network if number == 0 else _load(task, loader)
        enhance_faces(network, cut, job.options, callback, number=number)
    return paste_faces(clip, cut, job.tasks, job.paste, callback)
