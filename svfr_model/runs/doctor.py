"""Examines the machine: what is installed, what works, which weights are found, and how to fix the rest."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

from ..base.errors import WeightsError
from ..weights import REGISTRY, embedded, fault_of, find

State: TypeAlias = Literal["ok", "warning", "missing"]

PACKAGES = (
    "torch",
    "numpy",
    "diffusers",
    "insightface",
    "opencv-python",
    "kornia",
    "safetensors",
    "huggingface-hub",
    "einops",
    "scipy",
    "av",
    "Pillow",
    "tqdm",
    "pydantic",
    "typing_extensions",
    "psutil",
)
"""The distributions in requirements.txt, except onnxruntime, which has a check of its own."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. remedy: a command, or what to do in one line; empty if nothing is wrong."""

    topic: str
    state: State
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"[{self.state:>7}] {self.topic}: {self.text}"
        return f"{line}\n          -> {self.remedy}" if self.remedy else line


def examine(folders: Sequence[Path | str] | None = None) -> list[Finding]:
    """Look at everything; nothing is changed, downloaded or written."""
    return [
        *check_python(),
        *check_packages(),
        *check_devices(),
        *check_sizes(),
        *check_onnxruntime(_version),
        *check_weights(folders),
    ]


def check_python() -> Iterator[Finding]:
    """The interpreter and the system."""
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> Iterator[Finding]:
    """Versions of the packages in requirements.txt."""
    for name in PACKAGES:
        version = _version(name)
        if version is None and name == "opencv-python":
            version = _version("opencv-python-headless") or _version("opencv-contrib-python")
        if version is None:
            yield Finding(name, "missing", "not installed", f"python -m pip install {name}")
        else:
            yield Finding(name, "ok", version)


def check_devices() -> Iterator[Finding]:
    """What torch can compute on."""
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            yield Finding("device", "ok", f"cuda:{index} {device.name}, {device.total_memory / 2**30:.1f} GiB")
    elif torch.backends.mps.is_available():
        yield Finding("device", "ok", "mps (Apple GPU)")
    else:
        yield Finding("device", "warning", "no GPU: everything runs on the CPU, slowly")


def check_sizes() -> Iterator[Finding]:
    """Which crops fit into the memory that is free on the device that `--device auto` takes."""
    from ..base.devices import choose_device, choose_dtype, free_memory
    from .fits import SIZES, rows_that_fit

    device = choose_device()
    dtype, free = choose_dtype("auto", device), free_memory(device)
    for side in SIZES:
        topic, place = f"crops of {side}", f"of the {free / 2**30:.1f} GiB free on {device}, with any preset"
        rows, needed = rows_that_fit(side, dtype, free)
        if rows == 2:
            yield Finding(topic, "ok", f"fit: {needed / 2**30:.1f} GiB {place}")
        elif rows == 1:
            yield Finding(topic, "ok", f"fit with --batch 1: {needed / 2**30:.1f} GiB {place}")
        else:
            text = f"do not fit: one window of 16 frames needs {needed / 2**30:.1f} GiB {place}"
            yield Finding(topic, "warning", text, "choose smaller crops (--size) or a shorter --window")


def check_onnxruntime(version: Callable[[str], str | None]) -> Iterator[Finding]:
    """The providers that are really available, and the trap of two onnxruntime packages in one folder.

    insightface depends on plain onnxruntime. Installed beside onnxruntime-gpu, its files overwrite the GPU build's,
    and only CPU providers are left (seen with 1.31.1). version gives the installed version of a distribution, or
    None.
    """
    plain, gpu = version("onnxruntime"), version("onnxruntime-gpu")
    if plain is None and gpu is None:
        yield Finding("onnxruntime", "missing", "not installed", "python -m pip install onnxruntime-gpu")
        return
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    text = f"{gpu or plain}, providers: {', '.join(providers)}"
    if plain is not None and gpu is not None and "CUDAExecutionProvider" not in providers:
        yield Finding(
            "onnxruntime",
            "warning",
            f"{text}; onnxruntime {plain} (required by insightface) has overwritten onnxruntime-gpu {gpu}, so it runs "
            "on the CPU only",
            f"python -m pip install --force-reinstall --no-deps onnxruntime-gpu=={gpu}",
        )
    else:
        yield Finding("onnxruntime", "ok", text)


def check_weights(folders: Sequence[Path | str] | None = None) -> Iterator[Finding]:
    """Every registered weight file: where it was found and whether it is intact, or how to get it."""
    for role, entry in REGISTRY.items():
        try:
            path = find(role, folders)
        except WeightsError:
            state: State = "warning" if entry.optional else "missing"
            yield Finding(
                entry.name,
                state,
                f"not found ({'optional: ' if entry.optional else ''}{entry.purpose})",
                f"python -m svfr_model weights download {role} --accept-license   (licence: {entry.licence})",
            )
        else:
            fault = fault_of(path, role)
            if fault:
                remedy = f"delete it, then: {entry.command}"
                yield Finding(entry.name, "warning" if entry.optional else "missing", f"{path} {fault}", remedy)
                continue
            origin = ", ships with this package" if path == embedded(role) else ""
            yield Finding(entry.name, "ok", f"{path} ({path.stat().st_size / 2**20:.1f} MiB{origin})")
