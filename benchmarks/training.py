"""What training needs and gives. Run by hand; none of it needs weights or a GPU.

    python benchmarks/training.py memory
    python benchmarks/training.py data [--workers 0,1,2] [--batches 6]
    python benchmarks/training.py finetune WORK [--steps 200] [--rank 16]
    python benchmarks/training.py ablation WORK [--steps 1500] [--clips 16] [--trainings 3]

memory    GiB of one step at full size, by count (see training_memory.py), and its peak and seconds where there is a
          GPU. A few minutes.
data      footage of 1920x1080 is made and prepared; then clips per second that so many workers decode, crop and
          degrade, and how many would feed a step of 1.5 seconds.
finetune  svfr-tiny is fine-tuned on footage that is made in WORK, and measured on held-out clips of it (see
          training_finetune.py).
ablation  SVFR's supplement, table 1, at the scale of svfr-tiny: hours. WORK is a folder in which `python -m svfr_model
          train --tiny WORK` ran the stages up to "latents"; each pair of weights trains `trainings` UNets of its own
          there, from different seeds, and held-out clips are restored with them. The second number of each figure is
          the standard deviation between trainings: differences smaller than that say nothing of the weights.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.tiny.evaluate import HELD_OUT, Trial, evaluate_model, summary, write_samples
from svfr_model.tiny.model import TinyPlan, load_latents, save_unet
from svfr_model.tiny.unet import train_unet
from svfr_model.training.config import TrainConfig
from svfr_model.training.feed import drawn_ahead
from svfr_model.training.source import Footage

WEIGHTS = ((0.0, 0.0), (0.1, 0.0), (0.01, 0.0), (0.01, 0.5), (0.01, 0.1))
TASKS = tuple(frozenset({task}) for task in Task)
COLUMNS = {"psnr": ".2f", "ssim": ".3f", "ids": ".3f", "vidd": ".3f"}
FIRST = HELD_OUT + 20_000
H100_STEP = 1.5
"""Seconds that the documented step (two clips, four accumulations) is taken to need on an H100; not measured."""
ACCUMULATED = 4
FOOTAGE_FRAMES = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("memory")
    data = parts.add_parser("data")
    data.add_argument("--workers", default="0,1,2", help="numbers of processes, separated by commas")
    data.add_argument("--batches", type=int, default=6)
    tuned = parts.add_parser("finetune")
    tuned.add_argument("work", type=Path)
    tuned.add_argument("--steps", type=int, default=200)
    tuned.add_argument("--rank", type=int, default=16)
    trial = parts.add_parser("ablation")
    trial.add_argument("work", type=Path)
    trial.add_argument("--networks", type=Path, help="with VAE and recogniser; by default WORK/model")
    trial.add_argument("--steps", type=int, default=1500)
    trial.add_argument("--clips", type=int, default=16)
    trial.add_argument("--trainings", type=int, default=3)
    given = parser.parse_args()
    if given.part == "memory":
        memory()
    elif given.part == "data":
        feed([int(count) for count in given.workers.split(",")], given.batches)
    elif given.part == "finetune":
        from training_finetune import finetune

        finetune(given.work, given.steps, given.rank)
    else:
        ablate(given)


def memory() -> None:
    """Print the tables."""
    import torch
    import training_memory as counted

    rows = {
        "LoRA, 2 clips": counted.Step(clips=2, lora_rank=16),
        "LoRA, 1 clip": counted.Step(clips=1, lora_rank=16),
        "all weights, 1 clip": counted.Step(clips=1),
    }
    print(counted.table({name: counted.count(step) for name, step in rows.items()}), flush=True)
    for name in ("LoRA, 2 clips", "all weights, 1 clip"):
        saved = counted.count_saved(replace(rows[name], recompute=False), as_cuda=True) / counted.GIB
        print(f"saved activations without gradient_checkpointing, {name}: {saved:.0f} GiB", flush=True)
    if torch.cuda.is_available():
        for name, step in rows.items():
            print(f"measured, {name}: {counted.measure(step)}", flush=True)


def feed(workers: list[int], batches: int) -> None:
    """Print clips per second against workers."""
    with tempfile.TemporaryDirectory() as name:
        videos, cache = Path(name) / "videos", Path(name) / "cache"
        make_footage(videos)
        began = time.monotonic()
        prepare(videos, cache)
        print(f"prepared {2 * FOOTAGE_FRAMES} frames of 1920x1080 in {time.monotonic() - began:.0f} s, in one process")
        source = Footage(cache)
        alone = core_seconds(source, name, batches)
        print(f"a batch takes {alone:.2f} s of one core", end="; ")
        prepare(videos, Path(name) / "kept", keep_crops=True)
        kept = core_seconds(Footage(Path(name) / "kept"), name, batches)
        size = sum(path.stat().st_size for path in (Path(name) / "kept").rglob("*.mov")) / sum(
            clip.frames for clip in source.clips
        )
        print(f"{kept:.2f} s from kept crops, which take {size / 1024:.0f} KiB a frame")
        print("\n| workers | seconds a batch | clips a second |\n|---|---|---|")
        for count in workers:
            drawn = drawn_ahead(source, documented(name, count), range(batches + 2 * count))
            for _ in range(2 * count):
                next(drawn)  # what was made ahead while the processes started
            began = time.monotonic()
            for _ in range(batches):
                next(drawn)
            seconds = (time.monotonic() - began) / batches
            drawn.close()
            print(f"| {count} | {seconds:.2f} | {2 / seconds:.2f} |", flush=True)
    needed, fewer = (math.ceil(ACCUMULATED * seconds / H100_STEP) for seconds in (alone, kept))
    print(f"\na step of {H100_STEP} s with {ACCUMULATED} batches never waits for {needed} workers with a core each,")
    print(f"or for {fewer} from kept crops")


def documented(folder: str, workers: int) -> TrainConfig:
    """What docs/training.md trains with."""
    return TrainConfig(output=folder, weights=folder, window=16, clips=2, workers=workers)


def core_seconds(source: Footage, folder: str, batches: int) -> float:
    """Seconds of processor time for a batch in this process, which a busy machine changes little."""
    began = time.process_time()
    for _ in drawn_ahead(source, documented(folder, 0), range(batches)):
        pass
    return (time.process_time() - began) / batches


def make_footage(folder: Path) -> None:
    """Two videos of a face that fills the height of 1920x1080."""
    from support.clips import one

    from svfr_model.media import write_clip

    folder.mkdir()
    for number in range(2):
        sway = partial(_place, number)
        write_clip(folder / f"{number}.mp4", one(sway, FOOTAGE_FRAMES, width=1920, height=1080, noise=2.5))


def _place(number: int, frame: int) -> tuple[float, float, float, float]:
    return 900 + 60 * math.sin(frame / 20 + number), 560.0, 4.2, 3 * math.sin(frame / 17)


def prepare(videos: Path, cache: Path, *, keep_crops: bool = False) -> None:
    from svfr_model.faces.detectors.load import load_detector
    from svfr_model.training.footage import FootageOptions, Tools
    from svfr_model.training.prepare import prepare_footage
    from svfr_model.weights import find

    tools = Tools(partial(load_detector, "yunet", find("yunet")))
    prepare_footage(videos, cache, tools, FootageOptions(keep_crops=keep_crops))


def ablate(given: argparse.Namespace) -> None:
    """Print the table of the ablation."""
    networks = given.networks or given.work / "model"
    print(f"| lambda1, lambda2 | {' | '.join(name.upper() for name in COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for ulr, prior in WEIGHTS:
        tables = [one_training(given, networks, ulr, prior, number) for number in range(given.trainings)]
        cells = [" / ".join(spread([t[task]["single"][key] for t in tables], form) for task in tables[0])
                 for key, form in COLUMNS.items()]
        print(f"| {ulr:g}, {prior:g} | {' | '.join(cells)} |", flush=True)


def spread(values: list[float], form: str) -> str:
    """Mean and standard deviation."""
    deviation = f" ± {format(statistics.stdev(values), form)}" if len(values) > 1 else ""
    return format(statistics.mean(values), form) + deviation


def one_training(given: argparse.Namespace, networks: Path, ulr: float, prior: float, number: int) -> dict:
    folder = given.work / f"ablation_{ulr}_{prior}_{number}"
    trained(given.work, networks, folder, given.steps, ulr, prior, number)
    trial = Trial(RestoreOptions(steps=6), tasks=TASKS, two_passes=())
    samples = evaluate_model(folder, trial, range(FIRST, FIRST + given.clips))
    write_samples(samples, folder / "samples.json")
    return summary(samples)


def trained(work: Path, networks: Path, folder: Path, steps: int, ulr: float, prior: float, number: int) -> None:
    """Leave all four networks in folder, the UNet and the projection trained with these weights."""
    plan = TinyPlan()
    options = replace(plan.unet, steps=steps, seed=plan.unet.seed + 1000 * number)
    unet, projection = train_unet(load_latents(work, plan), options, folder, weights=(ulr, prior))
    for path in networks.glob("*.safetensors"):
        shutil.copy(path, folder)
    save_unet(unet, projection, folder)


if __name__ == "__main__":
    main()
