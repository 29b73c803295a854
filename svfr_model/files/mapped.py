"""A `Memory` in files: its arrays take no memory of the process, and what is saved outlives a `kill -9`.

A folder holds an array in each .npy file, and in one more file how far each stage has come. A file appears under its
name when it is whole, so whatever is there can be trusted, wherever the process was ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError, cannot_write
from ..base.memory import ASIDE, Memory

log = logging.getLogger(__name__)

STAGES = "stages.json"
_NEW = ".new"
"""Suffix of files that are not whole yet."""
_SELDOM_SECONDS = 2.0
_TYPES = {
    torch.uint8: np.dtype(np.uint8),
    torch.bool: np.dtype(np.bool_),
    torch.int64: np.dtype(np.int64),
    torch.float16: np.dtype(np.float16),
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}


class MappedMemory(Memory):
    """Arrays in the files of a folder, which is made where it is missing. Raises InputError where it cannot be."""

    def __init__(self, folder: Path, above: MappedMemory | None = None) -> None:
        """above: the memory that this is a part of, whose arrays are saved with those of this."""
        self.folder, self._above = folder, above
        self._maps: dict[str, np.memmap[Any, Any]] = {}
        with _named(folder):
            folder.mkdir(exist_ok=True)
            self._stages = _stages(folder / STAGES)
        self._saved = 0.0

    def array(self, name: str, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """See `Memory.array`."""
        wanted, path = tuple(shape), self._path(name)
        mapped = self._maps.get(name)
        if mapped is None and path.exists():
            mapped = self._open(name)
        if mapped is None or (mapped.shape, mapped.dtype) != (wanted, _TYPES[dtype]):
            del mapped
            self._maps.pop(name, None)  # Windows replaces no file that is mapped
            with _named(self.folder):
                _make(path, wanted, _TYPES[dtype])
            mapped = self._open(name)
        return torch.from_numpy(mapped)

    def kept(self, name: str) -> Tensor:
        """See `Memory.kept`."""
        if name not in self._maps and not self._path(name).exists():
            raise KeyError(name)
        return torch.from_numpy(self._maps[name] if name in self._maps else self._open(name))

    def done(self, stage: str) -> int:
        """See `Memory.done`."""
        return self._stages.get(stage, 0)

    def save(
        self, stage: str, done: int, arrays: Mapping[str, Tensor] | None = None, *, seldom: bool = False
    ) -> None:
        """See `Memory.save`: first the arrays, then that they are there, each for good before the next is begun."""
        if not self.is_due(seldom=seldom):
            return
        for name, tensor in (arrays or {}).items():
            mine = self.array(name, tensor.shape, tensor.dtype)
            if mine.data_ptr() != tensor.data_ptr():
                mine.copy_(tensor)
        with _named(self.folder):
            self._flush()
            write_whole(self.folder / STAGES, json.dumps({**self._stages, stage: done}).encode())
        self._stages[stage] = done
        self._saved = time.monotonic()

    def is_due(self, *, seldom: bool = False) -> bool:
        """See `Memory.is_due`."""
        return not seldom or time.monotonic() - self._saved >= _SELDOM_SECONDS

    def _flush(self) -> None:
        for mapped in self._maps.values():
            mapped.flush()
        if self._above is not None:
            self._above._flush()

    def part(self, name: str) -> MappedMemory:
        """See `Memory.part`."""
        return MappedMemory(self.folder / name, self)

    def drop(self) -> None:
        """See `Memory.drop`: gives the space back."""
        self._maps.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def require(self, size: int) -> None:
        """See `Memory.require`."""
        free, taken = self._free(), self._taken()
        if size > free + taken:
            raise InputError(
                f"{self.folder}: the work needs {_said(size - taken)} here for the crops and latents of the clip, but "
                f"{_said(free)} are free. Free some space, or let the work lie on another disk (--work)."
            )

    def has_room(self, size: int) -> bool:
        """See `Memory.has_room`."""
        return size <= self._free() + self._taken()

    def _free(self) -> int:
        return shutil.disk_usage(self.folder).free

    def _taken(self) -> int:
        """What is reserved already of what is asked for."""
        taken = 0
        for place, parts, names in os.walk(self.folder):
            parts[:] = [part for part in parts if not part.startswith(ASIDE)]
            for name in names:
                with contextlib.suppress(OSError):  # a part that is dropped meanwhile
                    taken += os.stat(os.path.join(place, name)).st_size
        return taken

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _open(self, name: str) -> np.memmap[Any, Any]:
        with _named(self.folder):
            self._maps[name] = np.lib.format.open_memmap(self._path(name), mode="r+")
        return self._maps[name]


def _stages(path: Path) -> dict[str, int]:
    """How far each stage has come, as it was last saved."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        log.warning("%s: damaged, so this part of the work begins anew", path)
        return {}
    return {str(stage): int(done) for stage, done in found.items()}


def _make(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """A file for an array, with its whole space reserved: writing to a map on a full disk would end the process."""
    new = path.with_name(path.name + _NEW)
    try:
        with new.open("w+b") as file:
            header = np.lib.format.header_data_from_array_1_0(np.empty((0,), dtype)) | {"shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            _reserve(file.fileno(), file.tell(), math.prod(shape) * dtype.itemsize)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _reserve(file: int, begin: int, size: int) -> None:
    """So many bytes from there on."""
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(file, begin, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        else:
            return
    os.lseek(file, begin, os.SEEK_SET)
    part = bytes(min(size, 1 << 20))
    for first in range(0, size, 1 << 20):
        os.write(file, part[: size - first])


def write_whole(path: Path, content: bytes) -> None:
    """A small file that is there whole, with this or with what it held before, whatever ends the process or machine."""
    new = path.with_name(path.name + _NEW)
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextlib.contextmanager
def _named(folder: Path) -> Iterator[None]:
    """An OSError becomes an InputError that says where the work lies."""
    try:
        yield
    except OSError as error:
        raise cannot_write(folder, error) from error


def _said(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
