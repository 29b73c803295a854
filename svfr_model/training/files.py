"""What a training keeps on disk."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..files.staging import staged


def save_state(state: Any, target: Path) -> None:
    """torch.save, all of it or nothing. Raises InputError, naming target, where that cannot be written."""
    with staged(target) as path, path.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's archive puts an error of its own over the disk's
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def trained_state(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, torch.Tensor]]:
    """What a training changes in modules: the parameters that require gradients and the buffers, by module and name.

    Frozen weights are left out: they are read from their own file again, and would be most of a checkpoint with LoRA.
    """
    frozen = {
        name: {key for key, parameter in module.named_parameters() if not parameter.requires_grad}
        for name, module in modules.items()
    }
    return {
        name: {key: value for key, value in module.state_dict().items() if key not in frozen[name]}
        for name, module in modules.items()
    }


def random_state() -> dict[str, Any]:
    """The state of every global generator: Python's, numpy's, and torch's on all devices."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Put back what `random_state` returned; of other devices than are here, nothing."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
