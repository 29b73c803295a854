"""BFVR-STC: restoring or de-flickering in one forward pass per window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.clip import ArrayClip
from ..svfr_model.base.errors import InputError
from ..svfr_model.faces.find import find_tracks
from ..svfr_model.faces.options import ChoiceOptions, PasteOptions
from ..svfr_model.faces.select import select_tracks
from ..svfr_model.runs.restore_clip import find_shots
from ..svfr_model.runs.stc_clip import cut_faces, paste_faces
from ..svfr_model.stc.enhance import enhance_crops, enhance_whole, motion_meter
from ..svfr_model.stc.load import ROLES, load_stc
from ..svfr_model.stc.network import TASKS, TaskName
from ..svfr_model.stc.options import EnhanceOptions
from .files import FOLDER, STATE_DICTS, check, file_input, resolve
from .images import from_pictures, to_clip, to_pictures
from .progress import Progress
from .search import aliases
from .types import DetectorType, ResidentSTC, STCType
from .widgets import folded, inputs_of, made

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector

FOLDERS = (FOLDER,)
CATEGORY = "SVFR/STC"
CROPS, WHOLE = "face crops", "whole frame"


class LoadSTCModel(io.ComfyNode):
    """One of BFVR-STC's networks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A file and what it does."""
        return io.Schema(
            node_id="STCLoadModel",
            display_name="Load STC Model",
            category=CATEGORY,
            **aliases("deflicker model, BFVR, CodeFormer video, face restore model"),
            description="Loads one of BFVR-STC's three networks. It occupies the GPU only while it runs.",
            inputs=[
                file_input(
                    "stc_name",
                    list(ROLES.values()),
                    FOLDERS,
                    STATE_DICTS,
                    "The task's file from models/svfr; published as ckpt-bfvr.pth, ckpt-defilcker.pth (spelt like "
                    "this) and ckpt-deflickersd.pth.",
                ),
                io.Combo.Input(
                    "task",
                    options=list(TASKS),
                    default="bfr",
                    tooltip="What the file does. bfr (default) restores faces; deflicker removes jumps in brightness; "
                    "deflicker_sd removes the pixel flicker of diffusion upscalers. A file of the other kind "
                    "(restoring or deflickering) is refused; a renamed deflickering file cannot be told from "
                    "the other.",
                ),
            ],
            outputs=[STCType.Output("stc_model", tooltip="The network, for STC Enhance.")],
        )

    @classmethod
    def validate_inputs(cls, stc_name: str) -> bool | str:
        """A missing file is reported before the graph runs."""
        return check(stc_name, list(ROLES.values()), FOLDERS)

    @classmethod
    def execute(cls, stc_name: str, task: TaskName) -> io.NodeOutput:
        """Load it, in float32: it is small."""
        return io.NodeOutput(ResidentSTC(load_stc(resolve(stc_name, ROLES[task], FOLDERS), task)))


class EnhanceSTC(io.ComfyNode):
    """One network over a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A clip in, a clip out; two in a row chain two tasks."""
        return io.Schema(
            node_id="STCEnhance",
            display_name="STC Enhance",
            category=CATEGORY,
            **aliases(
                "deflicker, flicker, de-flicker, flicker removal, brightness flicker, face restore, face enhance, "
                "video face, old film, temporal consistency, BFVR, CodeFormer, KEEP, GFPGAN, 去闪烁, "
                "ちらつき除去, 깜박임 제거"
            ),
            description="Restores or de-flickers a clip of any length with BFVR-STC, in one pass. Chain two of these "
            "nodes to do two tasks: de-flicker first, then restore.",
            inputs=[
                STCType.Input("stc_model", tooltip="From Load STC Model."),
                io.Image.Input("frames", tooltip="The clip's whole frames, at least 64 pixels on each side."),
                io.Combo.Input(
                    "mode",
                    options=[CROPS, WHOLE],
                    default=CROPS,
                    tooltip=f'"{CROPS}" (default, for restoring) finds the faces, enhances each in a steady square and '
                    f'puts it back; needs the detector. "{WHOLE}" (for de-flickering, or for crops that are already '
                    "cut) sends each frame through the network's 512 pixels: the finer detail of larger frames is "
                    "lost, unless low_frequency keeps it.",
                ),
                *folded(inputs_of(EnhanceOptions, ChoiceOptions, without=["number"]), "choice", "low_frequency"),
                DetectorType.Input(
                    "detector", optional=True, tooltip=f'From Load Face Detector; needed for "{CROPS}" only.'
                ),
            ],
            outputs=[
                io.Image.Output("enhanced", display_name="frames", tooltip="The enhanced frames, of the same size."),
                io.Float.Output(
                    "motion",
                    is_output_list=True,
                    tooltip="Motion intensity, one number per face track or one for the clip: the mean fraction of "
                    "pixels that change from frame to frame, 0 to 1. Above 0.15 this method blurs, and the log warns.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        stc_model: ResidentSTC,
        frames: Tensor,
        mode: str,
        detector: FaceDetector | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Enhance faces or frames."""
        options, choice = made(EnhanceOptions, widgets), made(ChoiceOptions, widgets).choice
        if mode == WHOLE:
            return io.NodeOutput(*_whole(stc_model, frames, options))
        if detector is None:
            raise InputError(f'"{CROPS}" needs a detector: wire Load Face Detector, or choose "{WHOLE}".')
        return io.NodeOutput(*_faces(stc_model, frames, options, detector, str(choice)))  # the widget has words only


def _whole(stc: ResidentSTC, frames: Tensor, options: EnhanceOptions) -> tuple[Tensor, list[float]]:
    """Whole frames, shot by shot."""
    clip, meter = ArrayClip(to_pictures(frames)), motion_meter(stc.network)
    progress = Progress({"shots": len(clip), "enhance": len(clip)})
    spans = find_shots(clip, progress)
    with stc.loaded(options.window) as network:
        enhanced = list(enhance_whole(clip, network, spans, options, motion=meter, callback=progress))
    return from_pictures(enhanced), [meter.intensity]


def _faces(
    stc: ResidentSTC, frames: Tensor, options: EnhanceOptions, detector: FaceDetector, choice: str
) -> tuple[Tensor, list[float]]:
    """The chosen faces in their frames; pixels outside them keep their float values."""
    clip, meters = to_clip(frames), []
    finding = Progress({"detect": len(clip), "crop": len(clip)})
    chosen = select_tracks(find_tracks(clip, detector, callback=finding).tracks, choice)
    cut = cut_faces(clip, chosen, stc.network.img_size, finding)
    with stc.loaded(options.window) as network:
        for track in cut:
            meters.append(motion_meter(network))
            bar = Progress({"enhance": len(track.crops)})
            enhance_crops(network, track.crops, options, motion=meters[-1], callback=bar)
    pasting = Progress({"paste": len(clip)})
    pasted = paste_faces(clip, cut, [stc.network.task], PasteOptions(), pasting)
    return from_pictures(pasted), [meter.intensity for meter in meters]
