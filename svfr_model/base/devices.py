"""Device and precision of the networks, chosen by name."""

from __future__ import annotations

import sys

import psutil
import torch

from .errors import InputError

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(name: str = "auto") -> torch.device:
    """A device by name ("cuda:1" too); "auto" takes CUDA, else MPS, else the CPU. InputError if it is not available."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name!r} is not a device: use auto, cpu, cuda, cuda:N or mps.") from error
    if not _is_usable(device.type):
        raise InputError(
            f"The device {name} is not usable with torch {torch.__version__} on this machine: "
            "use --device auto, or see `python -m svfr_model doctor`."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"There is no {name}: this machine has {torch.cuda.device_count()} CUDA device(s).")
    return device


def _is_usable(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """fp32, fp16 or bf16 by name; "auto" is fp16 (the reference's) on a GPU and fp32 on the CPU."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    if name not in DTYPES:
        raise InputError(f"Unknown dtype {name!r}: use auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def free_memory(device: torch.device) -> int:
    """Bytes that a new tensor on this device may take: what is free there, and what torch holds and does not use."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return min(torch.cuda.mem_get_info(device)[0] + unused, _allowed(device))
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    if device.type == "cpu":
        return int(psutil.virtual_memory().available)
    return sys.maxsize  # the meta device


def _allowed(device: torch.device) -> int:
    """Bytes that torch.cuda.set_per_process_memory_fraction leaves this process."""
    asked = getattr(torch.cuda, "get_per_process_memory_fraction", None)  # since torch 2.9
    fraction = asked(device) if asked else 1.0
    return int(fraction * torch.cuda.get_device_properties(device).total_memory) - torch.cuda.memory_allocated(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether the device ran out of memory. MPS has no kind of error of its own for that."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in str(error)
