"""Try the templates, Compare and the first minute in each of ComfyUI's frontends that the pack is made for.

    python frontends.py FOLDER [pytest's options]

Fetches the frontends into FOLDER and runs the tests once with each, in both of its renderers. Standard library only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "comfyui-frontend-package"
VERSIONS = ("1.47.12", "1.58.1")
SERVER = "tests/comfy/server"
TESTS = [f"{SERVER}/test_{name}.py" for name in ("run_in_browser", "compare", "first_minute", "previews", "faces")]


def fetched(version: str, folder: Path) -> Path:
    """The files of a frontend, from the package registry unless they are there already."""
    place = folder / version
    static = place / PACKAGE.replace("-", "_") / "static"
    if not static.is_dir():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place]
        subprocess.run([*command, f"{PACKAGE}=={version}"], check=True)
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
        wheel.unlink()
    return static


def main() -> int:
    """1 where any test failed."""
    folder, failed = Path(sys.argv[1]).absolute(), False
    for version in VERSIONS:
        environment = {**os.environ, "SVFR_FRONTEND": str(fetched(version, folder))}
        sys.stdout.write(f"ComfyUI's frontend {version}\n")
        sys.stdout.flush()
        command = [sys.executable, "-m", "pytest", "-m", "slow or not slow", *TESTS, *sys.argv[2:]]
        failed |= subprocess.run(command, env=environment, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
