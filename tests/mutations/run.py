"""Make the mistakes of `table.py` one at a time in a copy of the repository, and say which of them no test sees.

    python tests/mutations/run.py [WORD ...] [--jobs N] [--passed]

WORDs keep to the mutations that name one of them. Each mutation's own tests are run until the first that fails. Before
that they are run on the unchanged copy, where they must pass; --passed says that they just did. Exit code 1 where a
mistake lives on that is not among `SURVIVORS`, or does not fit the code any more. Needs a system with fork.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from mutations.table import INSIDE, MUTATIONS, SURVIVORS, Mutation  # noqa: E402
from support.comfy import UnavailableError, find_comfyui  # noqa: E402

Item, Result = TypeVar("Item"), TypeVar("Result")

WORKER = Path(__file__).with_name("worker.py")
MODULES = ("torch", "cv2", "skimage.data", "skimage.metrics", "kornia", "av", "safetensors.numpy", "diffusers")
COMFY_MODULES = ("comfy.cli_args", "comfy.sd", "comfy.samplers", "comfy_api.latest", "latent_preview", "cv2", "kornia")
"""What takes long to import and is not under test."""

PASSED, FAILED, BROKEN = 0, 1, 2
"""Exit codes of pytest; the last one where a module cannot even be imported."""
LONGEST = 600
"""Seconds that a mutation's tests may take before it counts as seen because it hangs."""


class RunError(Exception):
    """The run cannot go on; the message says why."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutation."""

    mutation: Mutation
    seen: bool
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the table, print what lives on and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="keep to the mutations that name one of these")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="copies used at a time")
    parser.add_argument("--passed", action="store_true", help="the tests have just passed: do not run them unchanged")
    options = parser.parse_args(arguments)
    chosen = [m for m in MUTATIONS if not options.words or any(word in str(m) for word in options.words)]
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        try:
            outcomes = _run_all(chosen, Path(folder), options.jobs, check=not options.passed)
        except RunError as error:
            _say(str(error))
            return 1
    return _summary(outcomes)


class Copy:
    """A copy of the repository, and a worker of each kind for its tests."""

    def __init__(self, folder: Path) -> None:
        """Copy the repository's files, tracked and new, without what git ignores."""
        self.folder = folder
        self._workers: dict[bool, subprocess.Popen[str]] = {}
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        for name in listed.split("\0"):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, folder / name)

    def pytest(self, tests: Sequence[str]) -> tuple[int | None, str]:
        """pytest's exit code, None where it took longer than LONGEST, and what it printed."""
        inside = tests[0].startswith(INSIDE)
        worker = self._workers[inside] = self._workers.get(inside) or self._start(inside)
        worker.stdin.write(json.dumps(["-x", "--tb=line", *(str(self.folder / test) for test in tests)]) + "\n")
        worker.stdin.flush()
        answer = worker.stdout.readline()
        if not answer:
            raise RunError(f"The process that runs {' '.join(tests)} has ended; see above.")
        code, printed = json.loads(answer)
        return code, printed

    def _start(self, inside: bool) -> subprocess.Popen[str]:
        python, folder = sys.executable, self.folder
        if inside:
            try:
                comfyui = find_comfyui()
            except UnavailableError as error:
                raise RunError(str(error)) from error
            python, folder = comfyui.python, comfyui.path
        # No compiled files: a mutation can have the size and the second of the file that it replaces.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        for name in ("PYTHONPATH", "PYTEST_ADDOPTS"):
            environment.pop(name, None)
        command = [python, WORKER, str(LONGEST), *(COMFY_MODULES if inside else MODULES)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers.values():
            worker.stdin.close()
            worker.wait()


def _run_all(chosen: Sequence[Mutation], folder: Path, jobs: int, *, check: bool) -> list[Outcome]:
    copies: SimpleQueue[Copy] = SimpleQueue()
    for number in range(jobs):
        copies.put(Copy(folder / str(number)))

    def borrowed(work: Callable[[Copy, Item], Result], item: Item) -> Result:
        copy = copies.get()
        try:
            return work(copy, item)
        finally:
            copies.put(copy)

    files = sorted({test for mutation in chosen for test in mutation.tests})
    parts = [[file for file in files if file.startswith(INSIDE) is inside] for inside in (False, True)]
    try:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda part: borrowed(_unchanged, part), filter(None, parts if check else ())))
            return list(pool.map(lambda mutation: borrowed(_try, mutation), chosen))
    finally:
        while not copies.empty():
            copies.get().close()


def _unchanged(copy: Copy, tests: Sequence[str]) -> None:
    """Run the tests where nothing is wrong; RunError where they do not pass."""
    code, printed = copy.pytest(tests)
    if code != PASSED or " passed" not in printed:
        raise RunError(f"{' '.join(tests)} must pass before a mistake is made, but:\n{printed[-3000:]}")


def _try(copy: Copy, mutation: Mutation) -> Outcome:
    target = copy.folder / mutation.path
    source = target.read_text(encoding="utf-8")
    if source.count(mutation.old) != 1:
        raise RunError(f"The table does not fit the code: {mutation} stands {source.count(mutation.old)} times.")
    target.write_text(source.replace(mutation.old, mutation.new), encoding="utf-8")
    began = time.monotonic()
    try:
        code, printed = copy.pytest(mutation.tests)
    finally:
        target.write_text(source, encoding="utf-8")
    if code not in (PASSED, FAILED, BROKEN, None):
        raise RunError(f"pytest ended with {code} under {mutation}:\n{printed[-3000:]}")
    outcome = Outcome(mutation, code != PASSED, time.monotonic() - began)
    _say(f"{'seen' if outcome.seen else 'LIVES ON':<9}{outcome.seconds:>4.0f} s  {mutation}")
    return outcome


def _summary(outcomes: Sequence[Outcome]) -> int:
    alive = [outcome.mutation for outcome in outcomes if not outcome.seen]
    _say(f"\n{len(alive)} of {len(outcomes)} mistakes live on.")
    for mutation in alive:
        _say(f"- {mutation}\n  {SURVIVORS.get((mutation.path, mutation.old), 'No test sees it: write one.')}")
    wrong = [mutation for mutation in alive if (mutation.path, mutation.old) not in SURVIVORS]
    return 1 if wrong else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
