"""A denoiser for the whole clip: windows, guidance and batching around one network call.

`ClipDenoiser` is a stateless function of (x, sigma). Solvers need nothing else, so any of them can drive it, and a stub
network is enough to test it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError
from ..base.memory import PLAIN, Memory
from ..base.progress import Callback, report
from .conditioning import Conditioning
from .solvers import estimate_of
from .windows import Window, WindowPlan

SIGMA_TOLERANCE = 1e-5
"""Relative slack when a sigma is looked up in the schedule: it may have passed through float32 or half precision."""


class DenoiserBackend(Protocol):
    """The network, whoever provides it: one batch of windows in, the denoised estimate out.

    x, degraded (B,F,4,h,w) float32; sigma > 0; reference (B,4,h,w) and tokens (B,T,c), each None where the whole batch
    goes without, which the network was taught as zeros; task (3,). c is token_width. Returns float32 (B,F,4,h,w).
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
        self,
        x: Tensor,
        sigma: float,
        degraded: Tensor,
        reference: Tensor | None,
        tokens: Tensor | None,
        task: Tensor,
    ) -> Tensor:
        """Denoise."""
        ...


def guidance_schedule(low: float, high: float, steps: int) -> list[float]:
    """One guidance scale per step, rising linearly from low to high (docs/reference/svfr.md#guidance)."""
    scales: list[float] = torch.linspace(low, high, steps).tolist()
    return scales


@dataclass(frozen=True)
class _Given:
    """The conditions of a clip where the network is; tokens are None where all are zero."""

    degraded: Tensor
    reference: Tensor | None
    tokens: Tensor | None
    task: Tensor


@dataclass(frozen=True)
class _Batch:
    """Windows of one length that the network sees in one call.

    frames: (B,F) int64 on the network's device. weights: (B,F,1,1,1) float32, beside them. distinct: whether no frame
    occurs twice in one window.
    """

    frames: Tensor
    weights: Tensor
    distinct: bool


@dataclass(frozen=True)
class ClipDenoiser:
    """(x, sigma) -> denoised estimate of the clip; x and result are (N,4,h,w) float32 in scaled latents.

    backend: the network. conditioning: for the whole clip. plan: the temporal windows. guidance: one scale per step.
    sigmas: the schedule, one more than the steps with a final 0; the step, on which windows and guidance depend, is the
    last k with sigmas[k] >= sigma, so solvers may also evaluate between steps. batch: windows per network call, 2 rows
    as in the reference or 1 for half the activations. A call is guided or unguided as a whole, so that the network can
    skip what the unguided ones do not need. callback: called after each network call as stage "windows", so that even
    a single step over a long clip can be cancelled. memory: where the estimates lie.

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
    memory: Memory = PLAIN

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
        """Denoise the clip at one noise level. Each window costs one row of a network call, or two with guidance."""
        sigma = float(sigma)
        step = self.step_of(sigma)
        windows = self.plan.at_step(x.shape[0], step)
        batches = _batches(windows, self.batch, x.device)
        calls = [(guided, factor, batch) for guided, factor in self._halves(step) for batch in batches]
        total = self.memory.like(estimate_of(step), x).zero_()
        for done, (guided, factor, batch) in enumerate(calls):
            _accumulate(total, batch, self._run(x, sigma, batch, guided) * factor)
            report(self.callback, "windows", done + 1, len(calls))
        weights = _on(x.device, torch.tensor(_summed_weights(windows, x.shape[0]), dtype=x.dtype))
        return total.div_(rearrange(weights, "n -> n 1 1 1"))

    def _halves(self, step: int) -> list[tuple[bool, float]]:
        """Which halves a step needs, guided or not, and their factors in u + g (c - u).

        That is c for g = 1, and u for g = 0; without reference and tokens c = u, and one call is enough.
        """
        scale, given = self.guidance[step], self._given
        if scale == 1.0 or (given.reference is None and given.tokens is None):
            return [(True, 1.0)]
        return [(False, 1.0)] if scale == 0.0 else [(True, scale), (False, 1.0 - scale)]

    @cached_property
    def _given(self) -> _Given:
        """The conditions, looked at and brought to the network once: that waits for the device."""
        given, device = self.conditioning, self.backend.device
        reference = given.reference
        tokens = given.tokens if given.tokens is not None and given.tokens.any() else None
        return _Given(
            given.degraded.to(device, torch.float32),
            None if reference is None else reference.to(device, torch.float32),
            None if tokens is None else tokens.to(device, torch.float32),
            torch.tensor(given.task, device=device, dtype=torch.float32),
        )

    def _run(self, x: Tensor, sigma: float, batch: _Batch, guided: bool) -> Tensor:
        """One network call: (B,F,4,h,w)."""
        given = self._given
        reference, tokens = (
            None if part is None or not guided else part.expand(len(batch.frames), *part.shape)
            for part in (given.reference, given.tokens)
        )
        seen = given.degraded[batch.frames]
        return self.backend(x[batch.frames], sigma, seen, reference, tokens, given.task).to(x)


def _on(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor that was just made, on the device, without waiting for what the device is doing."""
    return tensor.to(device, non_blocking=True)


def _batches(windows: Sequence[Window], size: int, device: torch.device) -> list[_Batch]:
    """The windows in batches of at most size; those of a batch have the same length."""
    lengths = {len(window.frames): None for window in windows}
    batches: list[_Batch] = []
    for length in lengths:
        alike = [window for window in windows if len(window.frames) == length]
        frames = _on(device, torch.tensor([window.frames for window in alike]))
        weights = _on(device, torch.tensor([window.weights for window in alike]))[..., None, None, None]
        distinct = all(len(set(window.frames)) == length for window in alike)
        parts = [slice(first, first + size) for first in range(0, len(alike), size)]
        batches += [_Batch(frames[part], weights[part], distinct) for part in parts]
    return batches


def _accumulate(total: Tensor, batch: _Batch, estimates: Tensor) -> None:
    """Add the windows' estimates (B,F,4,h,w) to the clip; a frame that occurs twice is added twice.

    Where a frame does, this goes frame by frame, because sums over repeated indices have no fixed order on a GPU.
    """
    weighted = estimates * batch.weights
    for frames, window in zip(batch.frames, weighted, strict=True):
        parts = [(frames, window)] if batch.distinct else zip(frames[:, None], window[:, None], strict=True)
        for index, part in parts:
            total.index_add_(0, index, part)


def _summed_weights(windows: Sequence[Window], count: int) -> list[float]:
    """The sum of the blend weights that each of count frames receives from all windows."""
    sums = [0.0] * count
    for window in windows:
        for frame, weight in zip(window.frames, window.weights, strict=True):
            sums[frame] += weight
    return sums
