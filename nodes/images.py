"""IMAGE and MASK to the library's tensors and back: the only place where axes change their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import comfy.model_management
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..svfr_model.base.clip import ArrayClip
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.pixels import MASK_THRESHOLD, as_uint8


def to_pixels(image: Tensor) -> Tensor:
    """IMAGE (N,H,W,C) float in [0,1] to (N,3,H,W) uint8, rounded; an alpha channel is left out."""
    return (to_planar(image).clamp(0, 1) * 255 + 0.5).to(torch.uint8).contiguous()


def to_planar(image: Tensor) -> Tensor:
    """IMAGE (N,H,W,C) to (N,3,H,W) float32 in [0,1]; a view where it can be one."""
    return rearrange(image[..., :3].cpu().float(), "n h w c -> n c h w")


def to_frames(image: Tensor) -> np.ndarray:
    """IMAGE (N,H,W,C) to frames (N,H,W,3) uint8, rounded, one after the other: only this copy grows with the clip."""
    frames = np.empty((*image.shape[:3], 3), np.uint8)
    for target, frame in zip(frames, to_clip(image), strict=True):
        target[:] = as_uint8(frame)
    return frames


def to_pictures(image: Tensor) -> list[np.ndarray]:
    """IMAGE (N,H,W,C) to pictures (H,W,3) uint8."""
    return list(to_frames(image))


def to_network(image: Tensor) -> Tensor:
    """IMAGE (N,H,W,C) float in [0,1] to (N,3,H,W) float32 in [-1,1], not rounded."""
    return to_planar(image) * 2 - 1


def from_network(frames: Tensor) -> Tensor:
    """Frames (N,3,H,W) in [-1,1] to IMAGE, clamped."""
    return _placed(rearrange((frames.float() * 0.5 + 0.5).clamp(0, 1), "n c h w -> n h w c"))


def from_pixels(pixels: Tensor) -> Tensor:
    """Frames (N,3,H,W) uint8 to IMAGE."""
    return _placed(rearrange(pixels, "n c h w -> n h w c").float() / 255)


def from_pictures(pictures: Iterable[np.ndarray]) -> Tensor:
    """Pictures (H,W,3) of one size, uint8 or float32 in [0,1], to IMAGE."""
    stacked = torch.from_numpy(pictures if isinstance(pictures, np.ndarray) else np.stack(list(pictures)))
    return _placed(stacked.float().div_(255) if stacked.dtype == torch.uint8 else stacked)


def to_clip(image: Tensor) -> ArrayClip:
    """IMAGE as a clip; float32 frames, no copy."""
    return ArrayClip(image[..., :3].cpu().float().numpy())


def to_mask(mask: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """MASK (B,H,W) or (H,W) to (1,1,h,w) or (count,1,h,w) float32, stretched to size (h,w) where it has another."""
    mask = mask.cpu().float()
    mask = rearrange(mask if mask.ndim == 3 else mask[None], "b h w -> b 1 h w")
    if mask.shape[0] not in (1, count):
        raise InputError(f"The mask has {mask.shape[0]} frames, the clip {count}: give one for all or one for each.")
    if tuple(mask.shape[-2:]) != tuple(size):
        mask = torch.nn.functional.interpolate(mask, size, mode="bilinear", antialias=True)
    return mask.clamp(0, 1)


def to_masks(mask: Tensor, count: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """MASK (B,H,W) or (H,W) to count masks (h,w) bool, True where the picture is missing; see `to_mask`."""
    return (each[0].numpy() >= MASK_THRESHOLD for each in to_mask(mask, count, size).expand(count, -1, -1, -1))


def from_masks(masks: np.ndarray) -> Tensor:
    """Masks (N,H,W), 0 or 1, to MASK."""
    return _placed(torch.from_numpy(masks).float())


def _placed(image: Tensor) -> Tensor:
    """Where ComfyUI keeps what nodes hand to each other."""
    return image.contiguous().to(comfy.model_management.intermediate_device())
