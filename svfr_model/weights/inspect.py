"""Checking whether a weight file is intact without loading it."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ..base.errors import DependencyError, InputError, WeightsError
from ..files.digests import sha256_of
from .checkpoint import CONFIG_KEY, described
from .onnx import open_session
from .registry import weight_file


def fault_of(path: Path, role: str) -> str:
    """What is wrong with a file of a role, as the end of a sentence "the file ..."; "" if nothing is.

    A safetensors file must hold what its header says and, if it describes a network, describe one of the role; a torch
    archive must have its directory, which is at the end; an ONNX file must be a graph that onnxruntime reads, or have
    the SHA-256 in the registry. Only loading can tell whether it is the right network.
    """
    entry = weight_file(role)
    try:
        if path.suffix == ".safetensors":
            return _safetensors_fault(path, role)
        if path.suffix == ".onnx":
            known = entry.sha256 if path.name == entry.name and entry.size == path.stat().st_size else ""
            return "" if known and sha256_of(path) == known else _onnx_fault(path)
        return _archive_fault(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _safetensors_fault(path: Path, role: str) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            described(file.metadata() or {}, role)
            return "" if len(list(file.keys())) else "holds nothing"
    except InputError as error:
        return f"cannot be used: its {CONFIG_KEY} metadata {error}"
    except (SafetensorError, ValueError) as error:
        return f"is truncated or corrupt ({error})"


def _archive_fault(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(2)
    if head == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                return "" if archive.namelist() else "holds nothing"
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            return "is truncated: it looks like an incomplete download"
    return "" if head[:1] == b"\x80" else "is not a PyTorch checkpoint"


def _onnx_fault(path: Path) -> str:
    try:
        open_session(path, "a network")
    except WeightsError:
        return "is truncated or corrupt, or is not an ONNX file"
    except DependencyError:
        pass  # without onnxruntime nothing can be said of it, and its absence is reported elsewhere
    return ""
