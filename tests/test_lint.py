"""`make lint` turns red where it should: each test plants one mistake in a copy of the pack."""

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("importlinter", reason="import-linter is in requirements-dev.txt")
pytest.importorskip("mypy", reason="mypy is in requirements-dev.txt")


@pytest.fixture
def copy(root, tmp_path):
    """A copy of what the linters read, in a folder of the name that a pack is cloned into."""
    target = tmp_path / "ComfyUI-SVFR"
    for name in ("nodes", "svfr_model"):
        shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("models", "__pycache__"))
    for name in ("__init__.py", "pyproject.toml"):
        shutil.copy(root / name, target)
    return target


def said(command, folder):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=folder, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def lint_imports(root, copy):
    return said([root / "tests/support/lint_imports.py", copy], root)


def plant(path, line):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((path.read_text() if path.is_file() else "") + f"\n{line}\n")


TYPE_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
PLANTED = [
    ("nodes/quality.py", "from ..svfr_model.training import loop", "Nodes import nothing that trains"),
    ("svfr_model/runs/portrait.py", "from ...nodes import quality", "The library knows nothing of the nodes"),
    ("svfr_model/base/tasks.py", f"{TYPE_ONLY}from ..faces.face import Face", "Each room imports only from the floors"),
    ("svfr_model/metrics/fvd.py", "from ..training import loop", "Each room imports only from the floors"),
    ("svfr_model/attic/__init__.py", '"""A room on no floor."""', "attic"),
    ("svfr_model/faces/find.py", "from .detectors import load", "Finding faces needs a detector"),
    ("svfr_model/media/carried.py", f"{TYPE_ONLY}from .plan import copy_tags", "No two modules of a room import"),
]


@pytest.mark.parametrize(("path", "line", "contract"), PLANTED)
def test_a_forbidden_import_is_seen(root, copy, path, line, contract):
    plant(copy / path, line)
    code, text = lint_imports(root, copy)
    assert code == 1, text
    broken = text.partition("Broken contracts")[2]
    assert contract in (broken or text)


def test_the_copy_without_a_mistake_is_kept(root, copy):
    code, text = lint_imports(root, copy)
    assert code == 0, text
    assert "5 kept, 0 broken" in text


def test_a_wrong_type_is_seen(copy):
    """In the room of files, which imports no torch: a whole run takes a minute."""
    command = ["-m", "mypy", "svfr_model/files"]
    code, text = said(command, copy)
    assert code == 0, text
    plant(copy / "svfr_model/files/paths.py", "_PLANTED: int = str(1)\ndef _planted(x): return x")
    code, text = said(command, copy)
    assert code == 1, text
    assert "[no-untyped-def]" in text
    assert 'variable has type "int"' in text


def test_a_wrong_type_in_a_node_is_seen(root, tmp_path):
    """In a pack of one node, which imports no torch: a whole run takes a minute."""
    copy = tmp_path / "ComfyUI-SVFR"
    for folder in (".", "nodes", "svfr_model"):
        plant(copy / folder / "__init__.py", '"""A package."""')
    for name in ("pyproject.toml", "nodes/search.py"):
        shutil.copy(root / name, copy / name)
    plant(copy / "svfr_model/lengths.py", "def length() -> int:\n    return 1")
    plant(copy / "nodes/lengths.py", "from ..svfr_model.lengths import length\n_OURS: int = length()")
    code, text = said([root / "tests/support/lint_nodes.py", copy], root)
    assert code == 0, text
    plant(copy / "nodes/lengths.py", "_THEIRS: str = length()")
    code, text = said([root / "tests/support/lint_nodes.py", copy], root)
    assert code == 1, text
    assert 'expression has type "int", variable has type "str"' in text
