"""ComfyUI's SAMPLER objects as solvers of the library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.model_patcher
import comfy.samplers
import torch
from torch import Tensor

from ..svfr_model.base.errors import InputError
from ..svfr_model.base.progress import Callback, report
from ..svfr_model.engine.solvers import Denoiser, Solver


def native_solver(sampler: comfy.samplers.Sampler, model: comfy.model_patcher.ModelPatcher, seed: int) -> Solver:
    """A solver that lets ComfyUI's sampler drive the clip's denoiser. seed: of samplers that add noise."""

    def solve(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], callback: Callback | None = None) -> Tensor:
        levels = torch.tensor(sigmas, device=x.device)
        total = len(sigmas) - 1

        def on_step(step: int, denoised: Tensor, _x: Tensor, _total: int) -> None:
            report(callback, "denoise", step + 1, total, denoised)

        # A sampler starts from latent + sigma * noise; x is that sum already.
        arguments = {"model_options": {"transformer_options": {"sample_sigmas": levels}}, "seed": seed}
        noise, nothing = x / levels[0], torch.zeros_like(x)
        guider = _Guider(denoiser, model)
        solved: Tensor = sampler.sample(guider, levels, arguments, on_step, noise, nothing, None, True)
        return solved

    return solve


class _Guider:
    """What ComfyUI's samplers take for its guider: they call it for estimates and ask it for the noise schedule."""

    cfg = 1.0  # only printed; guidance happens inside the denoiser

    def __init__(self, denoiser: Denoiser, model: comfy.model_patcher.ModelPatcher) -> None:
        self.model_patcher = model
        self.inner_model = model.model
        self._denoiser = denoiser

    def __call__(self, x: Tensor, sigma: Tensor, model_options: dict[str, Any], seed: int | None = None) -> Tensor:  # noqa: ARG002
        if "sampler_post_cfg_function" in model_options or "sampler_cfg_function" in model_options:
            raise InputError(
                "This sampler replaces guidance (the cfg_pp kind does), but SVFR Sampler applies guidance itself, "
                "window by window: choose another, such as euler or dpmpp_2m."
            )
        return self._denoiser(x, float(sigma.flatten()[0]))  # one value for each frame, all the same
