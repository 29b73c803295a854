"""Runs that are killed: a memory that dies at one of its saves, and a process that kills itself in a phase."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from svfr_model.files.mapped import MappedMemory

ROOT = Path(__file__).resolve().parents[2]
_KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from svfr_model import commands
from svfr_model.commands import batch, restore, stc

seen = []
def told(stage, done, total, preview=None):
    seen.append(stage)
    if stage == {stage!r} and seen.count(stage) == {times}:
        os.kill(os.getpid(), signal.{name})

class Bar:
    def __init__(self, total):
        self.told = lambda clip, status: None
    def __call__(self, *report):
        told(*report)

restore.progress, stc.progress, batch.BatchBar = lambda quiet: told, lambda quiet: told, Bar
sys.exit(commands.main({words!r}))
"""


class Killed(BaseException):
    """Ends a run where a kill would, but for the process."""


class DyingMemory(MappedMemory):
    """A memory that ends the run when it is to save for the `left`th time; every save is made.

    Then half of each array is written, and nothing is noted of it.
    """

    left = 0

    def save(self, stage, done, arrays=None, *, seldom=False):
        DyingMemory.left -= 1
        if DyingMemory.left == 0:
            for name, tensor in (arrays or {}).items():
                half = tensor.numel() // 2
                self.array(name, tensor.shape, tensor.dtype).view(-1)[:half] = tensor.clone().reshape(-1)[:half]
            raise Killed
        super().save(stage, done, arrays)

    def is_due(self, *, seldom=False):
        return True

    def part(self, name):
        return DyingMemory(self.folder / name, self)


def killed(words: Sequence[str], stage: str, times: int) -> None:
    """Run a command in a process that kills itself (SIGKILL) when a stage has been told so often."""
    signalled(words, stage, times, "SIGKILL", -9)


def signalled(words: Sequence[str], stage: str, times: int, name: str, code: int) -> str:
    """The same with another signal, and the exit code that must come of it; returns what the command said."""
    program = _KILLED.format(root=str(ROOT), stage=stage, times=times, words=list(words), name=name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{name} was to end it in {stage}, but it gave {done.returncode}:\n{done.stderr}"
    return done.stderr
