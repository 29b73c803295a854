"""Noise schedules and solvers, each a plain function.

A solver is ``(denoiser, x, sigmas, callback) -> x``: denoiser maps (x, sigma) to the denoised estimate, sigmas
descend and end in 0. Latents are in the variance-exploding form of Karras et al. 2022: x = clean + sigma * noise.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.progress import Callback, report

SIGMA_MIN = 0.002
SIGMA_MAX = 700.0
RHO = 7.0

Denoiser: TypeAlias = Callable[[Tensor, float], Tensor]
Solver: TypeAlias = "Callable[[Denoiser, Tensor, Sequence[float], Callback | None], Tensor]"


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


def euler(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], callback: Callback | None = None) -> Tensor:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1 without its second-order half)."""
    for k, (sigma, following) in enumerate(_pairs(sigmas)):
        denoised = denoiser(x, sigma)
        # x + (following - sigma) * (x - denoised) / sigma without its temporaries: a long clip's latents are large.
        x = torch.lerp(denoised, x, following / sigma)
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
    return x


def heun(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], callback: Callback | None = None) -> Tensor:
    """Heun's second-order method (Karras et al. 2022, algorithm 1). Two evaluations a step but the last."""
    for k, (sigma, following) in enumerate(_pairs(sigmas)):
        denoised = denoiser(x, sigma)
        slope = (x - denoised) / sigma
        ahead = x + (following - sigma) * slope
        if following > 0:
            slope = (slope + (ahead - denoiser(ahead, following)) / following) / 2
            ahead = x + (following - sigma) * slope
        x = ahead
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
    return x


def dpmpp_2m(denoiser: Denoiser, x: Tensor, sigmas: Sequence[float], callback: Callback | None = None) -> Tensor:
    """DPM-Solver++(2M), data prediction (Lu et al. 2022, arXiv 2211.01095, algorithm 2). One evaluation a step."""
    previous: Tensor | None = None
    previous_step = 0.0
    for k, (sigma, following) in enumerate(_pairs(sigmas)):
        denoised = denoiser(x, sigma)
        if following == 0:
            x = denoised
        else:
            step = math.log(sigma / following)
            estimate = denoised
            if previous is not None:
                ratio = previous_step / step
                estimate = denoised + (denoised - previous) / (2 * ratio)
            x = (following / sigma) * x - math.expm1(-step) * estimate
            previous_step = step
        previous = denoised
        report(callback, "denoise", k + 1, len(sigmas) - 1, denoised)
    return x


def _pairs(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    levels = [float(sigma) for sigma in sigmas]
    pairs = list(itertools.pairwise(levels))
    if not pairs or any(a <= b for a, b in pairs) or levels[-1] < 0:
        raise InputError(f"Sigmas must descend strictly towards 0, not {levels}.")
    return pairs


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
SCHEDULES: dict[str, Callable[[int], list[float]]] = {
    "karras": karras_sigmas,
    "exponential": exponential_sigmas,
    "simple": simple_sigmas,
}
