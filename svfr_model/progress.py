"""The one callback through which long work reports, and is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Callback: TypeAlias = "Callable[[str, int, int, torch.Tensor | None], None]"
"""``callback(stage, done, total, preview)``: stage is a short word such as "denoise"; done counts finished units of
total; preview is the current clean latents estimate (N,4,h,w) or None. An exception raised inside ends the work."""


def report(
    callback: Callback | None, stage: str, done: int, total: int, preview: torch.Tensor | None = None
) -> None:
    """Tell the callback, if there is one."""
    if callback is not None:
        callback(stage, done, total, preview)
