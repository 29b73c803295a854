"""Window plans and solvers compared on held-out synthetic clips with svfr-tiny. Run by hand; minutes on a CPU.

    python benchmarks/plans.py [--weights DIR] [--clips 6] [--frames 48] [--json FILE]

Plans: the published one, circular in time, against the linear one. Beside PSNR and VIDD: `flicker`, the mean
difference between the restored clip's change from frame to frame and the true one, in grey levels; `joins`, the same
where windows of the last step begin or end over the same elsewhere, 1 where nothing shows; `ends`, PSNR of the first
and the last frame, which the published plan denoises together.

Solvers: distance of the sampled latents (root mean square, scaled latents have a deviation of 1) to Heun's method with
100 steps from the same noise, and PSNR. Figures are of svfr-tiny on drawn faces and say nothing of the published model.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from svfr_model.base.pixels import from_network_range
from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks, restore
from svfr_model.engine.windows import WindowPlan
from svfr_model.metrics.pixels import psnr
from svfr_model.runs.loader import Loader
from svfr_model.synthesis.clips import SyntheticClip, make_clip
from svfr_model.synthesis.degrade import degrade_clip
from svfr_model.synthesis.options import options_for
from svfr_model.tiny.evaluate import HELD_OUT, measure, paired_bootstrap
from svfr_model.tiny.model import MODEL_FOLDER

FIRST = HELD_OUT + 10_000
TASKS = frozenset({Task.BFR, Task.COLORIZATION})
SOLVERS = (("euler", 30), ("dpmpp_2m", 8), ("dpmpp_2m", 12), ("dpmpp_2m", 20), ("euler", 12))
EXACT = ("heun", 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default=str(MODEL_FOLDER))
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=48, help="of the long clips that the plans are compared on")
    parser.add_argument("--steps", type=int, default=30, help="of the plans' runs")
    parser.add_argument("--json")
    given = parser.parse_args()
    loader = Loader(folders=[given.weights], device="cpu")
    networks, encoder = loader.networks(self_referred=False), loader.encoder
    plans = compare_plans(networks, encoder, given.clips, given.frames, given.steps)
    solvers = compare_solvers(networks, given.clips)
    if given.json:
        Path(given.json).write_text(json.dumps({"plans": plans, "solvers": solvers}, indent=1))


def compare_plans(networks: Networks, encoder, clips: int, frames: int, steps: int) -> dict:
    rows: dict[str, list[dict[str, float]]] = {"reference": [], "linear": []}
    for seed in range(FIRST, FIRST + clips):
        clip, spoiled = degraded(seed, frames)
        for name, found in rows.items():
            options = RestoreOptions(steps=steps, passes=1, plan=WindowPlan(name=name))
            made, _ = sample(networks, spoiled, options)
            quality = measure(made, clip, np.zeros(made.shape[:3], np.uint8), encoder)
            change = np.diff(made.astype(float), axis=0) - np.diff(clip.frames.astype(float), axis=0)
            change = np.abs(change).mean(axis=(1, 2, 3))
            joined = np.isin(np.arange(1, frames), list(joins(options.plan, frames, steps - 1)))
            ends = np.mean([psnr(made[i], clip.frames[i]) for i in (0, -1)])
            seen = change[joined].mean() / change[~joined].mean()
            kept = {name: quality[name] for name in ("psnr", "vidd")}
            found.append(kept | {"flicker": change.mean(), "joins": seen, "ends": ends})
    print(f"\n{clips} clips of {frames} frames, bfr + colorization, euler {steps}:\n")
    print("| plan | PSNR | VIDD | flicker | joins | PSNR of the ends |\n|---|---|---|---|---|---|")
    for name, found in rows.items():
        print(f"| {name} | " + " | ".join(f"{np.mean([r[k] for r in found]):.3f}" for k in found[0]) + " |")
    print("\nlinear minus reference, 95% paired bootstrap interval:")
    for key in rows["linear"][0]:
        change = paired_bootstrap([a[key] - b[key] for a, b in zip(rows["linear"], rows["reference"], strict=True)])
        print(f"- {key}: {change.mean:+.4f} [{change.low:+.4f}, {change.high:+.4f}]")
    return rows


def joins(plan: WindowPlan, frames: int, step: int) -> set[int]:
    """Frames before which a window of the step begins or ends."""
    windows = [window.frames for window in plan.at_step(frames, step)]
    return {window[0] for window in windows} | {window[-1] + 1 for window in windows}


def compare_solvers(networks: Networks, clips: int) -> dict:
    rows: dict[str, list[dict[str, float]]] = {f"{name} {steps}": [] for name, steps in SOLVERS}
    for seed in range(FIRST, FIRST + clips):
        clip, spoiled = degraded(seed, 16)
        plan = WindowPlan(name="linear")
        base = RestoreOptions(passes=1, plan=plan)
        truth, exact = sample(networks, spoiled, replace(base, solver=EXACT[0], steps=EXACT[1]))
        reference = np.mean([psnr(a, b) for a, b in zip(truth, clip.frames, strict=True)])
        rows.setdefault(f"{EXACT[0]} {EXACT[1]}", []).append({"rms": 0.0, "psnr": reference})
        for name, steps in SOLVERS:
            made, latents = sample(networks, spoiled, replace(base, solver=name, steps=steps))
            near = np.mean([psnr(a, b) for a, b in zip(made, clip.frames, strict=True)])
            rows[f"{name} {steps}"].append({"rms": float((latents - exact).pow(2).mean().sqrt()), "psnr": near})
    print(f"\n{clips} clips of 16 frames, bfr + colorization, one window:\n")
    print("| solver and steps | distance to heun 100 | PSNR |\n|---|---|---|")
    for name, found in rows.items():
        print(f"| {name} | {np.mean([r['rms'] for r in found]):.4f} | {np.mean([r['psnr'] for r in found]):.3f} |")
    return rows


def degraded(seed: int, frames: int) -> tuple[SyntheticClip, np.ndarray]:
    clip = make_clip(seed, frames, 64)
    return clip, degrade_clip(clip.frames, options_for(TASKS), seed)[0]


def sample(networks: Networks, spoiled: np.ndarray, options: RestoreOptions) -> tuple[np.ndarray, torch.Tensor]:
    """Frames (N,H,W,3) uint8 and latents."""
    pixels = torch.from_numpy(spoiled).permute(0, 3, 1, 2).contiguous()
    restored = restore(networks, pixels, TASKS, options)
    made = torch.cat(list(restored.decode(networks.vae, options)))
    return from_network_range(made).permute(0, 2, 3, 1).contiguous().numpy(), restored.latents


if __name__ == "__main__":
    main()
