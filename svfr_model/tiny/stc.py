"""stc-tiny: small networks for BFVR-STC's three tasks, trained on synthetic clips in stages that each leave a file.

It is for tests, the demonstration and trying things out. It is not the published model, and knows only what the
generator draws.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..base.errors import InputError
from ..base.progress import Callback, report
from ..files.staging import staged
from ..stc.load import FROZEN, ROLES
from ..stc.network import TaskName
from ..synthesis.clips import make_clip
from ..training.loop import LoopOptions
from ..training.source import TrainingWindow
from ..training.stc_train import CODEBOOKS, SizeOptions, STCTrainConfig, TransformerOptions, train_stc
from ..weights import model_config, read_state_dict, save, weight_file

log = logging.getLogger(__name__)

STC_STAGES = ("clips", "codebooks", "longer", "bfr", "deflicker", "deflicker_sd")
STC_FOLDER = Path(__file__).resolve().parent.parent / "models" / "stc-tiny"
"""Where the trained networks lie in this package."""
CLIPS = "clips.npy"
SHARED: TaskName = "bfr"
"""The task whose file has what all three share."""

SIZES = SizeOptions(
    nf=32, ch_mult=(1, 2, 3), res_blocks=1, attn_resolutions=(), emb_dim=64, codebook_size=256, groups=8
)
"""A factor of 4 and no stride in time: 64 pixels give 16x16 places a frame. Eight groups, because a normalisation of
each channel by itself would lose how bright the clip is."""


def bundled_stc() -> Path:
    """STC_FOLDER; InputError if the package came without it."""
    if not STC_FOLDER.is_dir():
        raise InputError(
            f"{STC_FOLDER} is missing: stc-tiny comes with this package. Install the package again, or train the "
            "networks again: python -m svfr_model train --stc-tiny DIR."
        )
    return STC_FOLDER


def _loop(steps: int, rate: float, seed: int, ema: float = 0.995) -> LoopOptions:
    return LoopOptions(
        steps=steps,
        rate=rate,
        warmup=30,
        ema=ema,
        weight_decay=0.0,
        mixed_precision="bf16",
        save_every=100,
        seed=seed,
    )


@dataclass(frozen=True)
class STCPlan:
    """The recipe of the networks in STC_FOLDER.

    count: clips of `frames` frames of `size` pixels, seeds from 0. books, longer, codes: stage I, first on many short
    clips, then on longer ones, on which what it does depends; and stage II of every task. Their folders are within the
    work folder.
    """

    count: int = 1200
    frames: int = 24
    size: int = 64
    books: STCTrainConfig = field(
        default_factory=lambda: STCTrainConfig(
            stage="codebooks",
            output="codebooks",
            mode="ours",
            plain_steps=500,
            frames=4,
            clips=3,
            sizes=SIZES,
            loop=_loop(2000, 1e-3, seed=1),
        )
    )
    longer: STCTrainConfig = field(
        default_factory=lambda: STCTrainConfig(
            stage="codebooks",
            output="longer",
            start="codebooks",
            mode="ours",
            frames=12,
            clips=1,
            loop=_loop(350, 4e-4, seed=5, ema=0.99),
        )
    )
    codes: Mapping[TaskName, STCTrainConfig] = field(
        default_factory=lambda: {
            task: STCTrainConfig(
                stage="codes",
                output=task,
                start="longer",
                task=task,
                mode="ours",
                noiseless=60,
                frames=12,
                clips=1,
                texture=(8.0, 32.0),
                transformers=TransformerOptions(n_head=2, n_layers=3),
                loop=_loop(220 if task == "bfr" else 180, 5e-4, seed, ema=0.99),
            )
            for seed, task in enumerate(ROLES, 2)
        }
    )


@dataclass(frozen=True)
class KeptClips:
    """Clips that were drawn once, as a source: an array (K,N,S,S,3) uint8."""

    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def draw(self, index: int, length: int, rng: np.random.Generator) -> TrainingWindow:
        """A random window of a clip; it says nothing of faces."""
        count, side = self.frames.shape[1:3]
        first = int(rng.integers(count - length + 1))
        frames, nowhere = np.array(self.frames[index, first : first + length]), np.zeros((length, 5, 2))
        return TrainingWindow(frames, nowhere, None, np.zeros((side, side, 3), np.uint8), nowhere[0], first, 0)


def train_stc_tiny(
    work: Path | str,
    target: Path | str,
    stages: Sequence[str] = STC_STAGES,
    plan: STCPlan | None = None,
    callback: Callback | None = None,
) -> None:
    """Run the stages in order; each reads what those before it left in `work`. The networks go to `target`.

    A stage that was stopped continues from its checkpoint. Raises InputError for an unknown stage or one whose input is
    missing.
    """
    plan = plan or STCPlan()
    unknown = [stage for stage in stages if stage not in STC_STAGES]
    if unknown:
        raise InputError(f"Unknown stage {', '.join(unknown)}. Stages, in order: {', '.join(STC_STAGES)}.")
    work, target = Path(work), Path(target)
    work.mkdir(parents=True, exist_ok=True)
    run: dict[str, Callable[[], object]] = {
        "clips": partial(_clips, work, plan, callback),
        "codebooks": partial(_train, plan.books, work, callback),
        "longer": partial(_train, plan.longer, work, callback),
        **{task: partial(_codes, task, work, target, plan, callback) for task in ROLES},
    }
    for stage in stages:
        log.info("stc-tiny: %s", stage)
        run[stage]()


def _clips(work: Path, plan: STCPlan, callback: Callback | None) -> None:
    """clips.npy (K,N,S,S,3) uint8, unless it is there."""
    if (work / CLIPS).is_file():
        return
    with staged(work / CLIPS) as path:
        shape = (plan.count, plan.frames, plan.size, plan.size, 3)
        frames = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for number in range(plan.count):
            frames[number] = make_clip(number, plan.frames, plan.size).frames
            report(callback, "clips", number + 1, plan.count)
        frames.flush()
        del frames  # or Windows would not let the file be moved


def _train(config: STCTrainConfig, work: Path, callback: Callback | None) -> Path:
    """Train a stage on the kept clips, from the stage that its configuration names as its start."""
    start = str(_there(work / config.start / CODEBOOKS, config.start)) if config.start else None
    source = KeptClips(np.load(_there(work / CLIPS, "clips"), mmap_mode="r"))
    config = replace(config, output=str(work / config.output), start=start, size=source.frames.shape[2])
    return train_stc(config, callback, source=source)


def _codes(task: TaskName, work: Path, target: Path, plan: STCPlan, callback: Callback | None) -> None:
    ship(task, _train(plan.codes[task], work, callback), target)


def ship(task: TaskName, trained: Path, target: Path) -> None:
    """Write a task's trained network to target as the pack has it: without what it shares with SHARED's.

    Raises WeightsError for a file that is no such network.
    """
    role = ROLES[task]
    tensors, metadata = read_state_dict(trained, role)
    config = model_config(metadata, role, task) or {}
    if task != SHARED:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(FROZEN)}
        config = {**config, "shares": SHARED}
    target.mkdir(parents=True, exist_ok=True)
    save(tensors, target / Path(weight_file(role).name).with_suffix(".safetensors").name, role, config)


def _there(path: Path, stage: str) -> Path:
    if not path.is_file():
        raise InputError(f"{path} is missing: run the stage {stage!r} first.")
    return path
