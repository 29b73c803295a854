"""The library's callback as ComfyUI's progress bar and cancel button."""

from __future__ import annotations

from collections.abc import Mapping

import comfy.model_management
import comfy.utils
from torch import Tensor


class Progress:
    """A `Callback` that fills one bar over several stages. Every call is a chance to cancel, whatever its stage."""

    def __init__(self, stages: Mapping[str, int]) -> None:
        """stages: the units of each stage that counts, in their order."""
        self._stages = dict(stages)
        self._bar = comfy.utils.ProgressBar(max(1, sum(stages.values())))

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:  # noqa: ARG002
        """Told by the library; raises ComfyUI's own exception after the user has cancelled."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        if stage not in self._stages:
            return
        before = 0
        for name, units in self._stages.items():
            if name == stage:
                break
            before += units
        part = self._stages[stage] * done // max(1, total)
        self._bar.update_absolute(before + part)
