"""Frames of any size for networks that want multiples of theirs."""

from __future__ import annotations

import torch
from torch import Tensor


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Frames (...,H,W) of any dtype, at the right and bottom repeating their edge up to the next multiple.

    Nothing is stretched: cutting back to (H,W) gives the frames again. The same tensor where nothing is to be added.
    """
    for dim in (-2, -1):
        size = frames.shape[dim]
        missing = -size % multiple
        if missing:
            index = torch.arange(size + missing, device=frames.device).clamp(max=size - 1)
            frames = frames.index_select(dim, index)
    return frames
