"""One pass under a solver and noise levels that come from elsewhere, such as ComfyUI's SAMPLER and SIGMAS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .conditioning import Conditioning, encode_clip
from .denoiser import ClipDenoiser, guidance_schedule
from .errors import InputError
from .progress import Callback
from .restore import (
    Networks,
    Restored,
    RestoreOptions,
    _check_pixels,
    _padded,
    _plan_for,
    draw_noise,
    encode_reference,
)
from .sampler import SCHEDULES, SOLVERS, Solver
from .tasks import Tasks, task_vector
from .windows import pad_shots

if TYPE_CHECKING:
    from .identity import Identity


@torch.inference_mode()
def restore_once(
    networks: Networks,
    pixels: Tensor,
    tasks: Tasks,
    options: RestoreOptions,
    *,
    solver: Solver | None = None,
    sigmas: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reference: Tensor | None = None,
    identity: Identity | None = None,
    callback: Callback | None = None,
) -> Restored:
    """`restore` in one pass, without noise augmentation.

    solver, sigmas: instead of the options' solver, and of their schedule, steps and strength. Sigmas descend; the
    guidance rises over as many steps as they make. The rest is as for `restore`.
    """
    task = task_vector(tasks)
    _check_pixels(networks, pixels)
    padding = pad_shots(pixels.shape[0], options.plan.cuts)
    pixels = _padded(pixels, padding)
    mask = _padded(mask, padding) if mask is not None and mask.shape[0] > 1 else mask
    clip = encode_clip(networks.vae, pixels, tasks, mask, callback=callback)
    shown = encode_reference(networks.vae, reference)
    levels = noise_levels(options) if sigmas is None else [float(sigma) for sigma in sigmas]
    if len(levels) < 2 or levels[0] <= 0:
        raise InputError(f"Sigmas must begin above 0 and make at least one step, not {levels}.")
    start = clip.start.to(networks.backend.device) * networks.vae.scaling_factor
    noise = draw_noise(start.shape[0], tuple(start.shape[1:]), options.seed).to(start)
    denoiser = ClipDenoiser(
        networks.backend,
        Conditioning(clip.degraded.to(start.device), task, shown, identity.tokens if identity is not None else None),
        _plan_for(pixels.shape[0], replace(options.plan, cuts=padding.cuts)),
        guidance_schedule(*options.guidance, len(levels) - 1),
        levels,
        options.batch,
        callback,
    )
    solver = solver or SOLVERS[options.solver]
    latents = solver(denoiser, start + levels[0] * noise, levels, callback)
    return Restored(latents, padding.kept, padding.cuts)


def noise_levels(options: RestoreOptions) -> list[float]:
    """The part of the options' schedule that their strength leaves, with the final 0."""
    steps = min(int(options.steps * options.strength), options.steps)
    if steps < 1:
        raise InputError(f"A strength of {options.strength} leaves none of {options.steps} steps: raise one of them.")
    return SCHEDULES[options.schedule](options.steps)[options.steps - steps :]
