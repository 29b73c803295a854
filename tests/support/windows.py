"""What Windows would refuse, found on Linux: no file that is open or mapped may be replaced, moved or removed there.

Folders do not count: `svfr_model/files/staging.py` locks them by an open descriptor, and in another way on Windows.
Also the names that Windows does not take as they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

CHANGES = ("replace", "rename", "unlink", "remove")
REFUSED = frozenset('<>"|?*') | {chr(code) for code in range(32)}
"""Characters that no name may hold. A colon begins the name of a stream of the file whose name stands before it."""
DEVICES = frozenset({"aux", "con", "nul", "prn"})
LONGEST_PATH = 259


def refuse_open_files(monkeypatch) -> None:
    """Let os.replace, os.rename and os.unlink (pathlib's too) fail for files that this process holds open."""
    for name in CHANGES:
        monkeypatch.setattr(os, name, _guarded(name, getattr(os, name)))


def take_names_as_windows(monkeypatch) -> None:
    """Let Path.touch take, refuse or change names as Windows does."""
    touch = Path.touch

    def touched(path: Path, *args, **options) -> None:
        if set(path.name) & REFUSED:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        if len(str(path.absolute())) > LONGEST_PATH:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if path.stem.lower() not in DEVICES:
            touch(path.with_name(path.name.split(":")[0].rstrip(". ")), *args, **options)

    monkeypatch.setattr(Path, "touch", touched)


def _guarded(name: str, change: Callable) -> Callable:
    def guarded(*paths, **options):
        held = _held()
        for path in paths:
            real = os.path.realpath(path)
            assert real not in held or os.path.isdir(real), f"os.{name} of {path}, which is open: Windows refuses that"
        return change(*paths, **options)

    return guarded


def _held() -> set[str]:
    """The files that this process holds open or mapped; none where /proc does not tell."""
    if not Path("/proc/self/fd").is_dir():
        return set()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        held = {line[73:].rstrip("\n") for line in maps if len(line) > 73}  # the path is the last column
    for entry in os.scandir("/proc/self/fd"):
        try:
            held.add(os.readlink(entry.path))
        except OSError:  # scandir's own, closed by now
            continue
    return held
