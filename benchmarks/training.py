"""The ablation of SVFR's supplement, table 1, at the scale of svfr-tiny. Run by hand: an hour or more on a CPU.

    python benchmarks/training.py WORK [--steps 600] [--clips 8]

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

from svfr_model.restore import RestoreOptions
from svfr_model.training.evaluate import EVALUATED, HELD_OUT, evaluate_model, summary
from svfr_model.training.tiny_model import TinyPlan, load_latents, save_unet
from svfr_model.training.tiny_unet import train_unet

WEIGHTS = ((0.0, 0.0), (0.1, 0.0), (0.01, 0.0), (0.01, 0.5), (0.01, 0.1))
FIRST = HELD_OUT + 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--networks", type=Path, help="with VAE and recogniser; by default WORK/networks")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--minutes", type=float, default=20.0, help="at most so many for each training")
    parser.add_argument("--clips", type=int, default=8)
    given = parser.parse_args()
    plan = TinyPlan()
    data = load_latents(given.work, plan)
    networks = given.networks or given.work / "networks"
    print(
        "| lambda1, lambda2 | " + " | ".join(f"PSNR {','.join(t.value for t in tasks)}" for tasks in EVALUATED) + " |"
    )
    print("|---" * (len(EVALUATED) + 1) + "|")
    for ulr, prior in WEIGHTS:
        folder = given.work / f"ablation_{ulr}_{prior}"
        options = replace(plan.unet, steps=given.steps, minutes=given.minutes)
        unet, projection = train_unet(data, options, folder, weight_ulr=ulr, weight_prior=prior)
        for path in networks.glob("*.safetensors"):
            shutil.copy(path, folder)
        save_unet(unet, projection, folder)
        samples = evaluate_model(folder, RestoreOptions(steps=12), clips=given.clips, first=FIRST, two_passes=())
        cells = [f"{table['single']['psnr']:.2f}" for table in summary(samples).values()]
        print(f"| {ulr}, {prior} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
