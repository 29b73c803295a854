"""One restoration from file to file. Nothing is written until it is whole, and a cancelled one leaves nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .clip import Clip
from .faces.crop import CropOptions, plan_crop
from .faces.debug import draw
from .faces.find import TrackOptions, find_tracks
from .faces.paste import PasteOptions
from .faces.select import reference_embedding, select_similar, select_tracks
from .faces.track import Detection
from .pictures import read_picture
from .pipeline import Request, RestoredTrack, find_shots, pasted_frames, restore_tracks, restore_whole
from .pixels import to_network_range
from .portrait import cover, crop_portrait, identity_of
from .progress import Callback
from .restore import RestoreOptions
from .tasks import Task, Tasks
from .video import ClipWriter, MaskClip, open_clip, read_mask

if TYPE_CHECKING:
    from .identity import Identity
    from .load import Loader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceOptions:
    """Which faces are restored, how they are found and cut out, and how they go back.

    choice: see select_tracks, or the path of a picture of the person.
    """

    choice: str | Path = "largest"
    track: TrackOptions = field(default_factory=TrackOptions)
    crop: CropOptions = field(default_factory=CropOptions)
    paste: PasteOptions = field(default_factory=PasteOptions)


@dataclass(frozen=True)
class Job:
    """Files and wishes of one restoration.

    source: video, picture or folder. target: video, picture or folder. mask: picture, video or folder, white where
    the picture is missing. reference: picture that replaces the first pass, and with two passes
    asked for also gives the identity. identity: pictures of the person.
    keep_crop: also write each restored crop as a clip beside the target. debug: where to write the clip with boxes,
    landmarks, ids and cuts drawn over it.
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


def run(job: Job, loader: Loader, callback: Callback | None = None) -> list[Path]:
    """Do the job and return the paths that were written. Raises the library's errors."""
    clip = open_clip(job.source)
    writer = ClipWriter(job.target, clip.fps, (clip.width, clip.height), source=clip)
    self_referred = job.options.passes == 2 and job.reference is None
    pictures = job.identity or ((job.reference,) if job.reference and job.options.passes == 2 else ())
    looks_for_faces = job.faces is not None or self_referred or bool(pictures)
    by_picture = job.faces is not None and isinstance(job.faces.choice, Path)
    loader.require(detector=looks_for_faces, encoder=self_referred or bool(pictures) or by_picture)
    _check_mask(job)
    identity = _identity(pictures, loader) if pictures else None
    if job.faces is None:
        return _restore_whole(job, loader, clip, writer, identity, callback)
    return _restore_faces(job, loader, clip, writer, identity, callback)


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
    if job.mask is None or Task.INPAINTING not in job.tasks:
        return None
    return read_mask(job.mask, count, clip.width, clip.height)


def _restore_whole(
    job: Job, loader: Loader, clip: Clip, writer: ClipWriter, identity: Identity | None, callback: Callback | None
) -> list[Path]:
    spans = find_shots(clip, callback)
    networks = loader.networks(self_referred=job.options.passes == 2 and job.reference is None)
    reference = None
    if job.reference is not None:
        picture = torch.from_numpy(read_picture(job.reference)).permute(2, 0, 1)  # HWC -> CHW
        reference = cover(to_network_range(picture), clip.width, clip.height)
    request = Request(job.tasks, job.options, reference, identity)
    masks = _masks(job, spans[-1][1], clip)
    with writer:
        for frame in restore_whole(clip, networks, request, spans, masks=masks, callback=callback):
            writer.write(frame)
    return [job.target]


def _restore_faces(
    job: Job, loader: Loader, clip: Clip, writer: ClipWriter, identity: Identity | None, callback: Callback | None
) -> list[Path]:
    faces = job.faces
    by_picture = isinstance(faces.choice, Path)
    encoder = loader.encoder if by_picture else None
    found = find_tracks(clip, loader.face_detector, faces.track, encoder, callback)
    written = [_write_debug(job.debug, clip, found)] if job.debug is not None else []
    if by_picture:
        wanted = reference_embedding(read_picture(faces.choice), loader.face_detector, encoder)
        chosen = select_similar(found.tracks, wanted)
    else:
        chosen = select_tracks(found.tracks, faces.choice)
    tracks = [plan_crop(track, faces.crop) for track in chosen]
    networks = loader.networks(self_referred=job.options.passes == 2 and job.reference is None)
    reference = None
    if job.reference is not None:
        picture = read_picture(job.reference)
        reference = crop_portrait(picture, loader.face_detector, faces.crop, name=str(job.reference))
    request = Request(job.tasks, job.options, reference, identity)
    color = faces.paste.for_tasks(job.tasks).color_match
    masks = _masks(job, found.frame_count, clip)
    restored = restore_tracks(clip, tracks, networks, [request] * len(tracks), color, masks=masks, callback=callback)
    with ExitStack() as stack:
        if job.keep_crop:
            written += [_write_crop(job.target, entry, clip, stack) for entry in restored]
        stack.enter_context(writer)
        for frame in pasted_frames(clip, restored, faces.paste, job.tasks, callback):
            writer.write(frame)
    return [job.target, *written]


def _write_debug(path: Path, clip: Clip, found: Detection) -> Path:
    """Write the clip with boxes, landmarks, ids and cuts drawn over it."""
    with ClipWriter(path, clip.fps, (clip.width, clip.height), source=clip) as writer:
        for number, frame in enumerate(clip):
            writer.write(draw(frame, found.tracks, number, found.cuts))
    return path


def _write_crop(target: Path, entry: RestoredTrack, clip: Clip, stack: ExitStack) -> Path:
    """Write a track's crops as a clip beside the target; it appears when the stack ends well."""
    path = target.with_name(f"{target.stem}.crop{entry.track.id}{target.suffix}")
    writer = stack.enter_context(ClipWriter(path, clip.fps, entry.track.crop_size))
    for crop in entry.crops:
        writer.write(crop.permute(1, 2, 0).numpy())  # CHW -> HWC
    return path
