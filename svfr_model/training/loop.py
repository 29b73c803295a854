"""The loop all trainings share: accelerate's engine, EMA, checkpoints that resume exactly, a loss file and its plot.

Everything random in a step comes from `step_seed(seed, step, process)`, so a run that was stopped and resumed sees the
same batches and noise as one that was not. What else a step could depend on is in the checkpoint: see `Loop.save`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..base.errors import DependencyError, InputError, SVFRError, cannot_write
from ..base.options import Range, option, options
from ..base.progress import Callback, report
from ..files.staging import staged
from ..media.pictures import write_picture
from .files import random_state, save_state, set_random_state, trained_state

if TYPE_CHECKING:
    from accelerate import Accelerator

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
LOSSES = "losses.jsonl"
PLOT = "losses.png"

Losses = dict[str, Tensor]
"""What a step returns: scalar tensors by name, of which "loss" is minimised."""

Result = TypeVar("Result")

LONGEST_WAIT = timedelta(days=30)
"""How long the other processes wait for the first one: the footage of a large set takes days."""


@options
class LoopOptions:
    """How long and how fast to train."""

    steps: int = option(default=1000, within=Range(1), help="Optimizer steps in all.")
    minutes: float = option(
        default=0.0, within=Range(0.0), help="Stop cleanly after this long, whatever the steps; 0 is no limit."
    )
    rate: float = option(
        default=1e-4,
        within=Range(0.0, above=True),
        help="Highest learning rate: it rises over the warm-up and falls as a cosine.",
    )
    warmup: int = option(default=100, within=Range(0), help="Steps over which the learning rate rises.")
    final_rate: float = option(
        default=0.05, within=Range(0.0, 1.0), help="Learning rate of the last step, as a fraction of the highest."
    )
    weight_decay: float = option(default=0.01, help="AdamW's weight decay.")
    ema: float = option(
        default=0.999, within=Range(0.0, 1.0, below=True), help="Decay of the averaged weights, reached gradually."
    )
    clip: float = option(default=1.0, within=Range(0.0, above=True), help="Largest gradient norm.")
    save_every: int = option(default=200, within=Range(1), help="Steps between checkpoints.")
    accumulate: int = option(
        default=1, within=Range(1), help="Batches whose gradients are averaged into one step."
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = option(default="no", help="Precision of the training.")
    seed: int = option(default=0, help="Seed of everything random.")


def placed(module: nn.Module, value: Any) -> Any:
    """Move tensors, or lists and dictionaries of them, to the device that accelerate has put the module on."""
    from accelerate.utils import send_to_device

    return send_to_device(value, next(module.parameters()).device)


def step_seed(seed: int, step: int, process: int = 0, part: int = 0) -> int:
    """The seed for everything random in one step of one process, or in one part of an accumulated step."""
    return int(np.random.SeedSequence([seed, step, process, part]).generate_state(1, np.uint64)[0] >> 1)


def learning_rate(options: LoopOptions, step: int) -> float:
    """Linear warm-up, then a cosine to the final rate."""
    if step < options.warmup:
        return options.rate * (step + 1) / options.warmup
    part = min((step - options.warmup) / max(options.steps - options.warmup, 1), 1.0)
    low = options.rate * options.final_rate
    return low + (options.rate - low) * 0.5 * (1 + math.cos(math.pi * part))


def make_accelerator(options: LoopOptions) -> Accelerator:
    """Hugging Face accelerate's engine; DependencyError where it is not installed."""
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise DependencyError(
            "Training needs the package accelerate: pip install -r requirements-train.txt."
        ) from error
    # one process trains several networks in turn; accelerate would use the first one's precision for all
    AcceleratorState._reset_state()
    # without being told that they use the CPU, the processes of torchrun would each train alone
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    on_cpu = several and not (torch.cuda.is_available() or torch.xpu.is_available())
    accelerator = Accelerator(mixed_precision=options.mixed_precision, cpu=on_cpu)
    if options.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise InputError("mixed_precision is 'fp16', which needs a GPU, and here is none: use bf16, or no.")
    return accelerator


def first_process_does(accelerator: Accelerator, work: Callable[[], Result]) -> Result | None:
    """Let the first process work while the others wait, however long it takes.

    Returns what it returned there, None in the others. What it raises of our own errors is raised in all processes, so
    that none waits for a process that has ended.
    """
    if accelerator.num_processes == 1:
        return work()
    # a group of its own: the training's own barriers give up after minutes, and should
    group = torch.distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
    result: Result | None = None
    told: list[SVFRError | None] = [None]
    if accelerator.is_main_process:
        try:
            result = work()
        except SVFRError as error:
            told = [error]
    torch.distributed.broadcast_object_list(told, 0, group=group)
    torch.distributed.destroy_process_group(group)
    if told[0] is not None:
        raise told[0]
    return result


class Loop:
    """Trains the modules that a step function uses, and saves everything that is needed to continue later.

    modules: by name; those parameters that require gradients are trained. step: `(modules, given, step number) ->
    Losses`, called under autocast with the modules as wrapped by accelerate; given: what `draw(generator seed, step
    number)` returned, outside of autocast, or the seed itself where there is no draw. folder: for checkpoint, loss file
    and plot. If it has a checkpoint, training continues from it.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        step: Callable[[Mapping[str, nn.Module], Any, int], Losses],
        options: LoopOptions,
        folder: Path | str,
        draw: Callable[[int, int], Any] | None = None,
    ) -> None:
        self.options, self.folder, self._step, self._draw = options, Path(folder), step, draw
        self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = make_accelerator(options)
        trained = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=options.rate, weight_decay=options.weight_decay, betas=(0.9, 0.99))
        self.modules = {name: self.accelerator.prepare(module) for name, module in modules.items()}
        self.optimizer = self.accelerator.prepare(optimizer)
        self._trained = trained
        self.average = [p.detach().clone() for p in trained]
        self.done = 0
        if (self.folder / CHECKPOINT).is_file():
            self._resume()
        if self.accelerator.is_main_process:
            self._forget_after(self.done)

    def run(self, callback: Callback | None = None) -> None:
        """Train until the steps or the minutes are used up, then save the checkpoint and draw the plot.

        Raises InputError if the loss is no longer finite.
        """
        started = time.monotonic()
        limit = self.options.minutes * 60
        main = self.accelerator.is_main_process
        for number in range(self.done, self.options.steps):
            losses = self._one(number)
            self.done = number + 1
            if not math.isfinite(losses["loss"]):
                raise InputError(
                    f"The loss became {losses['loss']} at step {number}: lower the rate ({self.options.rate}), or use "
                    f"another mixed_precision. The last checkpoint in {self.folder} is from before."
                )
            if main:
                self._write({"step": number, **losses, "seconds": round(time.monotonic() - started, 2)})
            report(callback, "train", self.done, self.options.steps)
            spent = bool(limit) and number % 10 == 9 and self._all_agree(time.monotonic() - started > limit)
            if self.done % self.options.save_every == 0 or spent:
                self.save()
            if spent:
                log.info("The %.1f minutes are used up after %d steps.", self.options.minutes, self.done)
                break
        self.save()
        if main:
            plot_losses(self.folder)

    def seeds(self) -> Iterator[int]:
        """The seeds of all parts of all steps that are left, in the order in which this process will need them."""
        for number in range(self.done, self.options.steps):
            for part in range(self.options.accumulate):
                yield step_seed(self.options.seed, number, self.accelerator.process_index, part)

    def _one(self, number: int) -> dict[str, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.options, number)
        total: dict[str, float] = {}
        for part in range(self.options.accumulate):
            seed = step_seed(self.options.seed, number, self.accelerator.process_index, part)
            torch.manual_seed(seed)
            given = seed if self._draw is None else self._draw(seed, number)
            with ExitStack() as stack:
                if part + 1 < self.options.accumulate:  # gradients are exchanged once a step
                    for module in self.modules.values():
                        stack.enter_context(self.accelerator.no_sync(module))
                with self.accelerator.autocast():
                    losses = self._step(self.modules, given, number)
                self.accelerator.backward(losses["loss"] / self.options.accumulate)
            for name, value in losses.items():
                total[name] = total.get(name, 0.0) + float(value.detach()) / self.options.accumulate
        self.accelerator.clip_grad_norm_(self._trained, self.options.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # at first the average forgets quickly, so that nothing of the random start remains
        decay = min(self.options.ema, (1 + number) / (10 + number))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self._trained], 1 - decay)
        return total

    def _all_agree(self, flag: bool) -> bool:
        """The main process's flag, in every process: they have to stop at the same step."""
        if self.accelerator.num_processes == 1:
            return flag
        told = torch.tensor([float(flag)], device=self.accelerator.device)
        torch.distributed.broadcast(told, 0)
        return bool(told.item())

    def averaged(self) -> None:
        """Put the averaged weights into the modules: call this after training, before saving them."""
        with torch.no_grad():
            for parameter, average in zip(self._trained, self.average, strict=True):
                parameter.copy_(average)

    def plain(self, name: str) -> nn.Module:
        """The module itself, without accelerate's wrapper."""
        module: nn.Module = self.accelerator.unwrap_model(self.modules[name])
        return module

    def _plain(self) -> dict[str, nn.Module]:
        return {name: self.plain(name) for name in self.modules}

    def save(self) -> None:
        """Write the checkpoint; to be called in every process. The old one is replaced when the new one is complete.

        It holds what is trained (`files.trained_state`), the averaged weights, the optimizer, the loss scaler of fp16,
        and every process's generators.
        """
        from accelerate.utils import gather_object

        generators = gather_object([random_state()])
        if not self.accelerator.is_main_process:
            return
        scaler = self.accelerator.scaler
        state = {
            "step": self.done,
            "trained": trained_state(self._plain()),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average,
            "scaler": None if scaler is None else scaler.state_dict(),
            "generators": generators,
        }
        save_state(state, self.folder / CHECKPOINT)

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        state = torch.load(path, weights_only=True, map_location="cpu")
        modules = self._plain()
        known = {name: set(part) for name, part in trained_state(modules).items()}
        if {name: set(part) for name, part in state.get("trained", {}).items()} != known:
            raise InputError(
                f"The checkpoint {path} is of other networks than this configuration's, or of an older version: choose "
                "another output folder, or the configuration that it was made with."
            )
        for name, module in modules.items():
            module.load_state_dict(state["trained"][name], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = [a.to(p) for a, p in zip(state["average"], self._trained, strict=True)]
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if len(state["generators"]) == self.accelerator.num_processes:
            set_random_state(state["generators"][self.accelerator.process_index])
        self.done = int(state["step"])
        log.info("Continuing %s at step %d.", path, self.done)

    def _write(self, row: Mapping[str, Any]) -> None:
        path = self.folder / LOSSES
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(path, error) from error

    def _forget_after(self, step: int) -> None:
        """Drop rows of the loss file that were written after the checkpoint: those steps are about to be repeated."""
        rows = [row for row in read_losses(self.folder) if row["step"] < step]
        with staged(self.folder / LOSSES) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_losses(folder: Path | str) -> list[dict[str, float]]:
    """The loss file of a training: one dictionary per step, in order; empty before the first step."""
    path = Path(folder) / LOSSES
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def plot_losses(folder: Path | str, size: tuple[int, int] = (960, 540)) -> Path | None:
    """Plot each loss over the steps, smoothed, on a logarithmic scale. Returns the file, or None without losses."""
    import cv2

    rows = read_losses(folder)
    names = [name for name in (rows[0] if rows else {}) if name not in ("step", "seconds")]
    if not names:
        return None
    width, height = size
    picture = np.full((height, width, 3), 255, np.uint8)
    curves = {name: _smoothed([row[name] for row in rows]) for name in names}
    logs = {name: np.log10(np.maximum(curve, 1e-6)) for name, curve in curves.items()}
    low, high = min(c.min() for c in logs.values()), max(c.max() for c in logs.values())
    for line, name, color in zip(range(len(names)), names, _colors(), strict=False):
        curve = logs[name]
        x = np.linspace(60, width - 20, len(curve))
        y = height - 40 - (curve - low) / max(high - low, 1e-6) * (height - 80)
        cv2.polylines(picture, [np.stack([x, y], 1).astype(np.int32)], False, color, 2, cv2.LINE_AA)
        text = f"{name} {curves[name][-1]:.4g}"
        cv2.putText(picture, text, (width - 260, 30 + 22 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.55, color, 1, cv2.LINE_AA)
    for value, y in ((10**high, 40), (10**low, height - 40)):
        cv2.putText(picture, f"{value:.3g}", (4, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (90, 90, 90), 1, cv2.LINE_AA)
    cv2.putText(
        picture, f"step {int(rows[-1]['step'])}", (60, height - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (90, 90, 90), 1
    )
    target = Path(folder) / PLOT
    with staged(target) as path:
        write_picture(path, picture[..., ::-1])
    return target


def _smoothed(values: list[float]) -> np.ndarray:
    """A centred running mean over a fiftieth of the curve."""
    span = max(len(values) // 50, 1)
    padded = np.pad(np.array(values, np.float64), (span // 2, span - 1 - span // 2), mode="edge")
    return np.convolve(padded, np.ones(span) / span, mode="valid")


def _colors() -> Iterator[tuple[int, int, int]]:
    while True:
        yield from ((30, 30, 30), (200, 90, 20), (40, 40, 200), (40, 150, 40), (170, 60, 170))
