"""The SHA-256 of files, read once: what was computed is kept by path, size and time of the last change."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from types import TracebackType

from .lines import LineFile, read_lines

_PART = 1 << 20
_FRESH_SECONDS = 2.0
"""A file that was changed so recently may change again without another time: some file systems count in two seconds."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, read in parts."""
    digest = hashlib.sha256()
    part = memoryview(bytearray(_PART))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(part):
            digest.update(part[:count])
    return digest.hexdigest()


class Digests:
    """SHA-256 of files and folders; a context manager that keeps them in a JSON Lines file where it is given one.

    Every byte of a file is read, but only once: as long as path, size and time of change are the same, what was found
    is not computed again, in later runs neither. Raises InputError on entering where another run keeps its own there.
    """

    def __init__(self, store: Path | None = None) -> None:
        """store: the file to keep them in; None keeps them in memory only."""
        self._store = LineFile(store, durable=False) if store is not None else None
        self._known: dict[tuple[str, int, int], str] = {}

    def __enter__(self) -> Digests:
        if self._store is not None:
            self._store.__enter__()
            for entry in read_lines(self._store.path):
                key = str(entry.get("path")), entry.get("size"), entry.get("mtime_ns")
                self._known[key] = str(entry.get("sha256"))  # type: ignore[index]  # what is no number matches none
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.__exit__(kind, error, trace)

    def of(self, path: Path) -> str:
        """The digest of a file, or of a folder's file names and files; "" for what cannot be read.

        What cannot be read is left to those who read it: they say why.
        """
        try:
            if path.is_dir():
                return self._of_folder(path)
            return self._of_file(path) if path.is_file() else ""  # a pipe or a device may have no end
        except OSError:
            return ""

    def _of_folder(self, folder: Path) -> str:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        lines = [f"{name}\0{self._of_file(folder / name)}" for name in names]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()

    def _of_file(self, path: Path) -> str:
        place, found = os.path.realpath(path), path.stat()
        key = place, found.st_size, found.st_mtime_ns
        if key not in self._known:
            digest = sha256_of(path)
            if time.time() - found.st_mtime < _FRESH_SECONDS:
                return digest
            self._known[key] = digest
            if self._store is not None:
                self._store.add({"path": place, "size": key[1], "mtime_ns": key[2], "sha256": digest})
        return self._known[key]
