"""The library's callback as ComfyUI's progress bar, latent preview and cancel button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.utils
import latent_preview
import torch
from torch import Tensor


class Progress:
    """A `Callback` that fills one bar over several stages. Every call is a chance to cancel, whatever its stage."""

    def __init__(self, stages: Mapping[str, int], device: torch.device | None = None) -> None:
        """stages: the units of each stage that counts, in their order. device: of the latents, for previews of them."""
        self._stages = dict(stages)
        self._bar = comfy.utils.ProgressBar(max(1, sum(stages.values())))
        self._previewer = None if device is None else latent_preview.get_previewer(device, comfy.latent_formats.SD15())

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:
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
        self._bar.update_absolute(before + part, preview=self._picture(preview))

    def _picture(self, latents: Tensor | None) -> tuple[Any, ...] | None:
        """The first frame of latents (N,4,h,w), as ComfyUI shows it under a node."""
        if latents is None or self._previewer is None:
            return None
        picture: tuple[Any, ...] = self._previewer.decode_latent_to_preview_image("JPEG", latents)
        return picture
