"""Check who imports whom in the pack: the contracts of import-linter in pyproject.toml.

    python lint_imports.py [ROOT]

ROOT is a checkout of any name, by default this one. import-linter looks at importable packages, and a folder named
ComfyUI-SVFR is none; of `nodes` and `svfr_model` as two packages it would not see that `..svfr_model` in a node is the
other. So the modules are copied into a temporary folder as one package, svfr_pack, which the contracts name. Exits with
1 where a contract is broken.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "svfr_pack"


def main() -> int:
    root = Path(sys.argv[1]).resolve() if sys.argv[1:] else ROOT
    with tempfile.TemporaryDirectory() as folder:
        copy_modules(root, Path(folder) / PACKAGE)
        sys.path.insert(0, folder)
        return lint_imports(config_filename=str(root / "pyproject.toml"), no_cache=True, no_logo=True)


def copy_modules(root: Path, package: Path) -> None:
    """Copy the Python files of the pack at root: its own `__init__`, its nodes and its library."""
    package.mkdir(parents=True)
    shutil.copy2(root / "__init__.py", package)
    for name in ("nodes", "svfr_model"):
        for source in (root / name).rglob("*.py"):
            target = package / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


if __name__ == "__main__":
    raise SystemExit(main())
