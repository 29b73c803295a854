"""Strict loading of BFVR-STC's checkpoints: the right file for the task, every tensor, and nothing but tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..base.errors import InputError, WeightsError
from ..weights import CONFIG_KEY, load_strict, model_config, read_state_dict, weight_file
from .network import PUBLISHED, TASKS, CodeFormer3D, TaskName, build_network

ROLES: Mapping[TaskName, str] = {task: f"stc_{task}" for task in TASKS}
"""The role of each task's checkpoint in the weights registry."""
FROZEN = ("generator.", "quantize.")
"""Beginnings of the names of what stage II leaves as it is."""


def load_stc(path: Path | str, task: TaskName, *, device: torch.device | str = "cpu") -> CodeFormer3D:
    """The network of a task in float32, from its published checkpoint or from a file that describes itself.

    A .pth file must hold the published dictionary, with the averaged weights under `params_ema`. A .safetensors file
    holds the same tensors flat; with `svfr_config` metadata (see `build_network`) it may be of another size, but must
    be a network of this task. Restoration and de-flickering differ in their number of layers, so the wrong one
    is refused. With `shares` in its metadata, the file leaves out what stage II does not train (`FROZEN`), which is
    taken from the file of that task beside it. The two de-flickering checkpoints have the same keys and shapes and
    differ in their file names only: a renamed file is loaded, and does what it was trained for.

    Raises InputError for an unknown task, WeightsError for a file that is missing, damaged, of another task or of
    another architecture.
    """
    if task not in TASKS:
        raise InputError(f"Unknown BFVR-STC task {task!r}: use one of {', '.join(TASKS)}.")
    path, role = Path(path), ROLES[task]
    state_dict, metadata = read_state_dict(path, role)
    config = model_config(metadata, role, path)
    if config is None:
        _check_task(state_dict, path, task)
    elif "shares" in config:
        config = dict(config)
        state_dict = {**_frozen(config.pop("shares"), path, role), **state_dict}
    with torch.device("meta"):
        network = _build(task, config or {}, path)
    load_strict(network, state_dict, path, role)
    return network.to(device=device, dtype=torch.float32).eval()


def _frozen(task: TaskName, path: Path, role: str) -> dict[str, Tensor]:
    """What the file of another task beside a file has of what both share."""
    entry = weight_file(ROLES[task])
    beside = [place for place in entry.candidates(path.parent) if place.is_file()]
    if not beside:
        needed = Path(entry.name).with_suffix(".safetensors").name
        raise _refusal(path, role, f"its generator and codebooks are in {needed}, which is not beside it")
    tensors, _ = read_state_dict(beside[0], ROLES[task])
    return {key: value for key, value in tensors.items() if key.startswith(FROZEN)}


def _check_task(state_dict: Mapping[str, Tensor], path: Path, task: TaskName) -> None:
    """Raise WeightsError, which names the right task, if a full-size checkpoint belongs to another task."""
    numbers = [int(found[1]) for key in state_dict if (found := re.match(r"s_ft_layers\.(\d+)\.", key))]
    layers = len(set(numbers))
    others = [name for name in TASKS if PUBLISHED[name].layers == layers]
    if others and task not in others:
        raise _refusal(
            path,
            ROLES[task],
            f"it is the checkpoint of {' or '.join(others)}, with {layers} transformer layers where {task} has "
            f"{PUBLISHED[task].layers}: choose that task, or the other file",
        )
    for other in others:
        if other != task and path.stem == Path(weight_file(ROLES[other]).name).stem:
            reason = f"its name is that of the {other} checkpoint, which differs from the {task} one in nothing else"
            raise _refusal(path, ROLES[task], reason)


def _build(task: TaskName, config: Mapping[str, Any], path: Path) -> CodeFormer3D:
    try:
        return build_network(task, config)
    except (InputError, TypeError, ValueError) as error:
        reason = f"its {CONFIG_KEY} metadata describes no usable network: {error}"
        raise _refusal(path, ROLES[task], reason) from error


def _refusal(path: Path, role: str, reason: str) -> WeightsError:
    entry = weight_file(role)
    return WeightsError(f"{path} cannot be used as {entry.purpose}: {reason}. {entry.source}")
