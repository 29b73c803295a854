"""The one callback through which long work reports its progress and can be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Callback: TypeAlias = "Callable[[str, int, int, torch.Tensor | None], None]"
"""``callback(stage, done, total, preview)``: stage is a short word such as "denoise"; done counts finished units of
total; "windows" counts the network calls inside one step of "denoise"; preview is the current estimate of the clean
latents, (N,4,h,w), or None. An exception that it raises ends the work."""


def report(
    callback: Callback | None, stage: str, done: int, total: int, preview: torch.Tensor | None = None
) -> None:
    """Tell the callback, if there is one."""
    if callback is not None:
        callback(stage, done, total, preview)
