"""Noise schedules and solvers, each a plain function.

A solver is ``(denoiser, x, sigmas, callback) -> x``: denoiser maps (x, sigma) to the denoised estimate, sigmas
descend and end in 0. Latents are in the variance-exploding form of Karras et al. 2022: x = clean + sigma * noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.memory import PLAIN, Memory
from ..base.progress import Callback, report

SIGMA_MIN = 0.002
SIGMA_MAX = 700.0
RHO = 7.0
STEPS = "steps"
"""The stage that a memory knows a solver's steps by."""
AT_ONCE = 64

Denoiser: TypeAlias = Callable[[Tensor, float], Tensor]
Solver: TypeAlias = "Callable[[Denoiser, Tensor, Sequence[float], Callback | None], Tensor]"


class OwnSolver(Protocol):
    """A solver of this module: it can go on where it was."""

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigmas: Sequence[float],
        callback: Callback | None = None,
        memory: Memory = PLAIN,
    ) -> Tensor:
        """Latents (N,4,h,w) after all steps."""
        ...


def karras_sigmas(steps: int, low: float = SIGMA_MIN, high: float = SIGMA_MAX, rho: float = RHO) -> list[float]:
    """The schedule of Karras et al. 2022 (arXiv 2206.00364, equation 5): equal steps in sigma^(1/rho), then 0."""
    ends = high ** (1 / rho), low ** (1 / rho)
    return _rounded([(ends[0] + ramp * (ends[1] - ends[0])) ** rho for ramp in _ramp(steps)])


def exponential_sigmas(steps: int, low: float = SIGMA_MIN, high: float = SIGMA_MAX) -> list[float]:
    """Equal steps in log sigma (Lu et al. 2022, arXiv 2206.00927, uniform logSNR), then 0."""
    return _rounded([math.exp(math.log(high) + r * (math.log(low) - math.log(high))) for r in _ramp(steps)])


def simple_sigmas(steps: int, low: float = SIGMA_MIN, high: float = SIGMA_MAX) -> list[float]:
    """Equal steps in the network's time t = ln(sigma)/4, then 0.

    Like ComfyUI's scheduler of that name it divides the range by the number of steps, so the last level lies one step
    above the lowest, where the exponential schedule's lies on it.
    """
    first, last = math.log(high) / 4, math.log(low) / 4
    return _rounded([math.exp(4 * (first + k / steps * (last - first))) for k in range(_checked(steps))])


def _ramp(steps: int) -> list[float]:
    """0 to 1 in steps values; a single step starts at 0, the highest noise."""
    return [k / (steps - 1) if steps > 1 else 0.0 for k in range(_checked(steps))]


def _checked(steps: int) -> int:
    if steps < 1:
        raise InputError(f"At least one step is needed, not {steps}.")
    return steps


def _rounded(sigmas: list[float]) -> list[float]:
    """Noise levels as float32 holds them, which is what the reference computes with, and the final 0."""
    return [*np.asarray(sigmas, np.float32).tolist(), 0.0]


def euler(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> Tensor:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1 without its second-order half).

    memory: where the latents lie, and how many steps are done; x comes after these. So it is of the other solvers.
    """
    for k, sigma, following in _left(sigmas, memory):
        denoised = denoiser(x, sigma)
        # x + (following - sigma) * (x - denoised) / sigma without its temporaries: a long clip's latents are large.
        x = torch.lerp(denoised, x, following / sigma, out=memory.like(latents_after(k + 1), x))
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
        memory.save(STEPS, k + 1, {latents_after(k + 1): x})
    return x


def heun(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> Tensor:
    """Heun's second-order method (Karras et al. 2022, algorithm 1). Two evaluations a step but the last."""
    for k, sigma, following in _left(sigmas, memory):
        denoised = denoiser(x, sigma)
        slope, ahead = memory.like("slope", x), memory.like(latents_after(k + 1), x)
        for rows in _parts(x):
            slope[rows] = (x[rows] - denoised[rows]) / sigma
            ahead[rows] = x[rows] + (following - sigma) * slope[rows]
        if following > 0:
            after = denoiser(ahead, following)
            for rows in _parts(x):
                mean = (slope[rows] + (ahead[rows] - after[rows]) / following) / 2
                ahead[rows] = x[rows] + (following - sigma) * mean
        x = ahead
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
        memory.save(STEPS, k + 1, {latents_after(k + 1): x})
    return x


def dpmpp_2m(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> Tensor:
    """DPM-Solver++(2M), data prediction (Lu et al. 2022, arXiv 2211.01095, algorithm 2). One evaluation a step."""
    begun = memory.done(STEPS)
    previous = memory.kept(estimate_of(begun - 1)).to(x.device) if begun else None
    for k, sigma, following in _left(sigmas, memory):
        denoised = denoiser(x, sigma)
        if following == 0:
            x = denoised
        else:
            step = math.log(sigma / following)
            ahead = memory.like(latents_after(k + 1), x)
            for rows in _parts(x):
                estimate = denoised[rows]
                if previous is not None:
                    previous_step = math.log(float(sigmas[k - 1]) / sigma)
                    ratio = previous_step / step
                    estimate = estimate + (estimate - previous[rows]) / (2 * ratio)
                ahead[rows] = (following / sigma) * x[rows] - math.expm1(-step) * estimate
            x = ahead
        previous = denoised
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
        memory.save(STEPS, k + 1, {latents_after(k + 1): x, estimate_of(k): denoised})
    return x


def latents_after(steps: int) -> str:
    """The name of the latents after so many steps: a step writes over those that the one before began with."""
    return f"latents-{steps % 2}"


def estimate_of(step: int) -> str:
    """The name of the denoised estimate of a step, counted from 0; the one before it is still there."""
    return f"estimate-{step % 2}"


def _left(sigmas: Sequence[float], memory: Memory) -> list[tuple[int, float, float]]:
    """The steps that are not done: their number, the level that each begins at, and the next."""
    steps = [(k, *pair) for k, pair in enumerate(_pairs(sigmas))]
    return steps[memory.done(STEPS) :]


def _parts(x: Tensor) -> list[slice]:
    """Frames that are computed at a time, so that no intermediate result is as long as the clip."""
    return [slice(first, first + AT_ONCE) for first in range(0, len(x), AT_ONCE)]


def _pairs(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    levels = [float(sigma) for sigma in sigmas]
    pairs = list(itertools.pairwise(levels))
    if not pairs or any(a <= b for a, b in pairs) or levels[-1] < 0:
        raise InputError(f"Sigmas must descend strictly towards 0, not {levels}.")
    return pairs


SOLVERS: dict[str, OwnSolver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
SCHEDULES: dict[str, Callable[[int], list[float]]] = {
    "karras": karras_sigmas,
    "exponential": exponential_sigmas,
    "simple": simple_sigmas,
}
