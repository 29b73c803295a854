"""Restored faces back into their frames."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.clip import ArrayClip
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.tasks import Task, Tasks
from ..svfr_model.faces.change import changed_region
from ..svfr_model.faces.color import COLOR_MODES, ColorMatch, fit_colors
from ..svfr_model.faces.crop import crop_clip
from ..svfr_model.faces.paste import PasteOptions, Patch, paste, warn_if_grey
from ..svfr_model.faces.track import PlannedCrop
from .images import from_pictures, to_clip, to_mask, to_planar
from .progress import Progress
from .search import aliases
from .types import TaskType, TrackType

PASTE = PasteOptions()


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
            description="Puts restored crops of all tracks back into the frames. Frames without a face keep their "
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
                    tooltip="The task of the restoration: under colorization the original's colours are not brought "
                    "back, and a grey clip gives a warning.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="The masks from SVFR Face Crop, for inpainting: what was missing is filled beside the "
                    "face too, and is left out when colours are compared.",
                ),
                io.Mask.Input(
                    "allowed",
                    optional=True,
                    tooltip="Where the frames may change, 1 for yes: one for all frames or one for each. Default: "
                    "everywhere.",
                ),
            ],
            outputs=[
                io.Image.Output("pasted", display_name="frames", tooltip="The clip with its restored faces."),
                io.Mask.Output("mask", tooltip="How far each pixel was replaced, 0 to 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: list[Tensor],
        restored: list[Tensor],
        tracks: list[PlannedCrop],
        region: list[str],
        feather: list[float],
        color_match: list[str],
        blend: list[float],
        occlusion_safe: list[bool],
        task: list[Tasks] | None = None,
        masks: list[Tensor] | None = None,
        allowed: list[Tensor] | None = None,
    ) -> io.NodeOutput:
        """Fit the colours, then paste frame by frame."""
        image, tasks = frames[0], task[0] if task else None
        clip = to_clip(image)
        options = PasteOptions(region[0], feather[0], color_match[0], occlusion_safe[0]).for_tasks(tasks)
        crops = [_crops_of(plan, image) for plan, image in _paired(tracks, restored)]
        missing = _missing(masks, tracks, tasks)
        patches = _patches(tracks, crops, _fit(clip, tracks, crops, missing, options), missing)
        limits = _limits(allowed, image, blend[0])
        pasted, changed = _paste_clip(clip, patches, options, tasks, limits)
        return io.NodeOutput(from_pictures(pasted), torch.from_numpy(np.stack(changed)))


def _paste_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "region",
            options=["face", "crop"],
            default=PASTE.region,
            tooltip='"face" (default) changes the oval of the face only; "crop" the whole crop with a soft edge: also '
            "hair and background, whose joins show more.",
        ),
        io.Float.Input(
            "feather",
            default=PASTE.feather,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Width of the soft edge, in sides of the face. Default 0.12. More hides joins and keeps less of "
            "the restoration.",
        ),
        io.Combo.Input(
            "color_match",
            options=["auto", *COLOR_MODES],
            default=PASTE.color_match,
            tooltip='Colours brought back to the original\'s, by one correction per track: "lab" mean and spread, '
            '"wavelet" low frequencies place by place. "auto" (default) is lab, and none for colorization.',
        ),
        io.Float.Input(
            "blend",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How much of the restoration is taken. Default 1, all; less keeps some of the original.",
        ),
        io.Boolean.Input(
            "occlusion_safe",
            default=PASTE.occlusion_safe,
            tooltip="Keep the original where it and the restoration disagree strongly, such as a hand before the "
            "face. Default off: it also keeps heavy damage. Never for colorization.",
        ),
    ]


def _paired(plans: list[PlannedCrop], images: list[Tensor]) -> list[tuple[PlannedCrop, Tensor]]:
    if len(plans) != len(images):
        raise InputError(f"There are {len(plans)} tracks but {len(images)} batches of crops: one is needed for each.")
    return list(zip(plans, images, strict=True))


def _crops_of(plan: PlannedCrop, image: Tensor) -> Tensor:
    """Restored crops of a track, (n,3,h,w) float in [0,1]."""
    if len(image) != len(plan):
        raise InputError(f"Track {plan.track.id} has {len(plan)} frames, but {len(image)} restored crops were given.")
    return to_planar(image)


def _missing(masks: list[Tensor] | None, plans: list[PlannedCrop], tasks: Tasks | None) -> list[Tensor | None]:
    """The inpainting mask of each track, (n,1,h,w), where there is one and the task makes use of it."""
    if not masks or (tasks is not None and Task.INPAINTING not in tasks):
        return [None] * len(plans)
    cropped = [to_mask(mask, len(plan), plan.size[::-1]) for plan, mask in _paired(plans, masks)]
    return [mask.expand(len(plan), -1, -1, -1) for plan, mask in zip(plans, cropped, strict=True)]


def _limits(allowed: list[Tensor] | None, image: Tensor, blend: float) -> Tensor | None:
    """How far each frame may change, (1 or N,1,H,W), or None for everywhere and wholly."""
    if not allowed:
        return None if blend >= 1 else torch.full((1, 1, *image.shape[1:3]), blend)
    return blend * to_mask(allowed[0], len(image), tuple(image.shape[1:3]))


def _fit(
    clip: ArrayClip,
    plans: list[PlannedCrop],
    crops: list[Tensor],
    missing: list[Tensor | None],
    options: PasteOptions,
) -> list[ColorMatch]:
    """The colour correction of each track against crops of the original frames."""
    if options.color_match == "none":
        return [ColorMatch()] * len(plans)
    return [
        fit_colors(options.color_match, plan, before, after, None if mask is None else mask[:, 0].numpy())
        for plan, before, after, mask in zip(plans, crop_clip(clip, plans), crops, missing, strict=True)
    ]


def _patches(
    plans: list[PlannedCrop], crops: list[Tensor], colors: list[ColorMatch], missing: list[Tensor | None]
) -> dict[int, list[Patch]]:
    """What belongs into each frame, by the frame's number."""
    patches: dict[int, list[Patch]] = {}
    for plan, crop, color, mask in zip(plans, crops, colors, missing, strict=True):
        for index in range(len(plan)):
            hole = None if mask is None else mask[index, 0].numpy()
            patches.setdefault(plan.track.start + index, []).append(Patch(plan, index, crop[index], color, hole))
    return patches


def _paste_clip(
    clip: ArrayClip, patches: dict[int, list[Patch]], options: PasteOptions, tasks: Tasks | None, limits: Tensor | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The frames, and how far each pixel of them was replaced."""
    if patches:
        warn_if_grey(clip.frames[min(patches)], tasks, options.region)
    progress = Progress({"paste": len(clip)})
    pasted, changed = [], []
    for number, frame in enumerate(clip):
        here = patches.get(number, [])
        limit = None if limits is None else limits[min(number, len(limits) - 1), 0].numpy()
        pasted.append(paste(frame, here, options, limit) if here else frame)
        changed.append(changed_region(frame, here, options, limit))
        progress("paste", number + 1, len(clip))
    return pasted, changed
