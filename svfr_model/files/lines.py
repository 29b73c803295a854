"""JSON Lines files that grow while a run works: a line is there whole or not at all, whatever ends the run."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..base.errors import InputError, cannot_write

log = logging.getLogger(__name__)

_BINARY: int = getattr(os, "O_BINARY", 0)
"""Windows' own, against line ends of two characters."""


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON Lines file, [] where there is none. Raises InputError if it cannot be read.

    A line that holds no object is left out with a warning: a machine that lost its power may have written half of one.
    A last line without its end is left out silently: another run may be writing it at this moment.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check its permissions, or remove it.") from error
    found = []
    ended, _, _ = text.rpartition("\n")
    for number, line in enumerate(ended.split("\n"), 1):
        entry = _object(line)
        if entry is not None:
            found.append(entry)
        elif line.strip():
            log.warning("%s: line %d is damaged and left out", path, number)
    return found


def _object(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


class LineFile:
    """A JSON Lines file that this process alone appends to, as a context manager.

    Each line is one write to the end of the file, so that lines never mix. Raises InputError on entering where another
    run appends to it, and for a file that cannot be written.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Nothing is opened yet. durable: when `add` returns, the line is on the disk, come what may."""
        self.path = path
        self._durable = durable
        self._file: int | None = None

    def __enter__(self) -> LineFile:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY, 0o666)
            self._lock(self._file)
            self._end_last_line(self._file)
        except OSError as error:
            self.__exit__(None, None, None)
            raise cannot_write(self.path, error) from error
        except InputError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)  # and with it the lock goes
            self._file = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an object as one line. Raises InputError if it cannot be written."""
        if self._file is None:
            raise ValueError(f"{self.path} is not open")
        try:
            self._write(self._file, json.dumps(entry, ensure_ascii=False) + "\n")
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _write(self, file: int, text: str) -> None:
        os.write(file, text.encode("utf-8", errors="backslashreplace"))
        if self._durable:
            os.fsync(file)

    def _lock(self, file: int) -> None:
        if sys.platform == "win32":
            return  # its locks keep others from reading, too
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{self.path}: another run is at work here. Wait until it has ended, or give it another folder."
            ) from error
        except OSError:
            log.debug("%s: the file system has no locks", self.path)

    def _end_last_line(self, file: int) -> None:
        """So that half a line harms no other."""
        end = os.lseek(file, 0, os.SEEK_END)
        if end and os.lseek(file, end - 1, os.SEEK_SET) >= 0 and os.read(file, 1) != b"\n":
            self._write(file, "\n")
