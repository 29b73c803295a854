"""What the Comfy Registry's archive holds: comfy-cli packs what git tracks and .comfyignore does not name."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def packed() -> set[str]:
    """The paths in the archive, relative to the repository."""
    return _listed() - _listed("--cached", "--ignored", "--exclude-from=.comfyignore")


def write(path: Path) -> None:
    """Make the archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(packed()):
            archive.write(ROOT / name, name)


def _listed(*options: str) -> set[str]:
    command = ["git", "-c", "core.quotePath=false", "ls-files", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())
