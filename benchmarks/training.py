"""The ablation of SVFR's supplement, table 1, at the scale of svfr-tiny. Run by hand: an hour or more on a CPU.

    python benchmarks/training.py WORK [--steps 1500] [--clips 16]

WORK is a folder in which `python -m svfr_model train --tiny WORK` ran the stages up to "latents"; each pair of weights
trains a UNet of its own there (same seed, same batches, same steps), and held-out clips are restored with it. What is
printed is measured by this run on drawn faces; the paper's figures are on VFHQ-Test and are not comparable.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.tiny.evaluate import HELD_OUT, Trial, evaluate_model, summary, write_samples
from svfr_model.tiny.model import TinyPlan, load_latents, save_unet
from svfr_model.tiny.unet import train_unet

WEIGHTS = ((0.0, 0.0), (0.1, 0.0), (0.01, 0.0), (0.01, 0.5), (0.01, 0.1))
TASKS = tuple(frozenset({task}) for task in Task)
COLUMNS = {"psnr": ".2f", "ssim": ".3f", "ids": ".3f", "vidd": ".3f"}
FIRST = HELD_OUT + 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--networks", type=Path, help="with VAE and recogniser; by default WORK/model")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--clips", type=int, default=16)
    given = parser.parse_args()
    networks = given.networks or given.work / "model"
    print(f"| lambda1, lambda2 | {' | '.join(name.upper() for name in COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for ulr, prior in WEIGHTS:
        folder = given.work / f"ablation_{ulr}_{prior}"
        trained(given.work, networks, folder, given.steps, ulr, prior)
        trial = Trial(RestoreOptions(steps=6), tasks=TASKS, two_passes=())
        samples = evaluate_model(folder, trial, range(FIRST, FIRST + given.clips))
        write_samples(samples, folder / "samples.json")
        tables = summary(samples).values()
        cells = [" / ".join(format(table["single"][key], form) for table in tables) for key, form in COLUMNS.items()]
        print(f"| {ulr:g}, {prior:g} | {' | '.join(cells)} |", flush=True)


def trained(work: Path, networks: Path, folder: Path, steps: int, ulr: float, prior: float) -> None:
    """Leave all four networks in folder, the UNet and the projection trained with these weights."""
    plan = TinyPlan()
    options = replace(plan.unet, steps=steps)
    unet, projection = train_unet(load_latents(work, plan), options, folder, weight_ulr=ulr, weight_prior=prior)
    for path in networks.glob("*.safetensors"):
        shutil.copy(path, folder)
    save_unet(unet, projection, folder)


if __name__ == "__main__":
    main()
