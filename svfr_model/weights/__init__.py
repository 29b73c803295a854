"""The weight files this library uses: what they are, where they lie, and how they are read safely."""

from __future__ import annotations

from .checkpoint import (
    CONFIG_KEY,
    convert,
    load_network,
    load_strict,
    model_config,
    read_state_dict,
    save,
    stored_config,
)
from .hub import download
from .inspect import fault_of
from .registry import REGISTRY, WeightFile, weight_file
from .search import default_folders, embedded, embedded_set, find
from .torchscript import load_torchscript

__all__ = [
    "CONFIG_KEY",
    "REGISTRY",
    "WeightFile",
    "convert",
    "default_folders",
    "download",
    "embedded",
    "embedded_set",
    "fault_of",
    "find",
    "load_network",
    "load_strict",
    "load_torchscript",
    "model_config",
    "read_state_dict",
    "save",
    "stored_config",
    "weight_file",
]
