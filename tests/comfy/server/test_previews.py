"""The preview plays in the page, in both renderers, and only as long as the run lasts."""

from __future__ import annotations

import json
import subprocess

import pytest
from support.comfy import ROOT
from support.graphs import path_of


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_preview_plays_until_the_run_ends(vue, server, comfyui, chromium, tmp_path):
    server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": vue})
    script = ROOT / "tests" / "support" / "preview_page.py"
    command = [comfyui.python, script, chromium, server.url, tmp_path, path_of("01")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    assert len(set(seen["during"]) - {""}) > 1, seen
    assert len(set(seen["after"])) == 1, seen
    assert [line for line in seen["console"] if "svfr" in line.lower()] == []
