"""Batches made ahead of the training by other processes: windows are read, cropped and degraded there."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..base.errors import SVFRError
from ..base.tasks import Task, task_vector
from ..faces.geometry import align_face
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import DegradeOptions, options_for
from .config import TrainConfig
from .latents import ALL_TASKS
from .source import TrainingWindow, WindowSource

AHEAD = 2
"""Batches that each process makes ahead."""
MOST_PROCESSES = 12
"""Enough for a card that takes a step in a second and a half; see docs/training.md."""

Drawn = dict[str, Tensor]
"""A batch before it is encoded. B clips: clip (B,) their numbers, first (B,) and other_number (B,) where in the clip;
frames (B,F,S,S,3) uint8; other (B,S,S,3) uint8; face (B,3,112,112), of the other frame, aligned, in [-1,1]; landmarks
(B,F,68,2) in fractions of the picture. 2B rows, the clips in one degradation and then in another: degraded
(2B,F,S,S,3) uint8, task (2B,3). seed: what all of that was drawn from."""


@dataclass(frozen=True)
class DrawnBatches(Dataset[Any]):
    """Batches by their seed: the same seed gives the same batch, in whichever process."""

    source: WindowSource
    config: TrainConfig

    def __getitem__(self, seed: int) -> Drawn | SVFRError:
        """One batch, or what is wrong with a file: torch would bury an exception in a traceback."""
        try:
            return draw_batch(self.source, self.config, seed)
        except SVFRError as error:
            return error


def draw_batch(source: WindowSource, config: TrainConfig, seed: int) -> Drawn:
    """Draw clips, windows, tasks and degradations, all from the seed."""
    rng = np.random.default_rng(seed)
    count = min(config.clips, len(source))
    chosen = rng.choice(len(source), count, replace=False)
    windows = [source.draw(int(index), config.window, rng) for index in chosen]
    tasks = [ALL_TASKS[int(k)] for k in rng.integers(len(ALL_TASKS), size=2 * count)]
    flicker = DegradeOptions(brightness_flicker=config.brightness_flicker, pixel_flicker=config.pixel_flicker)
    degraded = []
    for row, wanted in enumerate(tasks):
        options = options_for(wanted, config.low_quality, flicker if Task.BFR in wanted else None)
        frames, _ = degrade_clip(windows[row % count].frames, options, int(rng.integers(1 << 31)))
        degraded.append(frames)
    return {
        "seed": torch.tensor(seed),
        "clip": torch.from_numpy(chosen),
        "first": torch.tensor([window.first for window in windows]),
        "other_number": torch.tensor([window.other_number for window in windows]),
        "frames": torch.from_numpy(np.stack([window.frames for window in windows])),
        "other": torch.from_numpy(np.stack([window.other for window in windows])),
        "face": torch.stack([align_face(window.other, window.other_five, "arcface") for window in windows]),
        "landmarks": torch.stack([_relative(window) for window in windows]),
        "degraded": torch.from_numpy(np.stack(degraded)),
        "task": torch.tensor([task_vector(wanted) for wanted in tasks], dtype=torch.float32),
    }


def _relative(window: TrainingWindow) -> Tensor:
    """Landmarks (F,68,2) in fractions of the picture; zeros if they are unknown, and weight_prior is 0."""
    height, width = window.frames.shape[1:3]
    if window.landmarks is None:
        return torch.zeros(len(window.frames), 68, 2)
    return torch.from_numpy(window.landmarks / np.array([width, height])).float()


def drawn_ahead(source: WindowSource, config: TrainConfig, seeds: Sequence[int]) -> Generator[Drawn, None, None]:
    """The batches of these seeds, in order, made ahead by `config.workers` processes; close it to end them.

    Raises InputError where a file cannot be read.
    """
    workers = worker_count(config.workers)
    loader: DataLoader[Any] = DataLoader(
        DrawnBatches(source, config),
        batch_size=None,
        sampler=seeds,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_set_up if workers else None,
        generator=torch.Generator(),  # or it would draw from the training's own
    )
    for batch in loader:
        if isinstance(batch, SVFRError):
            raise batch
        yield batch


def worker_count(asked: int | None) -> int:
    """How many processes make batches for this one; None takes what the machine's cores allow."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's processes share the machine
    return max(1, min(cores // here - 1, MOST_PROCESSES))


def _set_up(_number: int) -> None:
    """In a new process: one core is its share, and signals are for the process that it works for."""
    import cv2

    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
