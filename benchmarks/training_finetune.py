"""A fine-tune of svfr-tiny from end to end, on the way that docs/training.md describes: prepare, train, merge, restore.

The footage shows two drawn persons that svfr-tiny has never seen, in pictures of 192x192 in which YuNet finds them, so
that crops are placed otherwise than in svfr-tiny's own training. Other clips of the same persons are held out.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from svfr_model.base.clip import ArrayClip
from svfr_model.base.pixels import from_network_range
from svfr_model.base.tasks import Task
from svfr_model.engine.restore import restore
from svfr_model.faces.detectors.load import load_detector
from svfr_model.media import write_clip
from svfr_model.metrics.pixels import psnr
from svfr_model.runs.loader import Loader
from svfr_model.synthesis.clips import make_clip
from svfr_model.synthesis.degrade import degrade_clip
from svfr_model.synthesis.options import options_for
from svfr_model.tiny.evaluate import paired_bootstrap
from svfr_model.tiny.model import EVALUATION, bundled
from svfr_model.training.footage import FootageOptions, Tools, read_crops
from svfr_model.training.index import load_arrays, read_index
from svfr_model.training.prepare import prepare_footage
from svfr_model.weights import find

ROOT = Path(__file__).resolve().parent.parent
PERSONS = (3_000_001, 3_000_002)
CLIPS, HELD_OUT, FRAMES, SIDE, VIEW = 12, 6, 16, 192, 2.0
SEED = 3_100_000
TASKS = frozenset({Task.BFR})
FOOTAGE = {"size": 64, "least_crop": 64, "frames": 16}


def finetune(work: Path, steps: int, rank: int) -> None:
    """Print the PSNR of blind restoration on held-out clips, before and after."""
    draw(work / "footage", range(CLIPS))
    draw(work / "held_out", range(CLIPS, CLIPS + HELD_OUT))
    configuration = {
        "output": str(work / "run"),
        "weights": str(bundled()),
        "videos": str(work / "footage"),
        "lora_rank": rank,
        "window": 4,
        "clips": 1,
        "weight_prior": 0,
        "loop": {"steps": steps, "rate": 1e-3, "warmup": 20, "ema": 0.99, "save_every": 50, "mixed_precision": "bf16"},
        "footage": FOOTAGE,
    }
    (work / "mine.json").write_text(json.dumps(configuration, indent=1))
    subprocess.run([sys.executable, "-m", "svfr_model", "train", work / "mine.json"], cwd=ROOT, check=True)
    tuned = work / "tuned"
    shutil.copytree(bundled(), tuned, dirs_exist_ok=True)
    for name in ("unet.safetensors", "id_linear.safetensors"):
        shutil.copy(work / "run" / name, tuned)
    crops = held_out_crops(work)
    before, after, degraded = (measured(crops, folder) for folder in (bundled(), tuned, None))
    gained = paired_bootstrap([new - old for old, new in zip(before, after, strict=True)])
    print(f"{len(crops)} held-out clips, PSNR: degraded {statistics.mean(degraded):.2f}, svfr-tiny", end=" ")
    print(f"{statistics.mean(before):.2f}, fine-tuned {statistics.mean(after):.2f} dB:", end=" ")
    print(f"{gained.mean:+.2f} [{gained.low:+.2f}, {gained.high:+.2f}]")


def draw(folder: Path, numbers: range) -> None:
    """Videos of the persons in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / f"{number:03d}.mp4"
        if not path.exists():
            person = PERSONS[number % len(PERSONS)]
            write_clip(path, ArrayClip(make_clip(SEED + number, FRAMES, SIDE, person=person, view=VIEW).frames))


def held_out_crops(work: Path) -> list[np.ndarray]:
    """The crops (16,64,64,3) of the held-out videos, found as the footage's are."""
    cache = work / "held_out_crops"
    tools = Tools(partial(load_detector, "yunet", find("yunet")))
    prepare_footage(work / "held_out", cache, tools, FootageOptions(**FOOTAGE))
    clips = read_index(cache).all_clips()
    return [
        read_crops(work / "held_out" / clip.video, load_arrays(cache, clip.name), 0, FRAMES) for clip in clips
    ]


def measured(crops: list[np.ndarray], folder: Path | None) -> list[float]:
    """The mean PSNR of each clip, restored with the networks of a folder, or as it was degraded."""
    options = replace(EVALUATION, passes=1)
    networks = None if folder is None else Loader(folders=[str(folder)], device="cpu").networks(self_referred=False)
    found = []
    for number, truth in enumerate(crops):
        made, _ = degrade_clip(truth, options_for(TASKS), SEED + number)
        if networks is not None:
            pixels = torch.from_numpy(made).permute(0, 3, 1, 2).contiguous()
            sampled = restore(networks, pixels, TASKS, options)
            decoded = torch.cat(list(sampled.decode(networks.vae, options)))
            made = from_network_range(decoded).permute(0, 2, 3, 1).numpy()
        found.append(statistics.mean(psnr(a, b) for a, b in zip(made, truth, strict=True)))
    return found
