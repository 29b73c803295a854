"""Clips to train the UNet on: encoded once, kept in memory, and drawn from at each step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import InputError
from ..base.pixels import to_network_range
from ..base.tasks import Task, Tasks, task_vector
from ..engine.solvers import SIGMA_MAX, SIGMA_MIN
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import options_for
from .files import save_state
from .losses import draw_sigmas

if TYPE_CHECKING:
    from ..engine.conditioning import VAE
    from ..networks.identity import IResNet

ALL_TASKS: tuple[Tasks, ...] = tuple(
    frozenset(combination) for size in (1, 2, 3) for combination in itertools.combinations(Task, size)
)
"""The seven combinations of the three tasks."""


@dataclass(frozen=True)
class LatentClips:
    """K clips of N frames, each in V degradations, ready for the UNet.

    clean (K,N,4,h,w) float16, scaled; degraded (K,V,N,4,h,w) float16, unscaled; tasks (K,V,3) uint8; grids
    (K,n,C,7,7) float16, the recogniser's map of n frames of each clip; landmarks (K,N,68,2) float32 in parts of the
    picture. scaling: the factor from unscaled to scaled latents.
    """

    clean: Tensor
    degraded: Tensor
    tasks: Tensor
    grids: Tensor
    landmarks: Tensor
    scaling: float

    def save(self, path: Path | str) -> None:
        """Write a file that `load` reads."""
        save_state({field.name: getattr(self, field.name) for field in fields(self)}, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> LatentClips:
        """Read a file that `save` wrote. Raises InputError for any other."""
        stored = torch.load(path, weights_only=True)
        if not isinstance(stored, dict) or set(stored) != {field.name for field in fields(cls)}:
            raise InputError(f"{path} holds no encoded training clips: delete it, and it will be made again.")
        return cls(**stored)


@dataclass(frozen=True)
class Views:
    """How clips are degraded: each in `count` ways, with tasks drawn evenly from `tasks`."""

    count: int
    seed: int
    tasks: Sequence[Tasks] = ALL_TASKS


@torch.inference_mode()
def encode_clips(
    vae: VAE,
    recognizer: IResNet,
    frames: np.ndarray,
    landmarks: np.ndarray,
    faces: Tensor,
    views: Views,
) -> LatentClips:
    """Degrade and encode clips.

    frames (K,N,H,W,3) uint8; landmarks (K,N,68,2) in their pixels; faces (K,n,3,112,112) uint8, aligned.
    """
    count, length = frames.shape[:2]
    side = frames.shape[3], frames.shape[2]
    # any len(tasks) consecutive views have each combination once, in random order
    order, tasks = np.random.default_rng([views.seed, 0]), views.tasks
    deck = np.concatenate([order.permutation(len(tasks)) for _ in range(-(-count * views.count // len(tasks)))])
    clean, degraded, grids = [], [], []
    for clip in range(count):
        clean.append(vae.encode(_pixels(frames[clip])) * vae.scaling_factor)
        shown = []
        for view in range(views.count):
            number = clip * views.count + view
            options = options_for(tasks[deck[number]])
            spoiled, _ = degrade_clip(frames[clip], options, views.seed * 1_000_003 + number)
            shown.append(vae.encode(_pixels(spoiled)))
        degraded.append(torch.stack(shown))
        grids.append(recognizer(to_network_range(faces[clip]))[0].float())
    vectors = [task_vector(tasks[number]) for number in deck[: count * views.count]]
    return LatentClips(
        torch.stack(clean).half(),
        torch.stack(degraded).half(),
        torch.tensor(vectors, dtype=torch.uint8).view(count, views.count, 3),
        torch.stack(grids).half(),
        torch.from_numpy(landmarks[:, :length] / np.array(side, np.float32)).float(),
        float(vae.scaling_factor),
    )


def _pixels(frames: np.ndarray) -> Tensor:
    """(N,H,W,3) uint8 to (N,3,H,W) float32 in [-1,1]."""
    return to_network_range(rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "n h w c -> n c h w"))


@dataclass(frozen=True)
class DrawOptions:
    """How a training batch is drawn.

    lengths: frames of a window, one after the other by step; clips: for each length, how many clips; every clip comes
    twice, in two degradations. noise_mean, noise_spread, noise_wide, noise_span: see draw_sigmas. drop_both, drop_one:
    chances that a row sees neither the reference frame nor the identity, and that it sees only one of them. The rest of
    the rows see both.
    """

    lengths: Sequence[int] = (4, 8, 4, 16)
    clips: Sequence[int] = (2, 1, 2, 1)
    noise_mean: float = 1.5
    noise_spread: float = 1.6
    noise_wide: float = 0.3
    noise_span: tuple[float, float] = (SIGMA_MIN, SIGMA_MAX)
    drop_both: float = 0.4
    drop_one: float = 0.2


def draw_uses(rows: int, drop_both: float, drop_one: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Which rows see the reference frame and which see the identity, two (rows,) bool; see DrawOptions."""
    both, one, which = (torch.rand(rows, generator=generator) for _ in range(3))
    kept = both >= drop_both
    alone = one < drop_one
    return kept & ~(alone & (which < 0.5)), kept & ~(alone & (which >= 0.5))


def draw_batch(data: LatentClips, options: DrawOptions, seed: int, step: int = 0) -> dict[str, Tensor]:
    """One batch for SVFRObjective: 2B rows, B clips in one degradation and the same clips in another.

    Both rows of a clip share the window and the reference frame. Each row has its own noise level, because otherwise
    the contrastive loss could be lowered by telling noise levels apart, and its own choice of what is withheld.
    """
    generator = torch.Generator().manual_seed(seed)

    def pick(high: int, count: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    choice = step % len(options.lengths)
    length, count = options.lengths[choice], options.clips[choice]
    total, frames = data.clean.shape[:2]
    chosen = torch.randperm(total, generator=generator)[:count]
    first = pick(frames - length + 1, count)
    window = first[:, None] + torch.arange(length)
    pairs = torch.stack([torch.randperm(data.degraded.shape[1], generator=generator)[:2] for _ in range(count)])
    rows, views = chosen.repeat(2), pairs.T.flatten()
    window = window.repeat(2, 1)
    clean = data.clean[rows[:, None], window].float()
    use_reference, use_identity = draw_uses(len(rows), options.drop_both, options.drop_one, generator)
    frame, face = pick(frames, count).repeat(2), pick(data.grids.shape[1], count).repeat(2)
    reference = data.clean[rows, frame].float() / data.scaling
    return {
        "clip": rows,
        "clean": clean,
        "sigma": draw_sigmas(
            2 * count,
            generator,
            mean=options.noise_mean,
            spread=options.noise_spread,
            wide=options.noise_wide,
            span=options.noise_span,
        ),
        "noise": torch.randn(clean.shape, generator=generator),
        "degraded": data.degraded[rows[:, None], views[:, None], window].float(),
        "reference": reference * use_reference.view(-1, 1, 1, 1),
        "grid": data.grids[rows, face].float(),
        "use_identity": use_identity.float(),
        "task": data.tasks[rows, views].float(),
        "landmarks": data.landmarks[rows[:, None], window],
    }
