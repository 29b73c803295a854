"""Restored faces back into their frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.errors import InputError
from ..svfr_model.base.tasks import Task, Tasks
from ..svfr_model.faces.options import PasteOptions
from ..svfr_model.faces.paste_clip import RestoredTrack, paste_clip
from ..svfr_model.faces.track import PlannedCrop
from .images import from_pictures, to_clip, to_mask, to_planar
from .progress import Progress
from .search import aliases
from .types import TaskType, TrackType
from .widgets import folded, inputs_of, made


class PasteBack(io.ComfyNode):
    """Puts restored faces back into their frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Takes the lists of Face Crop and what was made of them."""
        return io.Schema(
            node_id="SVFRPasteBack",
            display_name="SVFR Paste Back",
            category="SVFR/face",
            **aliases("paste face, uncrop, stitch face, face composite, FaceDetailer, ReActor, roop, inpaint stitch"),
            description="Puts the restored crops of all tracks back into the frames. Frames without a face keep their "
            "exact values.",
            is_input_list=True,
            inputs=[
                io.Image.Input("frames", tooltip="The original frames, as given to SVFR Face Crop."),
                io.Image.Input("restored", tooltip="The restored crops, one batch per track, in the tracks' order."),
                TrackType.Input("tracks", tooltip="The tracks from SVFR Face Crop."),
                *_paste_inputs(),
                TaskType.Input(
                    "task",
                    optional=True,
                    tooltip="The task of the restoration. For colorization, the original's colours are not brought "
                    "back, and a grey clip gives a warning.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="The masks from SVFR Face Crop, for inpainting: what was missing beside the face is then "
                    "filled in too, and is left out when colours are compared.",
                ),
                io.Mask.Input(
                    "allowed",
                    optional=True,
                    tooltip="Where the frames may change, 1 for yes: one mask for all frames, or one for each. "
                    "Default: everywhere.",
                ),
            ],
            outputs=[
                io.Image.Output("pasted", display_name="frames", tooltip="The clip with its restored faces."),
                io.Mask.Output("mask", tooltip="How much of each pixel was replaced, 0 to 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: list[Tensor],
        restored: list[Tensor],
        tracks: list[PlannedCrop],
        blend: list[float],
        task: list[Tasks] | None = None,
        masks: list[Tensor] | None = None,
        allowed: list[Tensor] | None = None,
        **widgets: list[Any],
    ) -> io.NodeOutput:
        """Fit the colours, then paste frame by frame."""
        image, tasks = frames[0], task[0] if task else None
        options = made(PasteOptions, {name: values[0] for name, values in widgets.items()})
        crops = [_crops_of(plan, crop) for plan, crop in _paired(tracks, restored)]
        entries = [RestoredTrack(*entry) for entry in zip(tracks, crops, _masks(masks, tracks, tasks), strict=True)]
        progress = Progress({"paste": len(image)})
        limits = _limits(allowed, image, blend[0])
        pasted = list(paste_clip(to_clip(image), entries, options, tasks, allowed=limits, callback=progress))
        changed = np.stack([entry.changed for entry in pasted])
        return io.NodeOutput(from_pictures([entry.frame for entry in pasted]), torch.from_numpy(changed))


def _paste_inputs() -> list[io.Input]:
    """The options of the library, and among them one of this node, where saved workflows have it."""
    inputs = inputs_of(PasteOptions)
    blend = io.Float.Input(
        "blend",
        default=1.0,
        min=0.0,
        max=1.0,
        step=0.05,
        tooltip="How much of the restoration is used; less keeps some of the original. Default: 1, all of it.",
    )
    return folded([*inputs[:3], blend, *inputs[3:]], "region", "feather", "blend", "color_match")


def _paired(plans: list[PlannedCrop], images: list[Tensor]) -> list[tuple[PlannedCrop, Tensor]]:
    if len(plans) != len(images):
        raise InputError(f"There are {len(plans)} tracks but {len(images)} batches of crops: one is needed for each.")
    return list(zip(plans, images, strict=True))


def _crops_of(plan: PlannedCrop, image: Tensor) -> Tensor:
    """Restored crops of a track, (n,3,h,w) float in [0,1]."""
    if len(image) != len(plan):
        raise InputError(f"Track {plan.track.id} has {len(plan)} frames, but {len(image)} restored crops were given.")
    return to_planar(image)


def _masks(masks: list[Tensor] | None, plans: list[PlannedCrop], tasks: Tasks | None) -> list[Tensor | None]:
    """The inpainting mask of each track, (n,1,h,w), where there is one and the task makes use of it."""
    if not masks or (tasks is not None and Task.INPAINTING not in tasks):
        return [None] * len(plans)
    cropped = [to_mask(mask, len(plan), plan.size[::-1]) for plan, mask in _paired(plans, masks)]
    return [mask.expand(len(plan), -1, -1, -1) for plan, mask in zip(plans, cropped, strict=True)]


def _limits(allowed: list[Tensor] | None, image: Tensor, blend: float) -> list[np.ndarray] | None:
    """How far each frame may change, (H,W) each, or None for everywhere and wholly."""
    count, size = len(image), (image.shape[1], image.shape[2])
    if not allowed:
        return None if blend >= 1 else [np.full(size, blend, np.float32)] * count
    mask = blend * to_mask(allowed[0], count, size)
    return [mask[min(number, len(mask) - 1), 0].numpy() for number in range(count)]
