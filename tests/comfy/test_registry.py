"""The Comfy Registry's own check of the pack, where its command line is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from support.comfy import ROOT


def test_the_registry_finds_no_fault(tmp_path):
    comfy = os.environ.get("COMFY_CLI") or shutil.which("comfy")
    if comfy is None:
        pytest.skip("comfy-cli is not installed: pip install comfy-cli into an environment, and name it in COMFY_CLI")
    done = subprocess.run(
        [comfy, "--skip-prompt", "--no-enable-telemetry", "node", "validate"],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "All validation checks passed" in said
    assert "warning" not in said.lower()
