"""The measurements as a page of Markdown."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

from ..engine.level_log import LevelChange
from ..engine.presets import PRESETS
from .trial import BASE, Measured

COLUMNS = {"psnr": ("PSNR", 2), "ssim": ("SSIM", 4), "ids": ("IDS", 4), "vidd": ("VIDD", 4), "flicker": ("flicker", 3)}
"""Shown measures, their titles and decimals."""
NOTES = f"""\
*Work* is counted against the published code's, for 100 frames of 512x512. *Distance* is the PSNR of a run against
`{BASE}`: a preset that is farther from it than another seed changes more than chance does. PSNR, SSIM and IDS
(identity) are against the truth, VIDD is the distance of neighbouring frames' faces, flicker the error of the change
from frame to frame in grey levels. One clip of one person says little: compare rows, not pages."""
LEVELS = """\
How far each noise level moved the estimate, in scaled latents: mean and largest absolute change against the step
before. Levels that hardly move it could be left out; see docs/speed.md."""


def page(clip: str, machine: Mapping[str, str], degraded: Mapping[str, float], runs: Sequence[Measured]) -> str:
    """clip: what was restored, in words. machine: facts by their names. degraded: the quality of the input."""
    facts = [f"- {name}: {value}" for name, value in machine.items()]
    logs = itertools.chain.from_iterable(_log(run) for run in runs)
    parts = ["# Presets of SVFR", clip, "\n".join(facts), _table(degraded, runs), NOTES, "## Noise levels", LEVELS]
    return "\n\n".join([*parts, *logs]) + "\n"


def machine_facts(device: torch.device, dtype: str, weights: Mapping[str, Path]) -> dict[str, str]:
    """What a reader must know of the machine and the weights; of paths only the names."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": f"{device.type}, {name}, {dtype}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}, diffusers "
        f"{metadata.version('diffusers')}, {platform.system()}",
        **{role: f"{path.name}, {path.stat().st_size} bytes" for role, path in weights.items()},
    }


def _table(degraded: Mapping[str, float], runs: Sequence[Measured]) -> str:
    titles = ["run", "work", "seconds", "peak GiB", *(title for title, _ in COLUMNS.values()), "distance dB"]
    rows = [titles, ["---"] * len(titles), ["the degraded clip", "", "", "", *_cells(degraded), ""]]
    for run in runs:
        work = f"{PRESETS[run.preset].cost:.3f}"
        peak, distance = _number(run.peak, 2), _number(run.distance, 1)
        rows.append([run.name, work, f"{run.seconds:.1f}", peak, *_cells(run.quality), distance])
    return "\n".join(map(_line, rows))


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _cells(quality: Mapping[str, float]) -> list[str]:
    return [_number(quality.get(key), digits) for key, (_, digits) in COLUMNS.items()]


def _log(run: Measured) -> list[str]:
    """A run's noise levels, folded."""
    rows = [_line(["pass", "step", "sigma", "mean", "most"]), _line(["---"] * 5), *map(_change, run.changes)]
    return [f"<details><summary>{run.name}</summary>", "\n".join(rows), "</details>"]


def _change(change: LevelChange) -> str:
    moved = [_number(value, 5) for value in (change.mean, change.most)]
    return _line([change.phase, str(change.step), f"{change.sigma:.5g}", *moved])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
