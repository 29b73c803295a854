"""What one training step holds, by count: nothing is computed, so that full size fits any machine.

`benchmarks/training.py memory` prints it. Tensors are fake (torch's FakeTensorMode): they have shapes, dtypes and an
autograd graph, but no contents. The step is the one that `svfr_model.training.train` runs: float32 weights, autocast to
bf16, the objective with both auxiliary losses, blocks recomputed. Normalisations compute in float32, as CUDA's autocast
has it and the CPU's does not. What convolutions and cuBLAS take as workspace is not seen.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from svfr_model.networks.identity import (
    PUBLISHED_PROJECTION,
    PUBLISHED_RECOGNIZER,
    build_projection,
    build_recognizer,
)
from svfr_model.networks.memory import encoding_memory
from svfr_model.networks.unet import PUBLISHED_CONFIG, build_unet
from svfr_model.networks.vae import build_vae
from svfr_model.training.losses import SVFRObjective
from svfr_model.training.recompute import recompute_blocks
from svfr_model.training.train import ENCODED_AT_ONCE, add_lora

GIB = 2**30
VAE_FACTOR = 8


@dataclass(frozen=True)
class Step:
    """What is trained on: clips in two degradations each, of so many frames of latents side x side."""

    clips: int = 1
    frames: int = 16
    side: int = 64
    lora_rank: int = 0
    recompute: bool = True
    unet: Mapping[str, Any] | None = None
    projection: Mapping[str, Any] | None = None
    precision: torch.dtype = torch.bfloat16


@dataclass(frozen=True)
class Held:
    """Bytes. working: what the backward pass holds at its worst beside what was saved: one block and its gradients."""

    parameters: int
    gradients: int
    optimiser: int
    average: int
    saved: int
    working: int
    frozen: int
    encoding: int
    update: int

    @property
    def total(self) -> int:
        """The most at any time: encoding, the backward pass and the optimiser's step come one after the other."""
        states = self.parameters + self.gradients + self.optimiser + self.average + self.frozen
        return states + max(self.encoding, self.saved + self.working, self.update)


class Saved:
    """Bytes that autograd keeps for the backward pass, each storage once; without those of `weights`."""

    def __init__(self, *weights: nn.Module) -> None:
        self.bytes = 0
        owned = [tensor for module in weights for tensor in (*module.parameters(), *module.buffers())]
        self._known = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in owned}

    def hooks(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self._pack, lambda tensor: tensor)

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._known:
            self._known[storage._cdata] = storage  # held, so that no other gets its address
            self.bytes += storage.nbytes()
        return tensor


class Alive(TorchDispatchMode):
    """`most`: bytes of tensors made within this that are alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._alive = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self._count((args, kwargs), made=False)
        self._count(result, made=True)
        self.most = max(self.most, self._alive)
        return result

    def _count(self, tree: Any, *, made: bool) -> None:
        for tensor in tree_leaves(tree):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._known:
                self._known.add(key)
                size = storage.nbytes() if made else 0
                self._alive += size
                weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


def count(step: Step) -> Held:
    """What a step holds on a GPU, counted."""
    with pretended(step, as_cuda=True) as (objective, batch):
        saved = run_forward(objective, batch, step)[1].bytes
        with Alive() as alive:
            loss, _ = run_forward(objective, batch, step)
            torch.autograd.backward(loss)
    trained = size_of(parameter for parameter in objective.parameters() if parameter.requires_grad)
    return Held(
        parameters=size_of(objective.parameters()),
        gradients=trained,
        optimiser=2 * trained,
        average=trained,
        saved=saved,
        working=max(alive.most - saved - trained, 0),
        frozen=frozen_networks(),
        encoding=encoding_memory(ENCODED_AT_ONCE, (step.side * VAE_FACTOR,) * 2, 128, torch.float32),
        update=trained,
    )


def count_saved(step: Step, *, as_cuda: bool) -> int:
    """The bytes that autograd saves in a forward pass, counted. as_cuda: with CUDA's autocast, else the CPU's."""
    with pretended(step, as_cuda=as_cuda) as (objective, batch):
        return run_forward(objective, batch, step)[1].bytes


@contextlib.contextmanager
def pretended(step: Step, *, as_cuda: bool) -> Iterator[tuple[SVFRObjective, dict[str, Tensor]]]:
    """The objective and a batch as fake tensors, within which nothing is computed."""
    with torch.device("meta"):
        objective = make_objective(step)
    with FakeTensorMode(allow_non_fake_inputs=True), norms_in_float32() if as_cuda else contextlib.nullcontext():
        fake(objective)
        yield objective, make_batch(step, objective)


def make_objective(step: Step) -> SVFRObjective:
    """The UNet, the projection and the heads as `train` sets them up."""
    unet = build_unet(step.unet or PUBLISHED_CONFIG).train()
    if step.lora_rank:
        add_lora(unet, step.lora_rank)
    if step.recompute:
        recompute_blocks(unet)
    return SVFRObjective(unet, build_projection(step.projection or PUBLISHED_PROJECTION).train())


def make_batch(step: Step, objective: SVFRObjective) -> dict[str, Tensor]:
    """A batch of that size, without meaning."""
    rows, latents = 2 * step.clips, (4, step.side, step.side)
    channels = (step.projection or PUBLISHED_PROJECTION)["in_channels"]
    return {
        "clip": torch.arange(step.clips).repeat(2),
        "clean": torch.zeros(rows, step.frames, *latents),
        "noise": torch.zeros(rows, step.frames, *latents),
        "degraded": torch.zeros(rows, step.frames, *latents),
        "reference": torch.zeros(rows, *latents),
        "sigma": torch.ones(rows),
        "grid": torch.zeros(rows, channels, 7, 7),
        "use_identity": torch.ones(rows),
        "task": torch.ones(rows, 3),
        "landmarks": torch.zeros(rows, step.frames, 68, 2),
    }


def run_forward(objective: SVFRObjective, batch: Mapping[str, Tensor], step: Step) -> tuple[Tensor, Saved]:
    """The loss, and what was saved for its backward pass."""
    saved = Saved(objective)
    device = batch["clean"].device.type
    enabled = step.precision != torch.float32
    with saved.hooks(), torch.autocast(device, step.precision if enabled else torch.bfloat16, enabled=enabled):
        loss = objective(dict(batch))["loss"]
    return loss, saved


def fake(module: nn.Module) -> None:
    """Give a module on the meta device fake tensors of the mode that is on."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                made = torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu")
                part._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.zeros(buffer.shape, dtype=buffer.dtype, device="cpu")


@contextlib.contextmanager
def norms_in_float32() -> Iterator[None]:
    """As CUDA's autocast computes them."""

    def widened(function):
        def run(x, *args, **kwargs):
            with torch.autocast("cpu", enabled=False):
                return function(x.float(), *args, **kwargs)

        return run

    with (
        patch.object(F, "group_norm", widened(F.group_norm)),
        patch.object(F, "layer_norm", widened(F.layer_norm)),
    ):
        yield


def size_of(tensors) -> int:
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)


def frozen_networks() -> int:
    """Bytes of the VAE and the recogniser, which stay in float32 on the card."""
    with torch.device("meta"):
        return size_of(build_vae().parameters()) + size_of(build_recognizer(PUBLISHED_RECOGNIZER).parameters())


def table(rows: Mapping[str, Held]) -> str:
    """Markdown, GiB."""
    names = {
        "parameters": "parameters",
        "gradients": "gradients",
        "optimiser": "optimiser",
        "average": "average",
        "frozen": "VAE and recogniser",
        "saved": "saved activations",
        "working": "one block, recomputed",
        "total": "sum",
    }
    lines = [f"| GiB | {' | '.join(names.values())} |", "|---" * (len(names) + 1) + "|"]
    for title, held in rows.items():
        lines.append(f"| {title} | {' | '.join(f'{getattr(held, name) / GIB:.1f}' for name in names)} |")
    return "\n".join(lines)


def measure(step: Step) -> str:
    """One step with random weights on the GPU that is there: its peak and its seconds, or that it does not fit."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        seconds = _steps(step)
    except torch.cuda.OutOfMemoryError:
        return "does not fit this GPU"
    return f"{torch.cuda.max_memory_allocated() / GIB:.1f} GiB without VAE and average, {seconds:.2f} s a step"


def _steps(step: Step) -> float:
    """The seconds of the fastest of three steps."""
    with torch.device("cuda"):
        objective = make_objective(step)
    batch = {name: value.cuda() for name, value in make_batch(step, objective).items()}
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        loss, _ = run_forward(objective, batch, step)
        torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
        torch.cuda.synchronize()
        seconds.append(time.monotonic() - began)
    return min(seconds)
