"""A whole video in one node, from file to file: memory does not hold its frames, however long it is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.sd
import numpy as np
from comfy_api.latest import Input, io
from torch import Tensor

from ..svfr_model.base.clip import Clip
from ..svfr_model.base.memory import Memory
from ..svfr_model.base.pixels import as_uint8
from ..svfr_model.base.tasks import Task, Tasks, parse_tasks
from ..svfr_model.engine.options import ReferrerOptions, RestoreOptions
from ..svfr_model.engine.restore import Networks
from ..svfr_model.faces.crop import plan_crop
from ..svfr_model.faces.debug import draw
from ..svfr_model.faces.paste_clip import paste_clip
from ..svfr_model.faces.track import FoundFaces, PlannedCrop
from ..svfr_model.media import ClipWriter
from ..svfr_model.media.options import ReadOptions, VideoOptions
from ..svfr_model.runs.options import FaceOptions
from ..svfr_model.runs.restore_clip import Request, restore_tracks
from ..svfr_model.runs.space import Space
from .by_eye import NAME as BY_EYE
from .by_eye import by_eye_input, parse_by_eye
from .face import Whose, find_faces
from .images import from_pictures, to_masks
from .masks import as_mask, mask_or_picture, video_faults
from .model import TRAINED_SIZE
from .networks import ResidentReferrer, check_width, running
from .notice import notice
from .phases import Phases, Work, id_of
from .presets import chosen, preset_input
from .resume import name_of, parts_of
from .sampling import identity_input
from .search import aliases, essential
from .task import PRESETS
from .types import DetectorType, EncoderType, ResidentEncoder, TrackType
from .video_files import Source, new_file, opened, to_video, work_memory
from .widgets import folded, inputs_of, made

if TYPE_CHECKING:
    from ..svfr_model.networks.identity import Identity

IN_SIGHT = ("task", "choice", "preset", "seed")
"""Widgets that are not folded away."""
REFERENCE_FRAME = "reference_frame"
"""What ReferrerOptions' input `choice` is called here, where `choice` is whose face."""

SIDES = {
    "width": "Width of the face crops. Larger ones take more memory and time, and the network was not trained on them.",
    "height": "Height of the face crops, as for width.",
}
"""Inputs that may be left to the model, and what they are."""

NETWORKS = ("model", "vae", "detector", "encoder")
"""Inputs that are followed through the graph to know what they are."""

PREVIEW_DELAY = 12
"""Frames after a track's first at which the preview is taken."""


class RestoreVideo(io.ComfyNode):
    """Reads, finds, restores in two passes, pastes back and writes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A video in, a video out."""
        return io.Schema(
            node_id="SVFRRestoreVideo",
            display_name="SVFR Restore Video",
            category="SVFR",
            **aliases(
                "face restore, restore face, face restoration, video face, video restore, restore video, face enhance, "
                "long video, old film, old movie, scratch, colorize, colourise, colourize, black and white, inpaint "
                "video, GFPGAN, CodeFormer, SeedVR2, KEEP, ReActor, FaceDetailer, 老电影, 上色, 古い映画, 옛날 영화"
            ),
            **essential("Video Tools"),
            description="Restores the faces of a video of any length: finds and follows them, restores each in two "
            "passes and puts it back. The same as SVFR Face Crop, Restore and Paste Back, but the video is read and "
            "written as a stream, so that minutes of it do not fill the memory. Sound, size and frame times are kept.",
            inputs=[
                io.Video.Input("video", tooltip="From Load Video. It is read as a stream and never held whole."),
                io.Model.Input("model", tooltip="From Load SVFR Model; with LoRA and other patches, if you like."),
                io.Vae.Input("vae", tooltip="From Load SVFR VAE."),
                DetectorType.Input("detector", tooltip="From Load Face Detector."),
                EncoderType.Input("encoder", tooltip="From Load SVFR Identity Encoder."),
                *sorted(folded(_widgets(), *IN_SIGHT), key=lambda entry: bool(entry.advanced)),
                mask_or_picture(
                    "Where the frames are missing something, 1 for missing: one mask for all frames, or one for each. "
                    "Used by the inpaint tasks only. Default: nothing is missing."
                ),
                io.Image.Input(
                    "face",
                    optional=True,
                    tooltip="A picture of the person to work on; overrules the choice. Everyone who resembles it "
                    "enough is taken. Default: whom the choice says.",
                ),
                identity_input(),
                by_eye_input(),
            ],
            outputs=[
                io.Video.Output("restored", display_name="video", tooltip="The restored video, for Save Video."),
                io.Image.Output(
                    "preview",
                    tooltip="A frame near the beginning of the first restored track, with every face that was found, "
                    "the crop and the region that paste-back changes drawn in; beside it the same frame restored.",
                ),
                io.String.Output("report", tooltip="What was found, what was restored, and how it was written."),
                TrackType.Output(
                    "tracks", is_output_list=True, tooltip="Where each restored face is, for SVFR Compare."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        video: Input.Video,
        model: comfy.model_patcher.ModelPatcher,
        vae: comfy.sd.VAE,
        detector: Any,
        encoder: ResidentEncoder,
        task: str,
        mask: Tensor | None = None,
        face: Tensor | None = None,
        identity: Identity | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """From file to file."""
        given = {"task": task, "mask": mask, "face": face, "identity": identity, **widgets}
        widgets |= {side: widgets[side] or getattr(model.model, "trained_size", TRAINED_SIZE) for side in SIDES}
        wanted, told = _wanted(task, widgets, as_mask(mask), identity)
        referring = {"choice": widgets[REFERENCE_FRAME], **_only(widgets, "index", "alignment")}
        referrer = ResidentReferrer(detector, encoder, made(ReferrerOptions, referring))
        deep, faces = wanted.writing.keeps_depth, wanted.faces
        whose = Whose(faces.choice, face, parse_by_eye(widgets.get(BY_EYE, "")))
        phases = Phases(id_of(cls), device=model.load_device)
        parts = parts_of(cls, video, NETWORKS, given)
        name = "" if parts is None else name_of(cls, video)
        with (
            opened(video, wanted.reading, deep=deep) as source,
            running(model, vae, referrer, phases) as networks,
            work_memory(name, parts) as memory,
        ):
            check_width(identity, networks)
            target = new_file(wanted.writing, "SVFR_restored")
            writer = source.writer(target, wanted.writing)  # which refuses what it cannot write, before any work
            looked = None if face is None else encoder
            found, tracks, missed = find_faces(source.frames, detector, faces.track, whose, looked, phases, memory)
            plans = [plan_crop(track, faces.crop) for track in tracks]
            work = Work.of(model, vae, faces.crop.size[::-1])
            phases.plan(found.frame_count, [len(plan) for plan in plans], wanted.options, work=work)
            preview = _write(source, writer, networks, wanted, found, plans, memory, phases)
            report = _report(source, found, plans, target)
        phases.finished()
        ui = notice(*missed, *video_faults(wanted.mask, source.size[::-1], wanted.tasks), told=told)
        return io.NodeOutput(to_video(target), preview, report, plans, ui=ui)


@dataclass(frozen=True)
class _Wanted:
    """All that a run is told, apart from networks and the video."""

    tasks: Tasks
    options: RestoreOptions
    faces: FaceOptions
    reading: ReadOptions
    writing: VideoOptions
    mask: Tensor | None
    identity: Identity | None


def _widgets() -> list[io.Input]:
    """The widgets: whose face, what to do, and then all that has a default that suits."""
    task = io.Combo.Input(
        "task",
        options=list(PRESETS),
        default=next(iter(PRESETS)),
        tooltip="What to do with the faces. colorize turns a coloured clip grey first; inpaint needs a mask. Default: "
        "restore.",
    )
    referring = inputs_of(ReferrerOptions)
    for entry in referring:
        entry.id = REFERENCE_FRAME if entry.id == "choice" else entry.id
    others = inputs_of(FaceOptions, RestoreOptions), referring, inputs_of(ReadOptions, VideoOptions)
    widgets = [task, preset_input(), *itertools.chain(*others)]
    for entry in widgets:
        entry.optional = False  # no workflow is older than this node; ComfyUI shows optional inputs below all others
        if isinstance(entry, io.Int.Input) and entry.id in SIDES:
            entry.min = entry.default = 0
            entry.tooltip = f"{SIDES[entry.id]} 0 (default) is what the model was trained on: 512, or 64 for svfr-tiny."
    return widgets


def _wanted(
    task: str, widgets: dict[str, Any], mask: Tensor | None, identity: Identity | None
) -> tuple[_Wanted, tuple[str, ...]]:
    """The values of the widgets, checked before any work, and what to tell of the preset."""
    options, told = chosen(widgets)
    faces, reading, writing = made(FaceOptions, widgets), made(ReadOptions, widgets), made(VideoOptions, widgets)
    return _Wanted(parse_tasks(PRESETS[task]), options, faces, reading, writing, mask, identity), told


def _only(widgets: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: widgets[name] for name in names}


def _write(
    source: Source,
    writer: ClipWriter,
    networks: Networks,
    wanted: _Wanted,
    found: FoundFaces,
    plans: Sequence[PlannedCrop],
    memory: Memory,
    phases: Phases,
) -> Tensor:
    """Restore the planned crops and write the clip with them; returns the preview. memory: for crops and latents."""
    clip, count, size = source.frames, found.frame_count, source.size[::-1]
    mask = wanted.mask if Task.INPAINTING in wanted.tasks else None
    masks = None if mask is None else to_masks(mask, count, size)
    space = Space.of(wanted.faces.crop.size, wanted.options, networks.vae.factor, masked=masks is not None)
    memory.require(space.needed(map(len, plans)))
    requests = [Request(wanted.tasks, wanted.options, identity=wanted.identity)] * len(plans)
    drawn, shown = _drawn(clip, found, plans)
    after = drawn
    restored = restore_tracks(clip, plans, networks, requests, masks=masks, memory=memory, callback=phases)
    pasted = paste_clip(clip, restored, wanted.faces.paste, wanted.tasks, count=count, callback=phases)
    with writer:
        for number, entry in enumerate(pasted):
            after = as_uint8(entry.frame) if number == shown else after
            writer.write(entry.frame, source.time(number))
    return from_pictures([np.concatenate([drawn, after], axis=1)])


def _drawn(clip: Clip, found: FoundFaces, plans: Sequence[PlannedCrop]) -> tuple[np.ndarray, int]:
    """A frame near the beginning of the first track, with what was found drawn in, and its number."""
    track = plans[0].track
    number = track.start + min(PREVIEW_DELAY, len(track) // 2)
    frame = next(itertools.islice(clip, number, None))
    return draw(frame, found.tracks, number, found.cuts, plans=plans), number


def _report(source: Source, found: FoundFaces, plans: Sequence[PlannedCrop], target: Path) -> str:
    """What was done, one fact a line."""
    chosen = {plan.track.id for plan in plans}
    lines = [f"{found.frame_count} frames of {source.size[0]}x{source.size[1]}, {len(found.cuts) + 1} shots"]
    for track in found.tracks:
        done = "restored" if track.id in chosen else "left as it is"
        lines.append(f"face {track.id}: frames {track.start} to {track.stop - 1}, {track.size:.0f} pixels, {done}")
    return "\n".join([*lines, f"written to {target}, until ComfyUI starts again: Save Video keeps it"])
