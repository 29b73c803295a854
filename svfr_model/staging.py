"""Outputs that appear whole or not at all: everything this library writes is made under a hidden name first.

A staged file or folder lies beside its target, is locked while its run lives, and is put in place in one step. A run
that is killed leaves it; the next run that writes into the same folder finds it unlocked and removes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = ".svfr-"
"""How the names of staged files and folders begin. They do not grow with the target's name, which may be as long as
the file system allows."""
_LOCK = ".lock"
_WINDOWS = sys.platform == "win32"


class Staging:
    """A file, or a folder, that is made in hiding and then takes the place of its target.

    `path` is where to write until `commit` or `discard`. Staging removes what dead runs left beside the target. Raises
    OSError where the folder cannot be written to.
    """

    def __init__(self, target: Path, *, folder: bool = False, inside: bool = False) -> None:
        """folder: the target is a folder. inside: lie inside the target, an existing folder, instead of beside it."""
        self.target = target
        self._folder = folder
        parent = target if inside else target.absolute().parent
        remove_leftovers(parent)
        self.path, self._lock = _made(parent, target.suffix, folder)

    def commit(self) -> None:
        """Put it in place. A file replaces its target; a folder needs a target that is not there, or is empty."""
        self._unlock()
        if not self._folder:
            self.path.replace(self.target)
        elif self.target.is_dir():
            # It may be a mount point or a link, so it is filled, never replaced.
            for made in sorted(self.path.iterdir()):
                made.replace(self.target / made.name)
            self.path.rmdir()
        else:
            self.path.rename(self.target)

    def discard(self) -> None:
        """Remove it; may be called at any time, and again."""
        self._unlock()
        _remove(self.path)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._folder:
            (self.path / _LOCK).unlink(missing_ok=True)


@contextlib.contextmanager
def staged(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """Where to write what shall become target: it is put in place when the block ends well, else removed."""
    staging = Staging(target, folder=folder)
    try:
        yield staging.path
        staging.commit()
    except BaseException:
        staging.discard()
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what runs that were killed have staged in a folder; what a living run stages there is locked and stays."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(PREFIX)]
    except OSError:
        return  # It cannot be read, or is not there: whoever writes into it will say so.
    for path in (folder / name for name in names):
        # OSError: another run was quicker, the file is not ours to remove, or there are no locks to tell by.
        with contextlib.suppress(OSError):
            if _remove_if_dead(path):
                log.warning("%s: removed; a run that was killed had left it.", path)


def _made(parent: Path, suffix: str, folder: bool) -> tuple[Path, int | None]:
    """A new staged file or folder under a name of its own, and the descriptor that locks it."""
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(6)}{'' if folder else suffix}"
        if folder:
            path.mkdir()
        else:
            path.touch(exist_ok=False)
        lock = _hold(path)
        if path.exists():
            return path, lock
        # Another run took it for a dead one's, in the moment before it was locked.
        if lock is not None:
            os.close(lock)


def _hold(path: Path) -> int | None:
    """Lock what was just made; None where the file system has no locks."""
    if _WINDOWS:  # A file that is open cannot be removed there: that is the lock. A folder's lies in it.
        return os.open(path / _LOCK if path.is_dir() else path, os.O_CREAT | os.O_RDWR)
    try:
        return _flocked(path)
    except OSError:
        return None


def _flocked(path: Path) -> int:
    """A descriptor that locks path until it is closed. Raises OSError where it is locked, or cannot be."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_if_dead(path: Path) -> bool:
    """Remove what no living run holds. Raises OSError where one does, or where that cannot be told."""
    if _WINDOWS:
        (path / _LOCK if path.is_dir() else path).unlink(missing_ok=True)
        _remove(path)
    else:
        lock = _flocked(path)
        _remove(path)
        os.close(lock)
    return not path.exists()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
