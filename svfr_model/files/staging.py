"""Outputs that appear complete or not at all: everything this library writes is first written under a hidden name.

A staged output lies in a hidden folder beside its target, locked as long as its run lives, and is put in place in one
step. A killed run leaves that folder behind; the next run that writes to the same place finds it unlocked and removes
it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ..base.errors import InputError, cannot_write

log = logging.getLogger(__name__)

PREFIX = ".svfr-"
"""How the names of hidden folders begin. The names do not depend on the target's, which may be as long as the file
system allows."""
_HIDDEN = re.compile(re.escape(PREFIX) + r"[0-9a-f]{12}")
LOCK = ".lock"
_FILE = "staged"
_LONGEST_SUFFIX = 20
"""No suffix that a writer looks at is longer, and a name may consist of a suffix alone."""
committed: dict[Path, None] = {}
"""What this process has put in place, in order, so that an interrupted process can report it."""
living: set[Passing] = set()
"""What this process is to remove before it ends."""
left: dict[Path, None] = {}
"""The outputs whose work this process has left to a later one."""
_WINDOWS = sys.platform == "win32"
_WAITS = (0.1, 0.5, 2.0) if _WINDOWS else ()
"""Seconds between attempts to put a file in place: Windows refuses while another program has it or its target open, and
virus scanners open every new file."""


class Passing(Protocol):
    """What is on the disk only as long as a run lives."""

    def discard(self) -> None:
        """Remove it; may be called at any time, and more than once."""
        ...

    def keep(self) -> None:
        """Leave behind, instead of removing, what a later run can go on with."""
        ...


class Staging:
    """A file or folder that is written under a hidden name and then takes the place of its target.

    `path` is where to write until `commit` or `discard`. It is a hidden folder or lies in one, so that anything else
    written on the way (safetensors has a temporary file of its own) is hidden, locked and removed with it. A target
    that is a link stays one: what it points to is replaced. Staging removes what dead runs left beside the target.
    Raises OSError if the folder cannot be written to.
    """

    def __init__(self, target: Path, *, folder: bool = False, inside: bool = False) -> None:
        """folder: the target is a folder. inside: stage inside the target, an existing folder, instead of beside it."""
        self._given, self.target = target, Path(os.path.realpath(target))
        self._is_folder = folder
        parent = self.target if inside else self.target.parent
        remove_leftovers(parent)
        self._hidden, self._lock = hidden_folder(parent)
        self.path = self._hidden
        if not folder:
            self.path /= f"{_FILE}{target.suffix[:_LONGEST_SUFFIX]}"
            self.path.touch()
        living.add(self)

    def commit(self) -> None:
        """Put it in place. A file replaces its target; a folder needs a target that does not exist or is empty.

        Raises InputError if a file's target cannot be replaced; the staged file then lies beside it.
        """
        if self._is_folder and not self.target.is_dir():
            if _WINDOWS:  # It renames no folder in which a file is open.
                self._unlock()
            _patiently(self.path.rename, self.target)
        elif self._is_folder:
            # It may be a mount point or a link, so it is filled, never replaced.
            for made in sorted(set(self.path.iterdir()) - {self.path / LOCK}):
                _patiently(made.replace, self.target / made.name)
        else:
            self._replace()
        committed[self._given] = None
        self.discard()

    def _replace(self) -> None:
        """Take the target's place, or one beside it: hours of work are not lost to a player that has it open."""
        try:
            _patiently(self.path.replace, self.target)
        except OSError as error:
            beside = self.target.with_name(f"svfr-{secrets.token_hex(3)}{self.path.suffix}")
            try:
                self.path.rename(beside)
            except OSError:
                raise error from None
            committed[beside] = None
            raise InputError(
                f"{self._given}: cannot be replaced ({error.strerror}). The complete result is in {beside}: close the "
                "program that has the other file open, and rename this one."
            ) from error

    def discard(self) -> None:
        """Remove it; may be called at any time, and more than once."""
        self._unlock()
        shutil.rmtree(self._hidden, ignore_errors=True)
        living.discard(self)

    def keep(self) -> None:
        """Nothing: no run goes on with half a file."""

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        (self._hidden / LOCK).unlink(missing_ok=True)


@contextlib.contextmanager
def staged(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Where to write what will become target: put in place if the block succeeds, removed otherwise.

    The block should only write: every OSError in it becomes an InputError that names target.
    """
    try:
        staging = Staging(target, folder=folder)
        try:
            yield staging.path
            staging.commit()
        except BaseException:
            staging.discard()
            raise
    except OSError as error:
        raise cannot_write(target, error) from error


def keep_work() -> None:
    """Leave behind what a later run can go on with: this process was ended, but nobody has given up its work."""
    for passing in list(living):
        passing.keep()


def discard_all() -> None:
    """Remove all that must not outlive this process, which is about to end without another chance to do so."""
    for passing in list(living):
        passing.discard()


def remove_leftovers(folder: Path) -> bool:
    """Remove what killed runs left in a folder; what a living run stages there is locked, and stays.

    Returns whether anything stays.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if _HIDDEN.fullmatch(entry.name)]
    except OSError:
        return False  # It cannot be read, or is not there: whoever writes into it will say so.
    for path in (folder / name for name in names):
        # OSError: another run was quicker, the file is not ours to remove, or there are no locks to tell by.
        with contextlib.suppress(OSError):
            if _remove_if_dead(path):
                log.warning("%s: removed; a killed run had left it behind.", path)
    return any((folder / name).exists() for name in names)


def _patiently(change: Callable[[Path], object], target: Path) -> None:
    """Put something at target; if that is not permitted, try again after each of _WAITS."""
    for seconds in _WAITS:
        try:
            change(target)
        except PermissionError:
            time.sleep(seconds)
        else:
            return
    change(target)


def hidden_folder(parent: Path) -> tuple[Path, int | None]:
    """A new hidden folder under a name of its own, and the descriptor that locks it. Raises OSError."""
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(6)}"
        path.mkdir()
        try:
            lock = hold(path)
        except BlockingIOError:
            continue  # Another run took it for a dead one's, in the moment before it was locked.
        if path.exists():
            return path, lock
        if lock is not None:
            os.close(lock)


def hold(folder: Path) -> int | None:
    """The descriptor that locks a folder until it is closed; None if the file system has no locks.

    Raises BlockingIOError where a living run holds it.
    """
    try:
        return _locked_file(folder / LOCK) if _WINDOWS else _flocked(folder)
    except BlockingIOError:
        raise
    except OSError:
        return None


def _locked_file(path: Path) -> int:
    """On Windows a file that is open cannot be removed: that is the lock."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError as error:
        raise BlockingIOError(error.errno, "it is locked", str(path)) from error
    return os.open(path, os.O_CREAT | os.O_RDWR)


def _flocked(folder: Path) -> int:
    """A descriptor that locks folder until it is closed. Raises OSError if the folder is locked or cannot be."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_dead(folder: Path) -> bool:
    """Remove a folder that no living run holds. Raises OSError if one does, or if that cannot be determined."""
    if _WINDOWS:
        (folder / LOCK).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    else:
        lock = _flocked(folder)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
    return not folder.exists()
