"""How good a restoration is: clips to test with, the papers' figures, and flicker as a picture."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from comfy_api.latest import io, ui
from torch import Tensor

from ..svfr_model.base.errors import InputError
from ..svfr_model.metrics import Instruments, evaluate, temporal_profile
from ..svfr_model.metrics.instruments import Instrument
from ..svfr_model.metrics.report import Measure, bar_of, row_of
from ..svfr_model.synthesis.degrade import degrade_clip
from ..svfr_model.synthesis.options import DegradeOptions, SeedOptions, options_for
from .images import from_masks, from_pictures, to_clip, to_frames, to_masks
from .notice import notice
from .progress import Progress
from .search import aliases
from .tables import Cell, table
from .types import DetectorType, EncoderType, ResidentEncoder, TaskType
from .widgets import inputs_of, made

if TYPE_CHECKING:
    from ..svfr_model.base.tasks import Tasks
    from ..svfr_model.faces.face import FaceDetector

CATEGORY = "SVFR/quality"
TITLES = ("metric", "value", "fuller is better", "truth itself", "better", "mean of", "how")
LINE = 4
"""Pixels between two profiles."""
BESIDE = "Left: before. Right: after."
COMMAND_LINE = "no node loads its network; `python -m svfr_model evaluate` does"


class Degrade(io.ComfyNode):
    """Makes a good clip a bad one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A task, which says what is to be undone, and flicker."""
        return io.Schema(
            node_id="SVFRDegrade",
            display_name="SVFR Degrade",
            category=CATEGORY,
            **aliases("degradation, blur, noise, compression, add flicker, synthetic damage, old film look"),
            description="Damages a good clip the way the papers do, so that you can test a restoration against the "
            "original: low quality, no colours, missing parts, flicker. The same seed gives the same damage.",
            inputs=[
                io.Image.Input("frames", tooltip="The undamaged frames, which SVFR Metrics calls the truth."),
                *inputs_of(DegradeOptions, SeedOptions),
                TaskType.Input(
                    "task",
                    optional=True,
                    tooltip="What the restoration will have to undo, from SVFR Tasks, which can be wired to the "
                    "sampler too. restore: blur, low resolution, noise, compression; colorize: grey; inpaint: white "
                    "strokes or boxes. Without it, only flicker is added.",
                ),
            ],
            outputs=[
                io.Image.Output("degraded", tooltip="The damaged frames, at the same size and with 8 bits."),
                io.Mask.Output(
                    "mask", tooltip="What was painted white, 1 for missing: one mask per frame, all 0 without inpaint."
                ),
            ],
        )

    @classmethod
    def execute(cls, frames: Tensor, task: Tasks | None = None, **widgets: Any) -> io.NodeOutput:
        """Damage the clip."""
        flicker, seed = made(DegradeOptions, widgets), made(SeedOptions, widgets).seed
        if not (task or flicker.brightness_flicker or flicker.pixel_flicker):
            raise InputError(
                "No damage was chosen: wire SVFR Tasks to task, or raise brightness_flicker or pixel_flicker."
            )
        options = options_for(task or frozenset(), flicker=flicker)
        degraded, masks = degrade_clip(to_frames(frames), options, seed, Progress({"degrade": len(frames)}))
        return io.NodeOutput(from_pictures(degraded), from_masks(masks))


class Metrics(io.ComfyNode):
    """Measures a restored clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The clips, and the networks that some metrics look through."""
        return io.Schema(
            node_id="SVFRMetrics",
            display_name="SVFR Metrics",
            category=CATEGORY,
            **aliases("PSNR, SSIM, LPIPS, benchmark, compare video, quality"),
            description="Measures a restored clip with the papers' metrics, against the original if there is one, and "
            "shows the table. What cannot be measured is listed with the reason. Nothing is saved.",
            is_output_node=True,
            inputs=[
                io.Image.Input("restored", tooltip="The clip to measure."),
                io.Image.Input(
                    "truth",
                    optional=True,
                    tooltip="The same clip undamaged, with as many frames and of the same size. Without it, only what "
                    "needs no truth is measured: motion and, with the networks below, how steady the identity is.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="What had been missing, 1 for missing: one mask for all frames, or one for each. PSNR is "
                    "then also measured inside it alone.",
                ),
                DetectorType.Input(
                    "detector",
                    optional=True,
                    tooltip="From Load Face Detector; for the landmark distance (AKD-5) and, together with the "
                    "encoder, for the identity metrics. Takes longer.",
                ),
                EncoderType.Input(
                    "encoder",
                    optional=True,
                    tooltip="From Load SVFR Identity Encoder; together with the detector, for the identity metrics "
                    "(IDS, VIDD, Face-Cons).",
                ),
            ],
            outputs=[
                io.String.Output(
                    "table", tooltip="A Markdown table with a row per metric, and what was not measured and why."
                ),
                io.String.Output("json", tooltip="The same figures as JSON, for programs."),
            ],
        )

    @classmethod
    def execute(
        cls,
        restored: Tensor,
        truth: Tensor | None = None,
        mask: Tensor | None = None,
        detector: FaceDetector | None = None,
        encoder: ResidentEncoder | None = None,
    ) -> io.NodeOutput:
        """Measure all that can be measured."""
        reasons: dict[Instrument, str] = {"lpips": COMMAND_LINE, "i3d": COMMAND_LINE}
        with nullcontext() if encoder is None else encoder.loaded() as networks:
            report = evaluate(
                to_clip(restored),
                None if truth is None else to_clip(truth),
                Instruments(detector=detector, encoder=networks, reasons=reasons),
                masks=None if mask is None else to_masks(mask, len(restored), (restored.shape[1], restored.shape[2])),
                callback=Progress({"evaluate": len(restored)}),
            )
        text, rows = report.table(), [_row(measure) for measure in report.measures if measure.value is not None]
        shown = {"text": [text], **table(TITLES, rows, head=report.head, notes=report.notes)}
        return io.NodeOutput(text, report.to_json(), ui=shown)


def _row(measure: Measure) -> list[Cell]:
    """A measure's row in the node: a bar with a mark where the truth's own value lies."""
    label, value, truth, better, counted, definition = row_of(measure)
    full = bar_of(measure, measure.value)
    mark = None if measure.truth is None else bar_of(measure, measure.truth)
    drawn: Cell = "" if full is None else {"bar": full, "mark": mark, "text": value}
    return [label, value, drawn, truth, better, counted, definition]


class TemporalProfile(io.ComfyNode):
    """One column of a clip over time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A clip and a place in it, and perhaps the clip as it was before."""
        return io.Schema(
            node_id="SVFRTemporalProfile",
            display_name="SVFR Temporal Profile",
            category=CATEGORY,
            **aliases("flicker, flicker view, temporal slice, slit scan, steadiness"),
            description="Shows flicker in one picture: one column of pixels, frame after frame from left to right. "
            "Steady video gives smooth streaks, flicker gives ragged ones. With the clip before its restoration, both "
            "profiles stand beside each other.",
            is_output_node=True,
            inputs=[
                io.Image.Input("frames", tooltip="The clip to look at."),
                io.Float.Input(
                    "position",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Where the column is, as a fraction of the width: 0 is the left edge, 1 the right one. "
                    "Default: 0.5, the middle. Choose a place with detail that moves little.",
                ),
                io.Image.Input(
                    "before",
                    optional=True,
                    tooltip="The same clip before its restoration: its profile stands on the left of the other, at "
                    "the same height. Default: only one profile.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "profile",
                    tooltip="One picture, as high as the frames and with one column of pixels per frame; with before, "
                    "two such pictures with a white line between them.",
                )
            ],
        )

    @classmethod
    def execute(cls, frames: Tensor, position: float, before: Tensor | None = None) -> io.NodeOutput:
        """Put the columns side by side, and the profiles."""
        picture = _profile(frames, position, frames.shape[1])
        if before is not None:
            line = np.full((len(picture), LINE, 3), 255, np.uint8)
            picture = np.concatenate([_profile(before, position, len(picture)), line, picture], axis=1)
        profile = from_pictures([picture])
        told = [] if before is None else [BESIDE]
        return io.NodeOutput(profile, ui={**ui.PreviewImage(profile).as_dict(), **notice(told=told)})


def _profile(frames: Tensor, position: float, height: int) -> np.ndarray:
    """A clip's profile at a fraction of its width, (height,N,3) uint8; rows are repeated or left out as needed."""
    clip = to_clip(frames)
    profile = temporal_profile(clip, min(int(position * clip.width), clip.width - 1))
    return profile[np.arange(height) * clip.height // height]
