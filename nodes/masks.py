"""Masks as the artist gives them, and what must be said of one that does nothing or lies in the wrong place."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.pixels import MASK_THRESHOLD, is_stretched
from ..svfr_model.base.tasks import Task, Tasks

HOW_TO_MASK = (
    "Paint over what is missing in the mask editor of Load Image. A black-and-white picture, white where something is "
    "missing, carries no such mask: wire its IMAGE to the mask input instead of its MASK, load it with Load Image (as "
    "Mask) and channel red, or put Convert Image to Mask in between."
)
EMPTY = f"The mask is empty: nothing is marked as missing, so nothing will be filled in. {HOW_TO_MASK}"
MISSED = (
    "What the mask marks lies outside every face crop (the preview shows both), so nothing will be filled in. Raise "
    "the margin until the crop covers it. If it is far from the face, as subtitles are, leave out SVFR Face Crop and "
    "give the sampler whole frames and the mask."
)
NO_MASK = (
    "The task includes inpaint, but no mask marks anything as missing in these crops: only pure white counts as "
    f"missing. Wire a mask to SVFR Face Crop, and its masks to this node. {HOW_TO_MASK}"
)
UNUSED = "The mask is not used: the task does not include inpaint. Switch it on in SVFR Tasks."
NO_VIDEO_MASK = (
    "The task includes inpaint, but no mask marks anything as missing: only pure white in the faces' crops counts as "
    f"missing. {HOW_TO_MASK}"
)
UNUSED_IN_VIDEO = "The mask is not used: choose a task that includes inpaint."


def mask_or_picture(tooltip: str) -> io.Input:
    """The input `mask`, of a MASK or a black-and-white IMAGE; see `as_mask`."""
    tooltip = f"{tooltip} A black-and-white picture works too: white is missing."
    return io.MultiType.Input("mask", [io.Mask, io.Image], optional=True, tooltip=tooltip)


def as_mask(given: Tensor | None) -> Tensor | None:
    """MASK (B,H,W) or (H,W) of what was wired: of an IMAGE (B,H,W,C) the brightness, without its alpha."""
    return given if given is None or given.ndim < 4 else given[..., :3].float().mean(-1)


def is_empty(mask: Tensor) -> bool:
    """Whether a mask marks nothing as missing."""
    return not bool((mask >= MASK_THRESHOLD).any())


def mask_faults(mask: Tensor, size: tuple[int, int], crops: list[Tensor]) -> list[str]:
    """What Face Crop has to say of a MASK for frames of size (h,w) that became these crops' masks."""
    if is_empty(mask):
        return [EMPTY]
    return _stretched(mask, size) + [MISSED] * bool(crops and all(is_empty(crop) for crop in crops))


def sampler_faults(mask: Tensor | None, size: tuple[int, int], tasks: Tasks) -> list[str]:
    """What a sampling node has to say of a MASK, or none, for crops of size (h,w) and these tasks."""
    inpaints = Task.INPAINTING in tasks
    if mask is None or is_empty(mask):
        return [NO_MASK] if inpaints else []
    return _stretched(mask, size) if inpaints else [UNUSED]


def video_faults(mask: Tensor | None, size: tuple[int, int], tasks: Tasks) -> list[str]:
    """What the nodes on VIDEO have to say of a MASK, or none, for frames of size (h,w) and these tasks."""
    inpaints = Task.INPAINTING in tasks
    if mask is None or is_empty(mask):
        return [NO_VIDEO_MASK] if inpaints else []
    return _stretched(mask, size) if inpaints else [UNUSED_IN_VIDEO]


def _stretched(mask: Tensor, size: tuple[int, int]) -> list[str]:
    height, width = mask.shape[-2:]
    if not is_stretched((width, height), size[::-1]):
        return []
    return [
        f"The mask has {width}x{height} pixels, but the picture it belongs to has {size[1]}x{size[0]}, which is "
        "another shape: it is stretched, and no longer marks the places it was drawn on. Draw it on a frame of the "
        "clip itself."
    ]
