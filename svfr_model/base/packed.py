"""Numbers, texts and arrays of any shape in one array of bytes, so that a `Memory` can keep them."""

from __future__ import annotations

import io
import json
import logging
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

log = logging.getLogger(__name__)

_ARRAY = "array"


def pack(tree: Any) -> Tensor:
    """Dicts with text for keys, lists, numbers, texts, None and numpy arrays, as (n,) uint8.

    Numbers and arrays come back bit for bit. No dict may have "array" as its only key.
    """
    arrays: list[np.ndarray] = []

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {_ARRAY: len(arrays) - 1}
        if isinstance(value, dict):
            return {key: plain(entry) for key, entry in value.items()}
        return [plain(entry) for entry in value] if isinstance(value, list) else value

    text = np.frombuffer(json.dumps(plain(tree)).encode(), np.uint8)  # which puts all arrays into the list
    packed = io.BytesIO()
    np.savez(packed, *arrays, text=text)
    return torch.frombuffer(bytearray(packed.getbuffer()), dtype=torch.uint8)


def unpack(packed: Tensor) -> Any:
    """What `pack` was given; None, with a warning, where the bytes are damaged. Nothing in them is run."""
    try:
        with np.load(io.BytesIO(packed.numpy().tobytes()), allow_pickle=False) as file:
            return json.loads(
                file["text"].tobytes(),
                object_hook=lambda entry: file[f"arr_{entry[_ARRAY]}"] if [*entry] == [_ARRAY] else entry,
            )
    except (BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
        log.warning("A part of the work is damaged (%s) and is done anew.", error)
        return None
