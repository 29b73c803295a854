"""Tiny networks for the fault table."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pytest
import torch
from support import bad_weights

from svfr_model.runs import loader as load


@pytest.fixture(scope="session")
def networks():
    """A folder with a tiny random network of every kind that the commands take; the face detector ships with us."""
    yield bad_weights.folder()
    bad_weights.remove()


@pytest.fixture(scope="session", autouse=True)
def loaded_once():
    """UNet and VAE of that folder are loaded once: a row is about its fault, and loading is most of what it takes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("load_unet", "load_vae"):
            patch.setattr(load, name, _kept(getattr(load, name)))
        yield


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Networks as small as these gain nothing by a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _kept(loading):
    kept = lru_cache(loading)

    def load_or_keep(path, **options):
        own = Path(path).parent == bad_weights.folder() or Path(path).is_symlink()
        return kept(Path(path).resolve(), **options) if own else loading(path, **options)

    return load_or_keep
