"""Being as powerless as a user while the tests run as root."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

import pytest

_VERSION = 0x20080522
_OVERRIDES = (1 << 1) | (1 << 2) | (1 << 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


@contextlib.contextmanager
def without_override() -> Iterator[None]:
    """Let permissions hold for this thread, root or not, until the block ends."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("root can write everywhere here: run the tests as a user")
    libc = ctypes.CDLL(None, use_errno=True)
    header, data = _Header(_VERSION, 0), (_Data * 2)()
    _call(libc.capget, header, data)
    kept = data[0].effective
    data[0].effective &= ~_OVERRIDES
    _call(libc.capset, header, data)
    try:
        yield
    finally:
        data[0].effective = kept
        _call(libc.capset, header, data)


def _call(function: ctypes._CFuncPtr, header: _Header, data: ctypes.Array) -> None:
    if function(ctypes.byref(header), data):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
