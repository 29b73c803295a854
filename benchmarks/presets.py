"""What the presets cost in quality, with svfr-tiny on held-out drawn clips. Run by hand; an hour or two on a CPU.

    python benchmarks/presets.py measure FILE [--only blind|all|long]    adds to FILE what it does not have yet
    python benchmarks/presets.py report FILE                             tables in Markdown

blind   32 clips of 16 frames, blind restoration; another seed on the first eight, the preset `reference` on two.
all     8 clips of 16 frames, all three tasks at once; another seed on the first four.
long    4 clips of 48 frames, blind restoration, for the joins of windows.

PSNR and IDS (identity) are against the truth; VIDD is the distance of neighbouring frames' embeddings; `flicker` is
the mean difference between the restored clip's change from frame to frame and the true one, in grey levels; `joins` the
same where windows of the last step begin or end over the same elsewhere. `distance` is the PSNR of a run against
`exact`: what the preset changes; `another seed` is `exact` from other noise. FILE has one JSON object a line, one for
each clip.
Figures are of svfr-tiny on drawn faces and carry over to the published model only as far as docs/speed.md says.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from svfr_model.base.pixels import from_network_range
from svfr_model.base.tasks import Task, Tasks
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.presets import PRESETS, with_preset
from svfr_model.engine.restore import Known, Networks, noise_levels, restore
from svfr_model.engine.self_reference import SelfReferrer
from svfr_model.metrics.pixels import psnr
from svfr_model.runs.loader import Loader
from svfr_model.synthesis.clips import make_clip
from svfr_model.synthesis.degrade import degrade_clip
from svfr_model.synthesis.options import options_for
from svfr_model.tiny.evaluate import HELD_OUT, KnownFaces, measure, paired_bootstrap
from svfr_model.tiny.model import MODEL_FOLDER

BLIND, ALL = frozenset({Task.BFR}), frozenset(Task)
ANOTHER, OTHER_SEED = "another seed", 1077
SHOWN = {"psnr": 2, "ids": 4, "vidd": 4, "flicker": 3, "joins": 3, "distance": 1}


@dataclass(frozen=True)
class Part:
    tasks: Tasks
    clips: int
    frames: int
    first: int
    presets: tuple[str, ...]
    extra: dict[str, int]
    """Further runs, and on how many of the clips."""


PARTS = {
    "blind": Part(BLIND, 32, 16, HELD_OUT, ("exact", "balanced", "fast", "preview"), {ANOTHER: 8, "reference": 2}),
    "long": Part(BLIND, 4, 48, HELD_OUT + 20_000, ("exact", "balanced", "fast"), {}),
    "all": Part(ALL, 8, 16, HELD_OUT, ("exact", "balanced", "fast"), {ANOTHER: 4}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "report"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--clips", type=int, default=1000, help="at most so many of each part")
    parser.add_argument("--weights", default=str(MODEL_FOLDER))
    given = parser.parse_args()
    if given.what == "measure":
        loader = Loader(folders=[given.weights], device="cpu")
        networks = loader.networks(self_referred=False)
        measure_parts(networks, loader.encoder, given.file, given.only or PARTS, given.clips)
    print(report(given.file))


def measure_parts(networks: Networks, encoder, file: Path, names, clips: int) -> None:
    """Add a line to the file for every clip that it lacks; all parts go on side by side, long clips last."""
    have = {(row["part"], row["seed"]) for row in read(file)}
    jobs = [(number, name) for name in names for number in range(min(PARTS[name].clips, clips))]
    for number, name in sorted(jobs, key=lambda job: (job[1] == "long", job[0] / PARTS[job[1]].clips)):
        part = PARTS[name]
        if (name, part.first + number) in have:
            continue
        runs = [*part.presets, *(run for run, count in part.extra.items() if number < count)]
        row = {"part": name, "seed": part.first + number, "runs": measured(networks, encoder, part, number, runs)}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")


def measured(networks: Networks, encoder, part: Part, number: int, runs: list[str]) -> dict[str, dict[str, float]]:
    seed = part.first + number
    clip = make_clip(seed, part.frames, 64)
    spoiled, masks = degrade_clip(clip.frames, options_for(part.tasks), seed)
    networks = replace(networks, referrer=SelfReferrer(KnownFaces(clip), encoder))
    known = Known(mask=torch.from_numpy(masks)[:, None].float() if Task.INPAINTING in part.tasks else None)
    exact, rows = None, {}
    for run in runs:
        options = options_of(run)
        begun = time.process_time()
        made = restored(networks, spoiled, part.tasks, options, known)
        seconds = time.process_time() - begun
        exact = made if exact is None else exact
        quality = measure(made, clip, masks, encoder)  # values by the keys of metrics.report.METRICS
        change = changes(made, clip.frames)
        row = {key: quality[key] for key in ("psnr", "ids", "vidd")} | {"flicker": float(change.mean())}
        if part.frames > options.plan.length:
            last = len(noise_levels(options)) - 2
            joined = np.isin(np.arange(1, part.frames), list(joins(options, part.frames, last)))
            row["joins"] = float(change[joined].mean() / change[~joined].mean())
        if run != "exact":
            row["distance"] = float(np.mean([psnr(a, b) for a, b in zip(made, exact, strict=True)]))
        rows[run] = row | {"seconds": seconds}
    return rows


def options_of(run: str) -> RestoreOptions:
    """Of a preset, or of `exact` from other noise."""
    if run == ANOTHER:
        return with_preset(RestoreOptions(seed=OTHER_SEED), "exact")
    return with_preset(RestoreOptions(), run)


def restored(
    networks: Networks, spoiled: np.ndarray, tasks: Tasks, options: RestoreOptions, known: Known
) -> np.ndarray:
    """(N,H,W,3) uint8."""
    pixels = torch.from_numpy(spoiled).permute(0, 3, 1, 2).contiguous()
    sampled = restore(networks, pixels, tasks, options, known=known)
    made = torch.cat(list(sampled.decode(networks.vae, options)))
    return from_network_range(made).permute(0, 2, 3, 1).contiguous().numpy()


def changes(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N-1,): how far each change from frame to frame is from the true one, in grey levels."""
    difference = np.diff(made.astype(float), axis=0) - np.diff(truth.astype(float), axis=0)
    return np.abs(difference).mean(axis=(1, 2, 3))


def joins(options: RestoreOptions, frames: int, step: int) -> set[int]:
    """Frames before which a window of the step begins or ends."""
    windows = [window.frames for window in options.plan.at_step(frames, step)]
    return {window[0] for window in windows} | {(window[-1] + 1) % frames for window in windows}


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def report(file: Path) -> str:
    """The means of every run, and its paired differences to `exact`."""
    rows = read(file)
    pieces = []
    for name, part in PARTS.items():
        clips = [row["runs"] for row in rows if row["part"] == name]
        if clips:
            pieces += [f"{name}: {len(clips)} clips of {part.frames} frames\n", *table(clips), ""]
    return "\n".join(pieces)


def table(clips: list[dict]) -> list[str]:
    keys = [key for key in SHOWN if any(key in run for clip in clips for run in clip.values())]
    lines = [f"| run | clips | {' | '.join(keys)} |", "|---" * (len(keys) + 2) + "|"]
    changes = []
    for run in dict.fromkeys(run for clip in clips for run in clip):
        pairs = [(clip[run], clip["exact"]) for clip in clips if run in clip]
        means = [np.mean([own[key] for own, _ in pairs]) if key in pairs[0][0] else None for key in keys]
        cells = ["" if mean is None else f"{mean:.{SHOWN[key]}f}" for key, mean in zip(keys, means, strict=True)]
        lines.append(f"| {run} | {len(pairs)} | {' | '.join(cells)} |")
        changes += [] if run == "exact" else [difference(run, key, pairs) for key in keys if key != "distance"]
    nearer = [nearness(run, clips) for run in PRESETS if any(run in clip for clip in clips)]
    return [*lines, "", "Minus exact, mean and 95% paired bootstrap interval:", "", *changes, *filter(None, nearer)]


def difference(run: str, key: str, pairs: list[tuple[dict, dict]]) -> str:
    found = paired_bootstrap([own[key] - exact[key] for own, exact in pairs])
    return f"- {run}, {key}: {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def nearness(run: str, clips: list[dict]) -> str:
    """How much nearer to `exact` a run is than another seed."""
    both = [(clip[run], clip[ANOTHER]) for clip in clips if run in clip and ANOTHER in clip and run != "exact"]
    if not both:
        return ""
    found = paired_bootstrap([own["distance"] - another["distance"] for own, another in both])
    interval = f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
    return f"- {run}, distance to exact over another seed's: {interval} dB on {len(both)} clips"


if __name__ == "__main__":
    main()
