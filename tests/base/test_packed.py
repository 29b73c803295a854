"""Whatever is kept of a search, in bytes."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from svfr_model.base.packed import pack, unpack

TREE = {
    "count": 48,
    "score": 0.1 + 0.2,
    "names": ["a", None, True, "ä"],
    "people": [{"boxes": np.array([[0.1, 1e-300, -0.0, np.inf]]), "seen": np.array([True, False])}, {}],
    "looks": [np.arange(3, dtype=np.float32), None],
    "empty": np.zeros((0, 5, 2)),
    "array": {"array": np.uint8([7]), "more": []},
}


def same(one, other):
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_all_of_it_comes_back_bit_for_bit():
    packed = pack(TREE)
    assert (packed.dtype, packed.ndim) == (torch.uint8, 1)
    assert same(unpack(packed), TREE)


@pytest.mark.parametrize("damage", [slice(0, 400), slice(-60, None), slice(None)])
def test_what_is_damaged_is_none_and_said(caplog, damage):
    packed = pack(TREE)
    packed[damage] = 0
    with caplog.at_level(logging.WARNING):
        assert unpack(packed) is None
    assert "damaged" in caplog.text
    assert "done anew" in caplog.text


def test_what_would_run_code_is_damaged():
    with pytest.raises(TypeError):
        pack({"a": object()})
    array = np.empty(1, object)
    array[0] = print
    assert unpack(pack({"a": array})) is None
