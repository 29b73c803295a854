"""How well a model restores synthetic clips that it was not trained on, through the functions that users call.

Everything is a mean over clips at a fixed seed and number of steps. Faces are taken from where the generator put them,
since detectors are made for photographs; the restoration gets nothing else of the truth.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange

from ..base.clip import ArrayClip
from ..base.errors import InputError
from ..base.pixels import from_network_range, to_network_range
from ..base.progress import Callback, report
from ..base.tasks import Task, Tasks
from ..engine.options import RestoreOptions
from ..engine.restore import Known, Networks, restore
from ..engine.self_reference import SelfReferrer
from ..faces.face import Face
from ..files.staging import staged
from ..metrics.evaluate import evaluate
from ..metrics.instruments import Instruments
from ..runs.loader import Loader
from ..synthesis.clips import SyntheticClip, make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import options_for

if TYPE_CHECKING:
    from ..networks.identity import IdentityEncoder

HELD_OUT = 1_000_000
"""Clips with seeds from here on are never trained on."""

SEEDS = range(HELD_OUT, HELD_OUT + 32)
"""The clips of svfr-tiny's table."""

SIZE = 64
"""Width and height of the clips in pixels: what svfr-tiny was trained on."""

EVALUATED: tuple[Tasks, ...] = (
    frozenset({Task.BFR}),
    frozenset({Task.COLORIZATION}),
    frozenset({Task.INPAINTING}),
    frozenset(Task),
)


Quality: TypeAlias = Mapping[str, float]
"""One clip against its truth: the value of each of `metrics.report.METRICS` that could be computed, by its key."""


@dataclass(frozen=True)
class Trial:
    """What clips go through: the restoration's options, the tasks, those that also run in two passes, and the length.

    two_passes: a subset of tasks. frames: of each clip, at least 1. coded: whether the VAE alone is measured too.
    """

    options: RestoreOptions
    tasks: Sequence[Tasks] = EVALUATED
    two_passes: Sequence[Tasks] = EVALUATED
    frames: int = 16
    coded: bool = False


@dataclass(frozen=True)
class Sample:
    """One held-out clip in one task: the quality of the degraded clip, and of what each run made of it.

    coded: of the undamaged clip, encoded and decoded, which is what the VAE alone does.
    """

    seed: int
    tasks: str
    degraded: Quality
    single: Quality
    referred: Quality | None = None
    coded: Quality | None = None


@dataclass(frozen=True)
class _Degraded:
    """A clip, its degraded frames (N,H,W,3) uint8, and masks (N,H,W) that are 1 where the picture is missing."""

    clip: SyntheticClip
    tasks: Tasks
    frames: np.ndarray
    masks: np.ndarray


class KnownFaces:
    """A face detector that knows where the generator put the face in each frame of one clip."""

    def __init__(self, clip: SyntheticClip) -> None:
        self._clip = clip

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The face of each frame; the frames must be the clip's first ones, in order."""
        found = []
        for points, five in zip(self._clip.landmarks[: len(frames)], self._clip.five, strict=False):
            box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)
            found.append([Face(box, five.astype(np.float64), 1.0)])
        return found


def evaluate_clip(networks: Networks, encoder: IdentityEncoder, seed: int, tasks: Tasks, trial: Trial) -> Sample:
    """Make, degrade, restore and measure one clip, in two passes too if the trial asks for them."""
    clip = make_clip(seed, trial.frames, SIZE)
    degraded = _Degraded(clip, tasks, *degrade_clip(clip.frames, options_for(tasks), seed))
    networks = replace(networks, referrer=SelfReferrer(KnownFaces(clip), encoder))

    def run(passes: Literal[1, 2]) -> Quality:
        made = _restored(networks, degraded, replace(trial.options, passes=passes))
        return measure(made, clip, degraded.masks, encoder)

    return Sample(
        seed,
        ",".join(task.value for task in Task if task in tasks),
        measure(degraded.frames, clip, degraded.masks, encoder),
        run(1),
        run(2) if tasks in trial.two_passes else None,
        measure(_coded(networks, clip), clip, degraded.masks, encoder) if trial.coded else None,
    )


def _coded(networks: Networks, clip: SyntheticClip) -> np.ndarray:
    """The clip's truth through the VAE, (N,H,W,3) uint8."""
    pixels = to_network_range(rearrange(torch.from_numpy(clip.frames), "n h w c -> n c h w").contiguous())
    with torch.inference_mode():
        made = networks.vae.decode(networks.vae.encode(pixels))
    return rearrange(from_network_range(made), "n c h w -> n h w c").contiguous().numpy()


def _restored(networks: Networks, degraded: _Degraded, options: RestoreOptions) -> np.ndarray:
    """(N,H,W,3) uint8."""
    pixels = rearrange(torch.from_numpy(degraded.frames), "n h w c -> n c h w").contiguous()
    mask = torch.from_numpy(degraded.masks)[:, None].float() if Task.INPAINTING in degraded.tasks else None
    sampled = restore(networks, pixels, degraded.tasks, options, known=Known(mask=mask))
    made = torch.cat(list(sampled.decode(networks.vae, options)))
    return rearrange(from_network_range(made), "n c h w -> n h w c").contiguous().numpy()


def measure(made: np.ndarray, clip: SyntheticClip, masks: np.ndarray, encoder: IdentityEncoder) -> Quality:
    """made (N,H,W,3) uint8 against the clip's truth; masks (N,H,W), 1 where the picture was missing."""
    instruments = Instruments(encoder=encoder, landmarks=lambda number: clip.five[number])
    found = evaluate(ArrayClip(made), ArrayClip(clip.frames), instruments, masks=masks > 0)
    return {measure.key: measure.value for measure in found.measures if measure.value is not None}


def evaluate_model(
    weights: Path | str, trial: Trial, seeds: Sequence[int] = SEEDS, callback: Callback | None = None
) -> list[Sample]:
    """Every clip in every task. weights: a folder with all four networks. Raises WeightsError and InputError."""
    if not seeds:
        raise InputError("At least one clip is needed, but no seed was given.")
    loader = Loader(folders=[str(weights)], device="cpu")
    networks, encoder = loader.networks(self_referred=False), loader.encoder
    samples = []
    jobs = [(seed, tasks) for seed in seeds for tasks in trial.tasks]
    for number, (seed, tasks) in enumerate(jobs):
        samples.append(evaluate_clip(networks, encoder, seed, tasks, trial))
        report(callback, "evaluate", number + 1, len(jobs))
    return samples


@dataclass(frozen=True)
class Interval:
    """A mean of differences and its 95% interval."""

    mean: float
    low: float
    high: float


def paired_bootstrap(differences: Sequence[float], seed: int = 0, draws: int = 10_000) -> Interval:
    """The percentile bootstrap of the mean of paired differences, one per clip."""
    values = np.asarray(differences, np.float64)
    if not len(values):
        raise InputError("A bootstrap needs at least one difference.")
    chosen = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(values[chosen].mean(axis=1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def mean_quality(samples: Sequence[Quality]) -> dict[str, float]:
    """The mean of every metric over the clips that have it."""
    keys = dict.fromkeys(key for sample in samples for key in sample)
    return {key: float(np.mean([sample[key] for sample in samples if key in sample])) for key in keys}


def summary(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Per task: the means of the degraded clips and of each kind of run, and the paired differences of the runs."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for tasks in dict.fromkeys(sample.tasks for sample in samples):
        rows = [sample for sample in samples if sample.tasks == tasks]
        table = {
            "degraded": mean_quality([row.degraded for row in rows]),
            "single": mean_quality([row.single for row in rows]),
        }
        coded = [row.coded for row in rows if row.coded is not None]
        if coded:
            table["truth, encoded and decoded"] = mean_quality(coded)
        both = [(row.referred, row.single) for row in rows if row.referred is not None]
        if both:
            table["referred"] = mean_quality([referred for referred, _ in both])
            for name in ("ids", "vidd", "psnr"):
                change = paired_bootstrap([a[name] - b[name] for a, b in both])
                table[f"change of {name}"] = asdict(change)
        tables[tasks] = table
    return tables


def markdown(tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The means as a table, and below it the changes from one pass to two with their intervals."""
    lines = ["| task | clip | PSNR | SSIM | chroma | PSNR in mask | IDS | VIDD |", "|---|---|---|---|---|---|---|---|"]
    changes = []
    for tasks, table in tables.items():
        for kind, row in table.items():
            if kind.startswith("change of "):
                changes.append(f"- {tasks}, {kind[10:]}: {row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]")
                continue
            inside = f"{row['psnr_mask']:.2f}" if "psnr_mask" in row else ""
            values = f"{row['psnr']:.2f} | {row['ssim']:.3f} | {row['chroma']:.2f} | {inside}"
            lines.append(f"| {tasks} | {kind} | {values} | {row['ids']:.3f} | {row['vidd']:.3f} |")
    head = ["", "Two passes minus one, mean and 95% paired bootstrap interval:", ""] if changes else []
    return "\n".join([*lines, *head, *changes])


def evaluate_steps(
    weights: Path | str,
    options: RestoreOptions,
    counts: Sequence[int] = (1, 2, 3),
    seeds: Sequence[int] = SEEDS,
    callback: Callback | None = None,
) -> str:
    """Blind restoration in one pass of so many steps each, as a table. weights: a folder with all four networks."""
    lines = ["| steps | PSNR | SSIM | IDS | VIDD |", "|---|---|---|---|---|"]
    for count in counts:
        trial = Trial(replace(options, steps=count), EVALUATED[:1], ())
        row = mean_quality([sample.single for sample in evaluate_model(weights, trial, seeds, callback)])
        lines.append(f"| {count} | {row['psnr']:.2f} | {row['ssim']:.3f} | {row['ids']:.3f} | {row['vidd']:.3f} |")
    return "\n".join(lines)


def write_samples(samples: Sequence[Sample], path: Path | str) -> None:
    """All measurements as JSON, one entry per clip and task."""
    with staged(Path(path)) as place:
        place.write_text(json.dumps([asdict(sample) for sample in samples], indent=1), encoding="utf-8")
