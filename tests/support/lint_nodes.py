"""Check the types of the nodes with mypy, as pyproject.toml configures it.

    python lint_nodes.py [ROOT]

ROOT is a checkout of any name, by default this one. In it mypy would take `nodes` for a package of its own, whose
`..svfr_model` leads nowhere: so pack and library are copied as one package, as lint_imports.py does, into build/lint,
where the next run finds what has not changed. Exits with 1 where mypy finds an error.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from lint_imports import PACKAGE, ROOT, copy_modules


def main() -> int:
    root = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT
    folder = root / "build" / "lint"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy_modules(root, folder / PACKAGE)
    command = [sys.executable, "-m", "mypy", "--config-file", str(root / "pyproject.toml")]
    command += ["--cache-dir", str(root / "build" / "mypy-nodes"), "--package", f"{PACKAGE}.nodes"]
    return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
