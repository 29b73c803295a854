"""How well a model restores synthetic clips that no training saw, through the same functions that users call.

Everything is a mean over clips at a fixed seed and number of steps. Faces are looked for where the generator put them,
since detectors are made for photographs; nothing else of the truth is told to the restoration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from ..base.errors import InputError
from ..base.pixels import from_network_range
from ..base.progress import Callback, report
from ..base.tasks import Task, Tasks
from ..engine.options import RestoreOptions
from ..engine.restore import Known, Networks, restore
from ..engine.self_reference import SelfReferrer
from ..faces.face import Face
from ..faces.geometry import align_face
from ..files.staging import staged
from ..metrics.faces import difference
from ..metrics.pixels import chroma_error, psnr, ssim
from ..runs.loader import Loader
from ..synthesis.clips import SyntheticClip, make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import LowQuality, options_for

if TYPE_CHECKING:
    from ..networks.identity import IdentityEncoder

HELD_OUT = 1_000_000
"""Seeds of clips from here on are never trained on."""

EVALUATED: tuple[Tasks, ...] = (
    frozenset({Task.BFR}),
    frozenset({Task.COLORIZATION}),
    frozenset({Task.INPAINTING}),
    frozenset(Task),
)


@dataclass(frozen=True)
class Quality:
    """One clip against its truth. psnr, ssim: means over frames. chroma: mean distance in a,b of CIELAB.

    hole: PSNR inside the mask, None without one. ids: cosine similarity of embeddings, restored against truth. vidd:
    distance of embeddings of neighbouring frames.
    """

    psnr: float
    ssim: float
    chroma: float
    ids: float
    vidd: float
    hole: float | None = None


@dataclass(frozen=True)
class Sample:
    """One held-out clip in one task: what the degraded clip is worth, and what each run made of it."""

    seed: int
    tasks: str
    degraded: Quality
    single: Quality
    referred: Quality | None = None


class KnownFaces:
    """A face detector that knows where the generator put the face in each frame of one clip."""

    def __init__(self, clip: SyntheticClip) -> None:
        self._clip = clip

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The face of each frame, which must be the clip's first ones in order."""
        found = []
        for points, five in zip(self._clip.landmarks[: len(frames)], self._clip.five, strict=False):
            box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float64)
            found.append([Face(box, five.astype(np.float64), 1.0)])
        return found


def evaluate_clip(
    networks: Networks,
    encoder: IdentityEncoder,
    seed: int,
    tasks: Tasks,
    options: RestoreOptions,
    *,
    frames: int = 16,
    size: int = 64,
    two_passes: bool = False,
    low_quality: LowQuality | None = None,
) -> Sample:
    """Make, degrade, restore and measure one clip; with two_passes also by the self-referred run."""
    clip = make_clip(seed, frames, size)
    spoiled, masks = degrade_clip(clip.frames, options_for(tasks, low_quality), seed)

    def run(passes: Literal[1, 2]) -> Quality:
        made = _restored(networks, encoder, clip, spoiled, masks, tasks, replace(options, passes=passes))
        return measure(made, clip, masks, encoder)

    return Sample(
        seed,
        ",".join(task.value for task in Task if task in tasks),
        measure(spoiled, clip, masks, encoder),
        run(1),
        run(2) if two_passes else None,
    )


def _restored(
    networks: Networks,
    encoder: IdentityEncoder,
    clip: SyntheticClip,
    spoiled: np.ndarray,
    masks: np.ndarray,
    tasks: Tasks,
    options: RestoreOptions,
) -> np.ndarray:
    """(N,H,W,3) uint8."""
    networks = replace(networks, referrer=SelfReferrer(KnownFaces(clip), encoder))
    pixels = torch.from_numpy(spoiled).permute(0, 3, 1, 2).contiguous()
    mask = torch.from_numpy(masks)[:, None].float() if Task.INPAINTING in tasks else None
    sampled = restore(networks, pixels, tasks, options, known=Known(mask=mask))
    made = torch.cat(list(sampled.decode(networks.vae, options)))
    return from_network_range(made).permute(0, 2, 3, 1).contiguous().numpy()


def measure(made: np.ndarray, clip: SyntheticClip, masks: np.ndarray, encoder: IdentityEncoder) -> Quality:
    """made (N,H,W,3) uint8 against the clip's truth; masks (N,H,W), 1 where the picture was missing."""
    pairs = list(zip(made, clip.frames, strict=True))
    who, truth = (
        encoder.embed(torch.stack([align_face(f, at, "arcface") for f, at in zip(shown, clip.five, strict=True)]))
        for shown in (made, clip.frames)
    )
    holes = [psnr(a, b, m > 0) for (a, b), m in zip(pairs, masks, strict=True) if m.any()]
    return Quality(
        psnr=float(np.mean([psnr(a, b) for a, b in pairs])),
        ssim=float(np.mean([ssim(a, b) for a, b in pairs])),
        chroma=float(np.mean([chroma_error(a, b) for a, b in pairs])),
        ids=float((who * truth).sum(dim=1).mean()),
        vidd=float(np.mean([difference(a, b) for a, b in pairwise(who)])),
        hole=float(np.mean(holes)) if holes else None,
    )


def evaluate_model(
    weights: Path | str,
    options: RestoreOptions,
    *,
    clips: int = 32,
    first: int = HELD_OUT,
    frames: int = 16,
    size: int = 64,
    two_passes: Sequence[Tasks] = EVALUATED,
    tasks: Sequence[Tasks] = EVALUATED,
    callback: Callback | None = None,
) -> list[Sample]:
    """Every clip in every task. weights: a folder with all four networks. Raises WeightsError and InputError."""
    if clips < 1:
        raise InputError(f"At least one clip is needed, not {clips}.")
    loader = Loader(folders=[str(weights)], device="cpu")
    networks, encoder = loader.networks(self_referred=False), loader.encoder
    samples = []
    jobs = [(seed, chosen) for seed in range(first, first + clips) for chosen in tasks]
    for number, (seed, chosen) in enumerate(jobs):
        twice = chosen in two_passes
        samples.append(
            evaluate_clip(networks, encoder, seed, chosen, options, frames=frames, size=size, two_passes=twice)
        )
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
    """The mean of every measure over clips; a measure that no clip has is left out."""
    rows = [asdict(sample) for sample in samples]
    return {
        name: float(np.mean(values)) for name in rows[0] if (values := [r[name] for r in rows if r[name] is not None])
    }


def summary(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, float]]]:
    """Per task: the means of the degraded clips and of each kind of run, and the paired differences of the two runs."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for tasks in dict.fromkeys(sample.tasks for sample in samples):
        rows = [sample for sample in samples if sample.tasks == tasks]
        table = {
            "degraded": mean_quality([row.degraded for row in rows]),
            "single": mean_quality([row.single for row in rows]),
        }
        both = [(row.referred, row.single) for row in rows if row.referred is not None]
        if both:
            table["referred"] = mean_quality([referred for referred, _ in both])
            for name in ("ids", "vidd", "psnr"):
                change = paired_bootstrap([getattr(a, name) - getattr(b, name) for a, b in both])
                table[f"change of {name}"] = asdict(change)
        tables[tasks] = table
    return tables


def markdown(tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The means as a table, and below it the changes from one pass to two with their intervals."""
    lines = ["| task | clip | PSNR | SSIM | chroma | PSNR in hole | IDS | VIDD |", "|---|---|---|---|---|---|---|---|"]
    changes = []
    for tasks, table in tables.items():
        for kind, row in table.items():
            if kind.startswith("change of "):
                changes.append(f"- {tasks}, {kind[10:]}: {row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]")
                continue
            hole = f"{row['hole']:.2f}" if "hole" in row else ""
            values = f"{row['psnr']:.2f} | {row['ssim']:.3f} | {row['chroma']:.2f} | {hole}"
            lines.append(f"| {tasks} | {kind} | {values} | {row['ids']:.3f} | {row['vidd']:.3f} |")
    head = ["", "Two passes minus one, mean and 95% paired bootstrap interval:", ""] if changes else []
    return "\n".join([*lines, *head, *changes])


def write_samples(samples: Sequence[Sample], path: Path | str) -> None:
    """All measurements as JSON, one entry per clip and task."""
    with staged(Path(path)) as place:
        place.write_text(json.dumps([asdict(sample) for sample in samples], indent=1), encoding="utf-8")
