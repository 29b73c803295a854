"""One restoration from file to file. Nothing is written until it is whole, and a cancelled one leaves nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor

from ..base.clip import Clip
from ..base.errors import InputError
from ..base.memory import Memory
from ..base.pixels import to_network_range
from ..base.progress import Callback
from ..base.tasks import Task, Tasks
from ..engine.level_log import LevelLog
from ..engine.options import RestoreOptions
from ..engine.restore import Networks
from ..faces.crop import plan_crop
from ..faces.cut import CutTrack
from ..faces.debug import draw
from ..faces.find import FoundShot, found_faces, track_shots
from ..faces.landmarks import add_outlines
from ..faces.options import FaceChoice
from ..faces.paste_clip import RestoredShot, RestoredTrack, paste_shots
from ..faces.select import reference_embedding, select_similar, select_tracks
from ..faces.track import FaceTrack, require_tracks
from ..faces.walk import TrackWalk
from ..files.paths import Output, check_frames, check_paths
from ..media import ClipWriter, MaskClip, open_clip, read_mask
from ..media.options import ReadOptions, VideoOptions
from ..media.pictures import PictureClip, read_picture
from ..media.reader import VideoClip
from ..media.writer import clip_output
from .fingerprint import work_folder
from .level_file import level_output, write_levels
from .options import FaceOptions
from .portrait import cover, crop_portrait, identity_of
from .restore_clip import Request, find_shots, restore_track, restore_whole
from .shots import PlannedShot, Room, ShotSteps, restore_shots
from .space import Space
from .write_behind import write_behind

if TYPE_CHECKING:
    from ..networks.identity import Identity, IdentityEncoder
    from .loader import Loader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Files and options of one restoration.

    source: video, picture or folder. target: video, picture or folder. mask: picture, video or folder, white where
    the picture is missing. reference: picture that replaces the first pass, and with two passes
    asked for also gives the identity. identity: pictures of the person.
    keep_crop: also write each restored crop as a clip beside the target. debug: where to write the clip with boxes,
    landmarks, ids and cuts drawn over it, always in H.264. reading, writing: how the source is read, and the target and
    its crops are written. log_levels: where to write how far each noise level moved the estimate. work: the folder in
    which the work folder is made, None beside the target.
    """

    command: ClassVar[str] = "restore"

    source: Path
    target: Path
    tasks: Tasks
    options: RestoreOptions
    faces: FaceOptions | None = None
    mask: Path | None = None
    reference: Path | None = None
    identity: tuple[Path, ...] = ()
    keep_crop: bool = False
    debug: Path | None = None
    reading: ReadOptions = field(default_factory=ReadOptions)
    writing: VideoOptions = field(default_factory=VideoOptions)
    log_levels: Path | None = None
    work: Path | None = None

    def inputs(self) -> list[Path]:
        """Every file and folder that is read, apart from weights."""
        by_picture = [self.faces.person] if self.faces is not None and self.faces.person is not None else []
        given = [self.source, self.mask, self.reference, *self.identity, *by_picture]
        return [path for path in given if path is not None]

    @property
    def self_referred(self) -> bool:
        """Whether a first pass finds what the second refers to."""
        return self.options.passes == 2 and self.reference is None

    @property
    def pictures(self) -> tuple[Path, ...]:
        """The pictures that give the identity."""
        by_reference = (self.reference,) if self.reference and self.options.passes == 2 else ()
        return self.identity or by_reference

    def needs(self) -> dict[str, bool]:
        """Which networks are needed, as `Loader.require` takes it."""
        encoder = self.self_referred or bool(self.pictures)
        return {
            "detector": self.faces is not None or encoder,
            "encoder": encoder or (self.faces is not None and self.faces.person is not None),
            "landmarks": self.faces is not None and self.faces.outline,
        }

    def weights(self, loader: Loader) -> dict[str, Path]:
        """The weight files that the job needs, by role. Raises WeightsError for one that is missing."""
        return loader.files(**self.needs())

    def outputs(self) -> list[Output]:
        """All that is written."""
        crops = [clip_output(self.target, "kept crop", numbered="crop")] if self.keep_crop else []
        debug = [clip_output(self.debug, "debug video")] if self.debug is not None else []
        log = [level_output(self.log_levels)] if self.log_levels is not None else []
        return [clip_output(self.target), *crops, *debug, *log]


def run(job: Job, loader: Loader, callback: Callback | None = None) -> list[Path]:
    """Do the job and return the paths that were written. Raises the library's errors.

    What can be known to fail is refused before any work: unusable files, targets, missing weights.
    """
    if job.faces is None and (job.keep_crop or job.debug is not None):
        raise InputError("Kept crops and the debug video show found faces: they do not go with whole frames.")
    outputs = job.outputs()
    check_paths(job.inputs(), outputs)
    clip = open_clip(job.source, job.reading, deep=job.faces is not None and job.writing.keeps_depth)
    check_frames(clip, outputs)
    with ExitStack() as targets:
        writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip, options=job.writing)
        _check_files(job)
        _check_mask(job)
        _check_reference_frame(job, loader)
        loader.require(**job.needs())
        if job.faces is not None:
            loader.check_size(*job.faces.crop.size)
        memory = targets.enter_context(work_folder(job, loader))
        levels = None if job.log_levels is None else LevelLog(job.options, callback, memory.part("levels"))
        callback = callback if levels is None else levels
        identity = _identity(job.pictures, loader) if job.pictures else None
        if job.faces is None:
            write_behind(_whole_frames(job, loader, clip, identity, memory, callback), writer, targets)
            written = []
        else:
            steps = _FaceSteps(job, job.faces, loader, _Opened(clip, writer, targets, memory), identity=identity)
            written = steps.run(_masks(job, clip), callback)
    if levels is not None and job.log_levels is not None:
        write_levels(job.log_levels, levels.changes)
        written.append(job.log_levels)
    return [job.target, *written]


def _check_files(job: Job) -> None:
    """Refuse, before any work, files that cannot be read."""
    if job.mask is not None:
        open_clip(job.mask)
    if job.faces is not None and job.faces.person is not None:
        read_picture(job.faces.person)


def _check_reference_frame(job: Job, loader: Loader) -> None:
    """Refuse a reference frame that no first pass can have."""
    index = loader.reference_frame
    if job.self_referred and isinstance(index, int) and index >= job.options.plan.length:
        raise InputError(
            f"Reference frame {index} was chosen, but the first pass has at most {job.options.plan.length} frames."
        )


def _check_mask(job: Job) -> None:
    """Warn where mask and tasks do not belong together; neither is an error."""
    if job.mask is not None and Task.INPAINTING not in job.tasks:
        log.warning("A mask was given, but inpainting is not among the tasks: the mask is not used.")
    if job.mask is None and Task.INPAINTING in job.tasks:
        log.warning("Inpainting was asked for without a mask: only what is white in the clip counts as missing.")


def _identity(paths: Sequence[Path], loader: Loader) -> Identity:
    """The identity of the largest face of each picture, averaged; a picture without a face is named by its path."""
    pictures = {str(path): read_picture(path) for path in paths}
    return identity_of(pictures, loader.face_detector, loader.encoder, loader.alignment)


def _masks(job: Job, clip: VideoClip | PictureClip) -> MaskClip | None:
    """The mask of each of the clip's frames, if one is used; says it of one that does nothing."""
    if job.mask is None or Task.INPAINTING not in job.tasks:
        return None
    masks = read_mask(job.mask, len(clip), clip.width, clip.height)
    if not any(mask.any() for mask in masks):
        log.warning("%s: the mask is empty: nothing in it is white, so nothing will be filled in.", job.mask)
    return masks


def _whole_frames(
    job: Job,
    loader: Loader,
    clip: VideoClip | PictureClip,
    identity: Identity | None,
    memory: Memory,
    callback: Callback | None,
) -> Iterator[np.ndarray]:
    """The clip's restored whole frames."""
    reference = None
    if job.reference is not None:
        picture = torch.from_numpy(read_picture(job.reference)).permute(2, 0, 1)  # HWC -> CHW
        reference = cover(to_network_range(picture), clip.width, clip.height)
    spans = find_shots(clip, callback, memory)
    networks = loader.networks(self_referred=job.self_referred)
    request = Request(job.tasks, job.options, reference, identity)
    masks = _masks(job, clip)
    kinds = {"masked": masks is not None, "logged": job.log_levels is not None}
    space = Space.of((clip.width, clip.height), job.options, networks.vae.factor, **kinds)
    memory.require(space.needed(last - first for first, last in spans))
    return restore_whole(clip, networks, request, spans, masks=masks, memory=memory, callback=callback)


@dataclass(frozen=True)
class _Opened:
    """The clip and what is written of it, which appears when targets end well; the writer is not entered yet.

    memory: for all that is long or worth to be kept.
    """

    clip: Clip
    writer: ClipWriter
    targets: ExitStack
    memory: Memory


class _FaceSteps:
    """What a job with faces does to each shot; see `ShotSteps`."""

    def __init__(
        self, job: Job, faces: FaceOptions, loader: Loader, opened: _Opened, *, identity: Identity | None
    ) -> None:
        self._job, self._faces, self._loader = job, faces, loader
        self._clip, self._writer, self._targets = opened.clip, opened.writer, opened.targets
        self._memory = opened.memory
        self._count = 0
        self._crops: list[Path] = []
        self._request = Request(job.tasks, job.options, self._reference(), identity)

    def run(self, masks: MaskClip | None, callback: Callback | None) -> list[Path]:
        """Write the target, and return what else was written."""
        factor = self._loader.vae_factor
        kinds = {"masked": masks is not None, "logged": self._job.log_levels is not None}
        space = Space.of(self._faces.crop.size, self._job.options, factor, **kinds)
        room = Room(self._memory, space)
        shots = restore_shots(self._clip, self._steps(), masks=masks, room=room, callback=callback)
        if self._job.debug is None:
            return self._crops
        return [_write_debug(self._job.debug, self._clip, shots, self._targets), *self._crops]

    def _steps(self) -> ShotSteps:
        """The steps; the networks that search are loaded now, in the caller's thread."""
        detector, encoder = self._loader.face_detector, _encoder(self._faces, self._loader)

        def search(told: Callback) -> Iterator[FoundShot]:
            for shot in track_shots(self._clip, detector, self._faces.track, encoder, told, self._memory):
                self._count = shot.stop
                yield shot

        return ShotSteps(search, self._plan, self._restore, self._write)

    def _reference(self) -> Tensor | None:
        if self._job.reference is None:
            return None
        # The picture is good already: it is not made soft like the clip's crops.
        crop = replace(self._faces.crop, pre_downscale=1.0)
        picture = read_picture(self._job.reference)
        return crop_portrait(picture, self._loader.face_detector, crop, name=str(self._job.reference))

    def _plan(self, shots: Iterable[FoundShot], told: Callback) -> Iterator[PlannedShot]:
        """Choose among the people of each shot, and plan their crops; FaceNotFoundError where nobody is anywhere."""
        walk = TrackWalk(self._clip)
        nobody = True
        for shot, tracks in _chosen(self._faces, shots, self._loader):
            if self._faces.outline and tracks:
                tracks = add_outlines(walk, tracks, self._loader.landmark_model, told, self._memory)
            nobody = nobody and not tracks
            yield PlannedShot(shot, [plan_crop(track, self._faces.crop) for track in tracks])
        if nobody:
            require_tracks([])

    @cached_property
    def _networks(self) -> Networks:
        """Loaded when the first face has been found."""
        return self._loader.networks(self_referred=self._job.self_referred)

    def _restore(self, track: CutTrack, callback: Callback) -> RestoredTrack:
        return restore_track(track, self._networks, self._request, callback)

    def _write(self, shots: Iterator[RestoredShot], told: Callback) -> None:
        kept = self._kept(shots) if self._job.keep_crop else shots
        pasted = paste_shots(self._clip, kept, self._faces.paste, self._job.tasks, count=self._count, callback=told)
        for number, entry in enumerate(pasted):
            if number == 0:
                self._targets.enter_context(self._writer)
            self._writer.write(entry.frame)

    def _kept(self, shots: Iterator[RestoredShot]) -> Iterator[RestoredShot]:
        """The shots, whose crops are written, too."""
        for shot in shots:
            self._crops += [_write_crop(self._job, entry, self._clip, self._targets) for entry in shot.tracks]
            yield shot


def _encoder(faces: FaceOptions, loader: Loader) -> IdentityEncoder | None:
    """The identity encoder where a person is looked for by a picture."""
    return loader.encoder if faces.person is not None else None


def _chosen(
    faces: FaceOptions, shots: Iterable[FoundShot], loader: Loader
) -> Iterator[tuple[FoundShot, list[FaceTrack]]]:
    """The shots with the tracks that are to be restored in them: one by one, if the choice looks at no other shot."""
    if faces.person is None and faces.choice in get_args(FaceChoice):
        for shot in shots:
            yield shot, select_tracks(shot.tracks, faces.choice) if shot.tracks else []
        return
    found = list(shots)
    tracks = [track for shot in found for track in shot.tracks]
    if faces.person is None:
        chosen = select_tracks(tracks, faces.choice)
    else:
        wanted = reference_embedding(read_picture(faces.person), loader.face_detector, loader.encoder)
        chosen = select_similar(tracks, wanted)
    for shot in found:
        yield shot, [track for track in chosen if shot.first <= track.start < shot.stop]


def _write_debug(path: Path, clip: Clip, shots: Sequence[PlannedShot], targets: ExitStack) -> Path:
    """Write the clip with boxes, landmarks, ids and cuts, and the crops of the chosen tracks, drawn over it."""
    writer = targets.enter_context(ClipWriter(path, clip.fps, (clip.width, clip.height), source=clip))
    found = found_faces(clip, [shot.found for shot in shots])
    plans = [plan for shot in shots for plan in shot.plans]
    for number, frame in enumerate(clip):
        writer.write(draw(frame, found.tracks, number, found.cuts, plans=plans))
    return path


def _write_crop(job: Job, entry: RestoredTrack, clip: Clip, targets: ExitStack) -> Path:
    """Write a track's crops as a clip, or folder, beside the target."""
    path = clip_output(job.target, numbered="crop").numbered_path(entry.plan.track.id)
    writer = targets.enter_context(ClipWriter(path, clip.fps, entry.plan.size, options=job.writing))
    for crop in entry.crops:
        writer.write(crop.permute(1, 2, 0).numpy())  # CHW -> HWC
    return path
