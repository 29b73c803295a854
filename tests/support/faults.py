"""The rows of the fault table, and what must hold after each: see tests/faults.

A row is a command that a user may type, the files it finds, and what must come of it. Whatever the row says besides,
after each one every file that was there is as it was, nothing is there that the row does not name, and a failure is
one message without a traceback.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import odd_files as odd
from support.capabilities import without_override
from support.windows import REFUSED

from svfr_model.commands import main

Maker = Callable[[Path], None]

STANDARD: Mapping[str, Maker] = {
    "in.mp4": odd.clip(),
    "truth.mp4": odd.clip(),
    "face.mp4": odd.portrait_clip(),
    "face.png": odd.portrait(),
    "in.png": odd.picture(),
    "mask.png": odd.mask(),
    "mask.mkv": odd.mask_clip(5),
    "frames": odd.folder(5),
}
"""What lies in the folder wherever a command names it and the row does not make it otherwise."""

FAST: Mapping[str, tuple[str, ...]] = {
    "restore": ("--steps", "1", "--passes", "1", "--no-crop", "--device", "cpu"),
    "stc": ("--device", "cpu"),
    "evaluate": ("--device", "cpu"),
}
"""Options that come first, so that those of a row overrule them: nothing that works takes long."""
FACES = ("--steps", "1", "--passes", "1", "--size", "64", "--device", "cpu")
"""The same for a row about faces, since there is no way to take --no-crop back."""
WITH_WEIGHTS = ("restore", "stc", "evaluate")

ERROR = re.compile(r"^(?:error|python -m svfr_model[^\n]*: error): ", re.M)
"""How a message begins: ours, and argparse's."""
PATIENCE = 300
"""Seconds after which a command counts as hung, on a machine that has much else to do."""
UNREADABLE = (
    "Traceback",
    "<class '",
    "[Errno",
    " object at 0x",
    "Exception ignored",
    "svfr_model.base.errors",
    "AssertionError",
)
"""What no user should have to read."""


@dataclass(frozen=True)
class Fault:
    """One row. command: what follows `python -m svfr_model`. files: name -> what makes it, in this order.

    code: of the exit, or those it may be. says: words that the error stream must hold, prints: the output stream.
    never: words that neither may hold. writes: what is there afterwards and was not, replaces: what was there and may
    be another. faces: look for faces, instead of restoring whole frames. readonly: folders that cannot be written to.
    check: what else must hold in the folder. silent: nothing can be said. slow: only `make test-slow` runs it.
    """

    id: str
    command: str | tuple[str, ...]
    files: Mapping[str, Maker] = field(default_factory=dict)
    code: int | tuple[int, ...] = 2
    says: tuple[str, ...] = ()
    prints: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    faces: bool = False
    readonly: tuple[str, ...] = ()
    check: Callable[[Path], None] | None = None
    silent: bool = False
    slow: bool = False

    def words(self) -> list[str]:
        """The command's words as they stand in the row."""
        return shlex.split(self.command) if isinstance(self.command, str) else list(self.command)

    def not_here(self) -> str:
        """Why this machine cannot have the row, since Windows has other names; "" where it can."""
        if sys.platform != "win32":
            return ""
        made = any(set(name) & (REFUSED | {":"}) for name in (*self.files, *self.writes))
        if made or any(set(word) & REFUSED or "://" in word or "/dev/" in word for word in self.words()):
            return "Windows takes no such names"
        return "Windows says otherwise what is too long" if "too long" in self.says else ""

    def arguments(self, weights: Path) -> list[str]:
        """The words with the fast options of their command put in, and the tiny networks where none are named."""
        command, *rest = self.words() or [""]
        if "--help" in rest or not command:
            return self.words()
        fast = FACES if self.faces and command == "restore" else FAST.get(command, ())
        if command == "batch":
            kind = () if {"restore", "stc"} & set(rest) else ("restore", *FAST["restore"], "--weights", str(weights))
            return [*self.words(), *kind]
        given = () if "--weights" in rest or command not in WITH_WEIGHTS else ("--weights", str(weights))
        return [command, *fast, *given, *rest]

    def prepare(self, folder: Path) -> None:
        """Make the row's files, and the standard ones that its command names."""
        named = {name: make for name, make in STANDARD.items() if name in self.words()}
        for name, make in {**named, **self.files}.items():
            make(folder / name)


def parameters(rows: Iterable[Fault]) -> list:
    """The rows for pytest.mark.parametrize."""
    return [pytest.param(row, id=row.id, marks=[pytest.mark.slow] if row.slow else []) for row in rows]


def run_here(arguments: list[str]) -> int:
    """Run a command in this process; its exit code, argparse's too. One that hangs fails."""
    try:
        with _no_longer_than(PATIENCE):
            return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)


@contextlib.contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"it had not ended after {seconds} s"))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def read_only(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Folders that nobody can write to, not even root, until the block ends."""
    names = list(names)
    if names and sys.platform == "win32":
        pytest.skip("no permission of a folder keeps its owner from writing into it on Windows")
    for name in names:
        (folder / name).chmod(0o555)
    try:
        with without_override() if names else contextlib.nullcontext():
            yield
    finally:
        for name in names:
            (folder / name).chmod(0o755)


def check_outcome(
    row: Fault, code: int, said: str, printed: str, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    """Everything that a row promises; the message shows what was said. Paths are read with slashes everywhere."""
    said, printed = (text.replace(os.sep, "/") for text in (said, printed))
    told = f"\nexit code {code}\nstderr: {said}\nstdout: {printed}"
    assert code in (row.code if isinstance(row.code, tuple) else (row.code,)), told
    for word in row.says:
        assert word in said, f"{word!r} was not said{told}"
    for word in row.prints:
        assert word in printed, f"{word!r} was not printed{told}"
    for word in (*row.never, *UNREADABLE):
        assert word not in said + printed, f"{word!r} should not be read by a user{told}"
    if code in (1, 2, 3, 4, 5, 6) and not row.prints and not row.silent:
        assert len(ERROR.findall(said)) == 1, f"not one message{told}"
    new = {name for name in after if name not in before}
    assert new == set(row.writes), f"written: {sorted(new)}{told}"
    lost = {name for name in before if after.get(name) != before[name]}
    assert lost <= set(row.replaces), f"harmed: {sorted(lost)}{told}"
    assert set(row.replaces) <= lost, f"not replaced: {sorted(set(row.replaces) - lost)}{told}"
