"""Latents of undamaged frames on a disk, so that each frame of the footage goes through the VAE only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..files.staging import staged
from .index import IndexedClip

FOLDER = "latents"
CHANNELS = 4


class LatentCache:
    """One array (N,4,h,w) float32 per clip, filled frame by frame. Several processes may fill the same one.

    A frame in which any number is 0 counts as not filled: files begin as holes, and a write that was cut short leaves
    zeros. Float32, so that a training is the same with it and without.
    """

    def __init__(self, folder: Path, clips: Sequence[IndexedClip], side: int) -> None:
        """folder: for the arrays, made if need be; another VAE needs another one. side: of the latents."""
        self._folder, self._clips, self._shape = folder, clips, (CHANNELS, side, side)
        folder.mkdir(parents=True, exist_ok=True)

    def encoded(self, clip: int, numbers: Sequence[int], encode: Callable[[list[int]], Tensor]) -> Tensor:
        """The latents (n,4,h,w) of frames `numbers` of a clip.

        encode: called with the positions in numbers that are not known yet, if there are any; returns their latents.
        Raises InputError where the cache cannot be written.
        """
        held = self._open(self._clips[clip])
        missing = [position for position, number in enumerate(numbers) if not (held[number] != 0).all()]
        if missing:
            made = encode(missing).float().cpu().numpy()
            for position, latents in zip(missing, made, strict=True):
                held[numbers[position]] = latents
        return torch.from_numpy(np.stack([held[number] for number in numbers]))

    def _open(self, clip: IndexedClip) -> np.ndarray:
        path, shape = self._folder / f"{clip.name}.npy", (clip.frames, *self._shape)
        if not path.is_file():
            with staged(path) as made:  # in one step: another process may do the same
                np.lib.format.open_memmap(made, "w+", np.float32, shape)
        held: np.ndarray = np.load(path, mmap_mode="r+")
        if held.shape != shape:
            raise InputError(f"{path} has latents of shape {held.shape}, not {shape}: delete {self._folder}.")
        return held
