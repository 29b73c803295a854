"""ComfyUI on the CPU, this pack under an alias as ComfyUI would load it, and tiny networks as files."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import comfy.cli_args
import numpy as np
import pytest

comfy.cli_args.args.cpu = True  # before anything else of ComfyUI is imported: it then asks for no CUDA

import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]


def _load(name: str, path: Path) -> None:
    """Import a file by path: neither the repository's root nor the tests' support may be on sys.path here."""
    places = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_load("svfr_pack", ROOT / "__init__.py")
_load("near", ROOT / "tests" / "support" / "near.py")
_load("svfr_model", ROOT / "svfr_model" / "__init__.py")  # by the name under which the next one makes its files
_load("random_networks", ROOT / "tests" / "support" / "random_networks.py")
_load("peak", ROOT / "tests" / "support" / "peak.py")


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_unet(tmp_path_factory) -> Path:
    """The golden cases' UNet as a checkpoint."""
    from golden import OWN, manifest, tensors
    from svfr_pack.svfr_model.weights import save

    path = tmp_path_factory.mktemp("unet") / "unet.safetensors"
    save(tensors(OWN, "unet."), path, "unet", manifest(OWN)["unet_config"])
    return path
