"""Try the pack with the versions that it promises, and write a table of what was found.

    python versions.py FOLDER [--torch torch==2.13.0] [--only 3.11] [--readme README.md]

makes a ComfyUI for every Python at hand under FOLDER, runs in each what TESTS names, and in one of them once more for
every change of VARIANTS. Prints a Markdown table, one line as soon as it is known; --readme puts it between the two
marks in that file, where the rows of Pythons that --only leaves out stay, and what could not be made is no row. Exits
with 1 where anything failed. An hour or more on two cores, and 3 GB for each Python (7 GB with a CUDA build of torch).
Standard library only.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKE = Path(__file__).with_name("make_comfyui.py")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
TOOLS = ("scikit-image",)
"""What these tests need beside what make_comfyui.py installs."""
INSIDE = "tests/comfy/test_inside.py::test_inside_comfyui"
SERVER = "tests/comfy/server"
TESTS = {
    "import": (f"{INSIDE}[test_imports]",),
    "nodes": tuple(f"{INSIDE}[{name}]" for name in ("test_model", "test_nodes", "test_stc", "test_quality")),
    "library": ("tests/parity/test_sampler.py", "tests/parity/test_faces.py", "tests/faces/test_detect.py"),
    "workflow": (f"{SERVER}/test_workflows.py::test_a_workflow_executes[restore]",),
    "browser": (f"{SERVER}/test_frontend.py::test_a_workflow_opens_without_complaint[restore]",),
}
"""The columns of the table, and the tests of each."""
VARIANTS = (
    ("diffusers==0.29.0",),
    ("opencv-python<5",),
    ("comfyui-frontend-package==1.58.1",),
)
"""Each against the newest of everything else. The first is the oldest that requirements.txt promises."""
BASE = "3.11"
"""The Python in which the variants are tried."""
SHOWN = ("comfyui-frontend-package", "torch", "diffusers", "huggingface-hub", "opencv-python", "numpy")
NOT_MADE = "not made: "
"""What stands, with its reason, in a printed row instead of everything else."""
MARKS = ("<!-- versions: written by make test-versions -->", "<!-- end of versions -->")


@dataclass(frozen=True)
class Place:
    """A made ComfyUI: folder/ComfyUI and folder/venv."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def main() -> int:
    options = _options()
    rows = [_header(), "|" + " --- |" * _header().count(" | ") + " --- |"]
    _say("\n".join(rows))
    for version in PYTHONS:
        found = find_python(version)
        if found is None or (options.only and version not in options.only):
            continue
        place = Place(Path(options.folder).absolute() / version)
        for row in _rows(version, found, place, options.torch):
            rows.append(row)
            _say(row)
    if options.readme:
        _write(Path(options.readme), rows, options.only or PYTHONS)
    return int(any("failed" in row or NOT_MADE in row for row in rows))


def find_python(version: str) -> Path | None:
    """An interpreter of this version: this one, one on the PATH, or one that pyenv or the launcher of Windows knows."""
    here = ".".join(map(str, sys.version_info[:2]))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    ways = [[sys.executable]] if version == here else []
    ways += [[str(path / "bin" / "python")] for path in sorted(pyenv.glob(f"{version}.*"))]
    ways += [["py", f"-{version}"]] if sys.platform == "win32" else [[f"python{version}"]]
    question = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for way in ways:
        if shutil.which(way[0]) is None:
            continue
        said = subprocess.run([*way, "-c", question], capture_output=True, text=True, check=False).stdout.split()
        if said[:1] == [version]:
            return Path(" ".join(said[1:]))
    return None


def _rows(version: str, python: Path, place: Place, torch: str) -> Iterator[str]:
    """A row for the newest of everything, and in BASE one for each variant."""
    made = subprocess.run([python, MAKE, place.folder, "--torch", torch], capture_output=True, text=True, check=False)
    if made.returncode:
        yield f"| {version} | {NOT_MADE}{made.stdout.splitlines()[-1]} |"
        return
    _pip(place, *TOOLS)
    yield _row(place)
    for variant in VARIANTS if version == BASE else ():
        before = _freeze(place)
        error = _pip(place, *variant)
        yield f"| {version} | {NOT_MADE}{error} |" if error else _row(place)
        _pip(place, *(set(before) - set(_freeze(place))))


def _row(place: Place) -> str:
    return "| " + " | ".join([*_versions(place), *_results(place)]) + " |"


def _header() -> str:
    return "| " + " | ".join(["Python", "ComfyUI", "frontend", *SHOWN[1:], *TESTS]) + " |"


def _versions(place: Place) -> list[str]:
    asked = "import sys; from importlib.metadata import version; print('%d.%d.%d' % sys.version_info[:3])"
    asked += f"\nfor name in {SHOWN!r}: print(version(name).split('+')[0])"
    python, *others = _ask(place, asked)
    text = (place.folder / "ComfyUI" / "comfyui_version.py").read_text(encoding="utf-8")
    return [python, re.search(r'"(\d[^"]*)"', text).group(1), *others]


def _results(place: Place) -> list[str]:
    """The outcome of each entry of TESTS in words: `passed`, `3 failed`, `skipped`."""
    environment = {**os.environ, "COMFYUI_PATH": str(place.folder / "ComfyUI"), "COMFYUI_PYTHON": str(place.python)}
    tests = [test for group in TESTS.values() for test in group]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [place.python, "-m", "pytest", *tests, f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        cases = list(ET.parse(report).iter("testcase")) if report.exists() else []
    outcomes = [_outcome([case for case in cases if _name(case).startswith(group)]) for group in TESTS.values()]
    if "passed" not in outcomes or any("failed" in outcome for outcome in outcomes):
        with (place.folder / "failed.log").open("a", encoding="utf-8") as log:
            log.write(f"{_versions(place)}\n{done.stdout}{done.stderr}\n")
    return outcomes


def _name(case: ET.Element) -> str:
    """A test as pytest names it on its command line."""
    return case.get("classname").replace(".", "/") + ".py::" + case.get("name")


def _outcome(cases: list[ET.Element]) -> str:
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    if failed or not cases:
        return f"{failed or 'all'} failed"
    return "skipped" if all(case.find("skipped") is not None for case in cases) else "passed"


def _freeze(place: Place) -> list[str]:
    command = [place.python, "-m", "pip", "freeze"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")


def _pip(place: Place, *requirements: str) -> str:
    """Install; the last line of what went wrong, or nothing."""
    wanted = [line for line in requirements if line]
    if not wanted:
        return ""
    command = [place.python, "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def _ask(place: Place, code: str) -> list[str]:
    return subprocess.run([place.python, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def _write(readme: Path, rows: list[str], asked: Sequence[str]) -> None:
    """Put rows between the marks of readme, in the order of their Pythons.

    The rows there of Pythons that are not in asked stay, if they have the same columns.
    """
    text = readme.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    header, rule, *tried = rows
    old = text[start:end].splitlines()[1:]
    kept = [row for row in old[2:] if ".".join(map(str, _python(row)[:2])) not in asked] if old[:1] == [header] else []
    tried = sorted([*kept, *(row for row in tried if NOT_MADE not in row)], key=lambda row: _python(row)[:2])
    table = "\n".join([MARKS[0], header, rule, *tried, ""])
    readme.write_text(text[:start] + table + text[end:], encoding="utf-8")


def _python(row: str) -> list[int]:
    """The version of Python in the first cell of a row."""
    return [int(part) for part in row.split("|")[1].split(".")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where to put the environments")
    parser.add_argument("--torch", default="torch==2.13.0")
    parser.add_argument("--only", action="append", choices=PYTHONS, help="this Python only; may be given again")
    parser.add_argument("--readme", help="the file whose table is replaced")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a script says is its interface


if __name__ == "__main__":
    sys.exit(main())
