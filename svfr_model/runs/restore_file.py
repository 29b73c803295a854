"""One restoration from file to file. Nothing is written until it is whole, and a cancelled one leaves nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..base.clip import Clip
from ..base.errors import InputError
from ..base.pixels import to_network_range
from ..base.progress import Callback
from ..base.tasks import Task, Tasks
from ..engine.level_log import LevelLog
from ..engine.options import RestoreOptions
from ..faces.crop import plan_crop
from ..faces.debug import draw
from ..faces.find import find_tracks
from ..faces.landmarks import add_outlines
from ..faces.paste_clip import RestoredTrack, paste_clip
from ..faces.select import reference_embedding, select_similar, select_tracks
from ..faces.track import FaceTrack, FoundFaces, PlannedCrop
from ..files.paths import Output, check_frames, check_paths
from ..media import ClipWriter, MaskClip, open_clip, read_mask
from ..media.options import ReadOptions, VideoOptions
from ..media.pictures import read_picture
from ..media.writer import clip_output
from .level_file import level_output, write_levels
from .options import FaceOptions
from .portrait import cover, crop_portrait, identity_of
from .restore_clip import Request, find_shots, restore_tracks, restore_whole

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
    its crops are written. log_levels: where to write how far each noise level moved the estimate.
    """

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
    levels = LevelLog(job.options, callback)
    if job.log_levels is not None:
        callback = levels
    with ExitStack() as targets:
        writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip, options=job.writing)
        _check_files(job)
        _check_mask(job)
        _check_reference_frame(job, loader)
        loader.require(**job.needs())
        if job.faces is not None:
            loader.check_size(*job.faces.crop.size)
        identity = _identity(job.pictures, loader) if job.pictures else None
        written: list[Path] = []
        if job.faces is None:
            frames = _whole_frames(job, loader, clip, identity, callback)
        else:
            frames, written = _face_frames(job, job.faces, loader, clip, identity, targets, callback)
        targets.enter_context(writer)
        for frame in frames:
            writer.write(frame)
    if job.log_levels is not None:
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


def _masks(job: Job, count: int, clip: Clip) -> MaskClip | None:
    """The mask of each of the clip's count frames, if one is used; says it of one that does nothing."""
    if job.mask is None or Task.INPAINTING not in job.tasks:
        return None
    masks = read_mask(job.mask, count, clip.width, clip.height)
    if not any(mask.any() for mask in masks):
        log.warning("%s: the mask is empty: nothing in it is white, so nothing will be filled in.", job.mask)
    return masks


def _whole_frames(
    job: Job, loader: Loader, clip: Clip, identity: Identity | None, callback: Callback | None
) -> Iterator[np.ndarray]:
    """The clip's restored whole frames."""
    reference = None
    if job.reference is not None:
        picture = torch.from_numpy(read_picture(job.reference)).permute(2, 0, 1)  # HWC -> CHW
        reference = cover(to_network_range(picture), clip.width, clip.height)
    spans = find_shots(clip, callback)
    networks = loader.networks(self_referred=job.self_referred)
    request = Request(job.tasks, job.options, reference, identity)
    masks = _masks(job, spans[-1][1], clip)
    return restore_whole(clip, networks, request, spans, masks=masks, callback=callback)


def _face_frames(
    job: Job,
    faces: FaceOptions,
    loader: Loader,
    clip: Clip,
    identity: Identity | None,
    targets: ExitStack,
    callback: Callback | None,
) -> tuple[Iterator[np.ndarray], list[Path]]:
    """The clip's frames with restored faces, and what else is written; that appears when targets end well."""
    reference = None
    if job.reference is not None:
        # The picture is good already: it is not made soft like the clip's crops.
        crop = replace(faces.crop, pre_downscale=1.0)
        reference = crop_portrait(read_picture(job.reference), loader.face_detector, crop, name=str(job.reference))
    found = find_tracks(clip, loader.face_detector, faces.track, _encoder(faces, loader), callback)
    chosen = _chosen(faces, found, loader)
    if faces.outline:
        chosen = add_outlines(clip, chosen, loader.landmark_model, callback)
    plans = [plan_crop(track, faces.crop) for track in chosen]
    written = [_write_debug(job.debug, clip, found, plans, targets)] if job.debug is not None else []
    networks = loader.networks(self_referred=job.self_referred)
    request = Request(job.tasks, job.options, reference, identity)
    masks = _masks(job, found.frame_count, clip)
    restored = restore_tracks(clip, plans, networks, [request] * len(plans), masks=masks, callback=callback)
    if job.keep_crop:
        written += [_write_crop(job, entry, clip, targets) for entry in restored]
    pasted = paste_clip(clip, restored, faces.paste, job.tasks, count=found.frame_count, callback=callback)
    return (entry.frame for entry in pasted), written


def _encoder(faces: FaceOptions, loader: Loader) -> IdentityEncoder | None:
    """The identity encoder where a person is looked for by a picture."""
    return loader.encoder if faces.person is not None else None


def _chosen(faces: FaceOptions, found: FoundFaces, loader: Loader) -> list[FaceTrack]:
    """The tracks that are to be restored."""
    if faces.person is None:
        return select_tracks(found.tracks, faces.choice)
    wanted = reference_embedding(read_picture(faces.person), loader.face_detector, loader.encoder)
    return select_similar(found.tracks, wanted)


def _write_debug(path: Path, clip: Clip, found: FoundFaces, plans: Sequence[PlannedCrop], targets: ExitStack) -> Path:
    """Write the clip with boxes, landmarks, ids and cuts, and the crops of the chosen tracks, drawn over it."""
    writer = targets.enter_context(ClipWriter(path, clip.fps, (clip.width, clip.height), source=clip))
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
