"""A denoiser for the whole clip: windows, guidance and batching around one network call.

`ClipDenoiser` is a stateless function of (x, sigma). Solvers need nothing else, so any of them can drive it, and a stub
network is enough to test it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError
from ..base.progress import Callback, report
from .conditioning import Conditioning
from .windows import Window, WindowPlan

SIGMA_TOLERANCE = 1e-5
"""Relative slack when a sigma is looked up in the schedule: it may have passed through float32 or half precision."""


class DenoiserBackend(Protocol):
    """The network, whoever provides it: one batch of windows in, the denoised estimate out.

    x, degraded (B,F,4,h,w) float32; sigma > 0; reference (B,4,h,w) and tokens (B,T,c), zeros where absent; task (3,).
    c is token_width. Returns float32 (B,F,4,h,w).
    """

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        ...

    @property
    def token_width(self) -> int:
        """Channels of one identity token."""
        ...

    @property
    def size_multiple_factor(self) -> int:
        """Height and width of the latents must be multiples of this."""
        ...

    def __call__(
        self, x: Tensor, sigma: float, degraded: Tensor, reference: Tensor, tokens: Tensor, task: Tensor
    ) -> Tensor:
        """Denoise."""
        ...


def guidance_schedule(low: float, high: float, steps: int) -> list[float]:
    """One guidance scale per step, rising linearly from low to high (docs/reference/svfr.md#guidance)."""
    scales: list[float] = torch.linspace(low, high, steps).tolist()
    return scales


@dataclass(frozen=True)
class _Job:
    """One row of a network batch: a window, seen with or without reference and identity."""

    window: Window
    guided: bool


@dataclass(frozen=True)
class ClipDenoiser:
    """(x, sigma) -> denoised estimate of the clip; x and result are (N,4,h,w) float32 in scaled latents.

    backend: the network. conditioning: for the whole clip. plan: the temporal windows. guidance: one scale per step.
    sigmas: the schedule, one more than the steps with a final 0; the step, on which windows and guidance depend, is the
    last k with sigmas[k] >= sigma, so solvers may also evaluate between steps. batch: rows per network call; a window
    takes one row, or two with guidance, so 2 is the reference's value and 1 halves the activations. callback: called
    after each network call as stage "windows", so that even a single step over a long clip can be cancelled.

    Blending estimates equals the reference's blending of stepped latents, because the Euler step is linear in the
    estimate and the weights sum to one.
    """

    backend: DenoiserBackend
    conditioning: Conditioning
    plan: WindowPlan
    guidance: Sequence[float]
    sigmas: Sequence[float]
    batch: int = 2
    callback: Callback | None = None

    def __post_init__(self) -> None:
        if len(self.guidance) + 1 != len(self.sigmas):
            raise InputError(f"{len(self.sigmas) - 1} steps need as many guidance scales, not {len(self.guidance)}.")
        if self.batch < 1:
            raise InputError(f"The batch must be at least 1, not {self.batch}.")

    def step_of(self, sigma: float) -> int:
        """The step that a noise level belongs to: the last k with sigmas[k] >= sigma; 0 above the first level."""
        steps = [k for k, level in enumerate(self.sigmas[:-1]) if level >= sigma * (1 - SIGMA_TOLERANCE)]
        return steps[-1] if steps else 0

    @torch.inference_mode()
    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise the clip at one noise level. Runs ceil(rows / batch) network calls."""
        sigma = float(sigma)
        step = self.step_of(sigma)
        scale = self.guidance[step]
        windows = self.plan.at_step(x.shape[0], step)
        # Each half is run only if it matters: u + g(c - u) is c for g = 1, and u for g = 0 or where c = u.
        guided = scale != 0.0 or not self.conditioning.guides
        plain = scale != 1.0 and self.conditioning.guides
        jobs = [_Job(w, half) for w in windows for half in (False, True) if (guided if half else plain)]
        total = torch.zeros_like(x)
        weights = _summed_weights(windows, x.shape[0])
        factor = {True: scale if plain else 1.0, False: 1.0 - scale if guided else 1.0}
        groups = _grouped(jobs, self.batch)
        for done, group in enumerate(groups):
            for job, estimate in zip(group, self._run(x, sigma, group), strict=True):
                _accumulate(total, job.window, estimate * factor[job.guided])
            report(self.callback, "windows", done + 1, len(groups))
        return total.div_(rearrange(x.new_tensor(weights), "n -> n 1 1 1"))

    def _run(self, x: Tensor, sigma: float, jobs: Sequence[_Job]) -> Tensor:
        """One network call for windows of one length: (B,F,4,h,w)."""
        given = self.conditioning
        frames = torch.tensor([job.window.frames for job in jobs], device=x.device)
        on = torch.tensor([job.guided for job in jobs], device=x.device, dtype=x.dtype)
        reference = given.reference if given.reference is not None else torch.zeros_like(x[0])
        tokens = given.tokens if given.tokens is not None else torch.zeros(1, self.backend.token_width)
        return self.backend(
            x[frames],
            sigma,
            given.degraded.to(x)[frames],
            rearrange(on, "b -> b 1 1 1") * reference.to(x),
            rearrange(on, "b -> b 1 1") * tokens.to(x),
            torch.tensor(given.task, device=x.device, dtype=x.dtype),
        ).to(x)


def _grouped(jobs: Sequence[_Job], batch: int) -> list[list[_Job]]:
    """Successive jobs in groups of at most batch; the windows of a group have the same length."""
    groups: list[list[_Job]] = []
    for job in jobs:
        fits = groups and len(groups[-1]) < batch
        if fits and len(groups[-1][0].window.frames) == len(job.window.frames):
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups


def _accumulate(total: Tensor, window: Window, estimate: Tensor) -> None:
    """Add a window's estimate (F,4,h,w) to the clip; a frame that occurs twice is added twice.

    This goes frame by frame because a scatter-add with repeated indices has no fixed order of summation on a GPU.
    """
    for frame, weight, latents in zip(window.frames, window.weights, estimate, strict=True):
        total[frame] += weight * latents


def _summed_weights(windows: Sequence[Window], count: int) -> list[float]:
    """The sum of the blend weights that each of count frames receives from all windows."""
    sums = [0.0] * count
    for window in windows:
        for frame, weight in zip(window.frames, window.weights, strict=True):
            sums[frame] += weight
    return sums
