"""What a restoration changed: which pixels of the frame, and by how much the colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from .color import ColorStatistics, as_picture
from .paste import PasteOptions, Patch, blend_weights, checked_mask
from .region import bounds


def changed_region(
    frame: np.ndarray,
    patches: Sequence[Patch],
    options: PasteOptions | None = None,
    user_mask: np.ndarray | None = None,
) -> np.ndarray:
    """How far `paste` with the same arguments replaces each pixel of the frame: (H,W) float32 in [0,1]."""
    options = options or PasteOptions()
    kept = np.ones(frame.shape[:2], np.float32)
    allowed = None if user_mask is None else checked_mask(user_mask, frame)
    for patch in patches:
        x1, y1, x2, y2 = window = bounds(patch.plan, patch.index)
        if x1 >= x2 or y1 >= y2:
            continue
        picture = as_picture(patch.picture)
        if patch.color is not None:
            picture = patch.color.apply(picture)
        weight = blend_weights(frame, picture, patch, options, window)
        if allowed is not None:
            weight = weight * allowed[y1:y2, x1:x2]
        kept[y1:y2, x1:x2] *= 1.0 - np.clip(weight, 0.0, 1.0)
    return 1.0 - kept


def color_shift(originals: Iterable[torch.Tensor], restored: Iterable[torch.Tensor]) -> float:
    """Distance in LAB between the mean colours of two clips, frame by frame (3,h,w), uint8 or float in [0,1].

    About 2 is just visible. Where a clip was colorised it is large and means nothing.
    """
    statistics = ColorStatistics()
    for before, after in zip(originals, restored, strict=True):
        statistics.add(before, after, None, None)
    match = statistics.match("lab")
    return 0.0 if match.source is None else float(np.linalg.norm(match.source - match.target))
