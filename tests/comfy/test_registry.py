"""The Comfy Registry's own check of the pack, by its command line, which requirements-dev.txt installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.comfy import ROOT


@pytest.fixture
def validate(tmp_path):
    """`comfy node validate` in a folder, with settings of its own: its exit code and what it said."""
    comfy = shutil.which("comfy", path=Path(sys.executable).parent)
    if comfy is None:
        pytest.skip("comfy-cli is not installed: pip install -r requirements-dev.txt")

    def run(folder):
        done = subprocess.run(
            [comfy, "--skip-prompt", "--no-enable-telemetry", "node", "validate"],
            cwd=folder,
            env={**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_registry_finds_no_fault(validate):
    code, said = validate(ROOT)
    assert code == 0, said
    assert "All validation checks passed" in said
    assert "warning" not in said.lower()


def test_it_finds_what_the_registry_forbids(validate, tmp_path):
    """Its check is ruff's, and it takes a ruff that does not start for one that finds nothing."""
    pack = tmp_path / "pack"
    pack.mkdir()
    shutil.copy(ROOT / "pyproject.toml", pack)
    (pack / "nodes.py").write_text("ANSWER = eval('6 * 7')\n")
    code, said = validate(pack)
    assert code == 0, said
    assert "S307" in said
    assert "All validation checks passed" not in said
