"""What stc-tiny makes of synthetic clips that it was not trained on, through the functions that users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..base.progress import Callback, report
from ..metrics.pixels import psnr, ssim
from ..stc.enhance import enhance_crops, enhance_whole
from ..stc.load import ROLES, load_stc
from ..stc.network import CodeFormer3D, TaskName, VQAutoEncoder3D
from ..stc.options import EnhanceOptions
from ..synthesis.clips import make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import DegradeOptions, LowQuality
from ..training import stc_path
from ..weights import find
from .evaluate import SEEDS, SIZE

FRAMES = 24
"""Of a held-out clip: one window."""
DAMAGE: Mapping[TaskName, DegradeOptions] = {
    "bfr": DegradeOptions(low_quality=LowQuality()),
    "deflicker": DegradeOptions(brightness_flicker=0.3),
    "deflicker_sd": DegradeOptions(pixel_flicker=24.0),
}
"""What each task has to undo."""


@dataclass(frozen=True)
class Steadiness:
    """A clip against its truth: PSNR in dB and SSIM, means over frames, and how it flickers, in grey levels of 255.

    brightness, pixels: the mean absolute change, from frame to frame, of the error of the frame's mean and of each
    pixel.
    """

    psnr: float
    ssim: float
    brightness: float
    pixels: float


def steadiness(made: np.ndarray, truth: np.ndarray) -> Steadiness:
    """Measure a clip (N,H,W,3) uint8 of two frames or more against its truth."""
    error = made.astype(np.float64) - truth
    return Steadiness(
        float(np.mean([psnr(*pair) for pair in zip(made, truth, strict=True)])),
        float(np.mean([ssim(*pair) for pair in zip(made, truth, strict=True)])),
        float(np.abs(np.diff(error.mean((1, 2, 3)))).mean()),
        float(np.abs(np.diff(error, axis=0)).mean()),
    )


def mean_of(samples: Sequence[Steadiness]) -> Steadiness:
    """The mean of each figure."""
    names = [entry.name for entry in fields(Steadiness)]
    return Steadiness(**{name: float(np.mean([getattr(sample, name) for sample in samples])) for name in names})


def enhanced(network: CodeFormer3D, frames: np.ndarray, options: EnhanceOptions | None = None) -> np.ndarray:
    """A clip (N,S,S,3) uint8 as `stc` makes it: bfr as a face crop, the other tasks as whole frames."""
    if network.task != "bfr":
        return np.stack(list(enhance_whole(frames, network, [(0, len(frames))], options)))
    crops = rearrange(torch.from_numpy(frames.copy()), "n h w c -> n c h w").contiguous()
    return rearrange(enhance_crops(network, crops, options), "n c h w -> n h w c").contiguous().numpy()


def evaluate_task(
    network: CodeFormer3D,
    seeds: Sequence[int] = SEEDS,
    frames: int = FRAMES,
    damage: DegradeOptions | None = None,
    callback: Callback | None = None,
) -> tuple[Steadiness, Steadiness]:
    """Damaged and enhanced clips of the network's task against their truth, means over the clips of these seeds."""
    before, after = [], []
    for number, seed in enumerate(seeds):
        truth = make_clip(seed, frames, SIZE).frames
        damaged, _ = degrade_clip(truth, damage or DAMAGE[network.task], seed)
        before.append(steadiness(damaged, truth))
        after.append(steadiness(enhanced(network, damaged), truth))
        report(callback, "evaluate", number + 1, len(seeds))
    return mean_of(before), mean_of(after)


def evaluate_stc_tiny(folder: Path, seeds: Sequence[int] = SEEDS, callback: Callback | None = None) -> str:
    """A table of all three tasks. folder: with their networks. Raises WeightsError for one that is missing."""
    lines = ["| task | clip | PSNR | SSIM | brightness flicker | pixel flicker |", "|---|---|---|---|---|---|"]
    for task, role in ROLES.items():
        network = load_stc(find(role, [folder]), task)
        for name, row in zip(("damaged", "enhanced"), evaluate_task(network, seeds, callback=callback), strict=True):
            figures = f"{row.psnr:.2f} | {row.ssim:.3f} | {row.brightness:.2f} | {row.pixels:.2f}"
            lines.append(f"| {task} | {name} | {figures} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class BooksReport:
    """How well codebooks reconstruct clips.

    plain, zeroed, shuffled: with the codes found, without what the temporal book adds, and with its codes in another
    order. used_s, used_t: share of a book's entries that are found at least once.
    """

    plain: Steadiness
    zeroed: Steadiness
    shuffled: Steadiness
    used_s: float
    used_t: float


@torch.no_grad()
def evaluate_books(network: VQAutoEncoder3D, seeds: Sequence[int] = SEEDS, frames: int = FRAMES) -> BooksReport:
    """Measure stage I's reconstruction of the clips of these seeds."""
    rows: dict[str, list[Steadiness]] = {"plain": [], "zeroed": [], "shuffled": []}
    seen_s: set[int] = set()
    seen_t: set[int] = set()
    for seed in seeds:
        truth = make_clip(seed, frames, SIZE).frames
        found = stc_path.quantise(network.quantize, stc_path.encode(network, _clip(truth)))
        seen_s.update(found.codes_s.flatten().tolist())
        seen_t.update(found.codes_t.flatten().tolist())
        order = torch.randperm(found.codes_t.numel(), generator=torch.Generator().manual_seed(seed))
        mixed = found.codes_t.flatten()[order].view_as(found.codes_t)
        shuffled = stc_path.entries(network.quantize.embedding_t, mixed, found.entries_t.shape)
        latents = {"plain": found.latent, "zeroed": found.entries_s, "shuffled": found.entries_s + shuffled}
        for name, latent in latents.items():
            rows[name].append(steadiness(_frames(stc_path.decode(network, latent)), truth))
    means, count = {name: mean_of(row) for name, row in rows.items()}, network.sizes.codebook_size
    return BooksReport(**means, used_s=len(seen_s) / count, used_t=len(seen_t) / count)


def _clip(frames: np.ndarray) -> Tensor:
    """(T,H,W,3) uint8 to (1,3,T,H,W) in 0..1."""
    clip: Tensor = rearrange(torch.from_numpy(frames), "t h w c -> 1 c t h w").float() / 255
    return clip


def _frames(clip: Tensor) -> np.ndarray:
    """A clip (1,3,T,H,W) in 0..1 to (T,H,W,3) uint8."""
    pixels: Tensor = rearrange((clip.clamp(0, 1) * 255).round().to(torch.uint8), "1 c t h w -> t h w c")
    return pixels.contiguous().numpy()
