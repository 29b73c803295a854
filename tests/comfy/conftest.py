"""The ComfyUI that these tests run in."""

from __future__ import annotations

import pytest
from support.comfy import UnavailableError, find_comfyui

collect_ignore = ["inside"]  # runs in ComfyUI's Python, see test_inside.py


@pytest.fixture(scope="session")
def comfyui():
    """A ComfyUI checkout, or a skip that says how to get one."""
    try:
        return find_comfyui()
    except UnavailableError as error:
        pytest.skip(str(error))
