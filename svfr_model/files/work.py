"""The folder in which a run keeps what a later one can go on with, if it is killed.

It lies beside the output, or where the user says, and has a manifest that tells whose work it is: what the result
depends on, part by part. A run that ends, well or not, removes it, and so does one that is cancelled; one that is
killed, or told to end by the system, leaves it. Whatever else has its name is not ours and stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

from ..base.errors import InputError, cannot_write
from .mapped import STAGES, MappedMemory, write_whole
from .staging import PREFIX, Staging, hidden_folder, hold, left, living, remove_leftovers

log = logging.getLogger(__name__)

MANIFEST = "svfr-work.json"
_ARRAYS = "arrays"
_MAKER = "svfr_model"
_DAY = 24 * 60 * 60.0
_WINDOWS = sys.platform == "win32"
_DIGEST = re.compile(r"[0-9a-f]{64}|")

Parts: TypeAlias = "Mapping[str, Any]"
"""What a result depends on, by name and ready for JSON; see `runs.fingerprint`."""


class WorkFolder:
    """The work folder of one output, as a context manager that gives the memory in it.

    What a killed run left there is taken up if its parts are the same; otherwise it is said which are not, and the work
    begins anew. Raises InputError on entering for a place that cannot be written to, for one where a living run is at
    work, and for a folder of this name that is not ours.
    """

    def __init__(self, target: Path, parts: Parts, place: Path | None = None) -> None:
        """target: the output. parts: what it depends on. place: the folder to make the work folder in; None is beside
        the output.
        """
        self.target, self.path = target, work_path(target, place)
        self._parts = dict(parts)
        self._lock: int | None = None
        self._kept = False

    def __enter__(self) -> MappedMemory:
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path.parent}: there is no such folder for the work. Create it first.")
        try:
            while not (self._take_up() if os.path.lexists(self.path) else self._make()):
                pass  # another run was quicker: it has made the folder, or has ended and removed it
        except OSError as error:
            raise cannot_write(self.path, error) from error
        living.add(self)
        try:
            return MappedMemory(self.path / _ARRAYS)
        except BaseException:
            self.discard()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, SystemExit):  # as Ray ends its workers; nobody has given up the work
            self.keep()
        self.discard()

    def keep(self) -> None:
        """From now on, `discard` leaves it behind, if there is anything in it."""
        self._kept = True

    def discard(self) -> None:
        """Remove it; may be called at any time, and more than once."""
        if self not in living:
            return
        if self._kept and next(self.path.rglob(STAGES), None) is not None:
            self._unlock()
            living.discard(self)
            left[self.target] = None
            return
        if _WINDOWS:  # It renames no folder in which a file is open.
            self._unlock()
        _remove(self.path)
        self._unlock()
        living.discard(self)

    def _make(self) -> bool:
        """Make the folder, locked and with its manifest before it has its name; False if one is there by now."""
        parent = self.path.parent
        remove_leftovers(parent)
        hidden, self._lock = hidden_folder(parent)
        try:
            self._write_manifest(hidden)
            if _WINDOWS:
                self._unlock()
            hidden.rename(self.path)
            if _WINDOWS:
                self._lock = hold(self.path)
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)
            self._unlock()
            if os.path.lexists(self.path):
                return False
            raise
        return True

    def _take_up(self) -> bool:
        """Lock what is there, and empty it if it was made for something else; False if it is gone by now."""
        self._require_ours()
        try:
            self._lock = hold(self.path)
        except BlockingIOError as error:
            raise InputError(
                f"{self.target}: another run is at work on this. Wait until it has ended, or give another output."
            ) from error
        before = _parts_of(self.path)
        if before is None:  # it was removed in the meantime
            self._unlock()
            return False
        different = differences(before, self._parts)
        if different:
            log.warning(
                "%s: a killed run has left its work, but something else was asked for then: %s. All of it is done "
                "anew.",
                self.target,
                "; ".join(different),
            )
            shutil.rmtree(self.path / _ARRAYS, ignore_errors=True)
            self._write_manifest(self.path)
        else:
            log.warning("%s: a killed run has left its work, which goes on.", self.target)
        return True

    def _require_ours(self) -> None:
        if _parts_of(self.path) is None and os.path.lexists(self.path):
            raise InputError(
                f"{self.path}: this is where the work of this run would lie, but it is no work folder of ours. Move it "
                "away, or let the work lie elsewhere (--work)."
            )

    def _write_manifest(self, folder: Path) -> None:
        manifest = {"made by": _MAKER, "output": str(self.target), "parts": self._parts}
        write_whole(folder / MANIFEST, json.dumps(manifest, indent=1).encode())

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def work_path(target: Path, place: Path | None) -> Path:
    """Where the work folder of an output is: beside it under a name that follows from its own, or in a common place."""
    real = Path(os.path.realpath(target))
    known_by = real.name if place is None else str(real)
    digest = hashlib.sha256(known_by.encode(errors="surrogateescape")).hexdigest()
    return (real.parent if place is None else place) / f"{PREFIX}work-{digest[:12]}"


def remove_dead(target: Path, place: Path | None) -> None:
    """Remove the work folder of an output, if there is one and no living run holds it."""
    path = work_path(target, place)
    if _parts_of(path) is None:
        return
    with contextlib.suppress(OSError):
        lock = hold(path)
        _remove(path)
        if lock is not None:
            os.close(lock)


def remove_abandoned(folder: Path, days: float, ours: Callable[[Parts], bool]) -> None:
    """Remove work in a folder that no living run holds and that was not gone on with for so many days.

    ours: whether the parts of a work folder are of the kind that may be removed.
    """
    for path in folder.glob(f"{PREFIX}work-*"):
        parts = _parts_of(path)
        if parts is None or not ours(parts):
            continue
        with contextlib.suppress(OSError):
            last = max(file.stat().st_mtime for file in [path / MANIFEST, *path.rglob(STAGES)])
            if time.time() - last < days * _DAY:
                continue
            lock = hold(path)
            log.warning("%s: removed; a killed run had left it, and none has gone on with it for %g days.", path, days)
            _remove(path)
            if lock is not None:
                os.close(lock)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[MappedMemory]:
    """A memory in a hidden folder that no later run goes on with. Raises InputError where it cannot be made."""
    try:
        staging = Staging(folder / "work", folder=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield MappedMemory(staging.path / _ARRAYS)
    finally:
        staging.discard()


def differences(before: Parts, now: Parts) -> list[str]:
    """What is not the same in two sets of parts, in words."""
    one, two = dict(_leaves(before)), dict(_leaves(now))
    names = [name for name in {**one, **two} if one.get(name) != two.get(name)]
    return [_difference(name, one.get(name), two.get(name)) for name in names]


def _leaves(parts: Parts, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, by the names that lead to it."""
    for name, value in parts.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _difference(name: str, before: Any, now: Any) -> str:
    word = name.removeprefix("options.").removeprefix("options.").replace("weights.", "weights ")
    if any(isinstance(value, str) and _DIGEST.fullmatch(value) for value in (before, now)):
        return f"{word} (other content)"
    return f"{word} ({json.dumps(before)}, now {json.dumps(now)})"


def _parts_of(path: Path) -> Parts | None:
    """The parts that a folder was made for; None where there is none of ours."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    parts = manifest.get("parts") if isinstance(manifest, dict) and manifest.get("made by") == _MAKER else None
    return parts if isinstance(parts, dict) else None


def _remove(path: Path) -> None:
    """Remove a work folder; what is left if that is interrupted is nobody's work, and the next run removes it."""
    hidden = path.with_name(f"{PREFIX}{secrets.token_hex(6)}")
    try:
        path.rename(hidden)
    except OSError:  # on Windows, where a file in it is open
        hidden = path
    shutil.rmtree(hidden, ignore_errors=True)
