"""How much memory is free, and what counts as running out of it."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch

from svfr_model.base.devices import free_memory, is_out_of_memory

GIB = 2**30


@pytest.fixture
def card(monkeypatch):
    """A card of 8 GiB of which others have 1 and torch holds 4, half of it unused; a function sets the fraction."""
    answers = {
        "memory_reserved": 4 * GIB,
        "memory_allocated": 2 * GIB,
        "mem_get_info": (3 * GIB, 8 * GIB),
        "get_device_properties": SimpleNamespace(total_memory=8 * GIB),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, answer=answer: answer)

    def limit(fraction):
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: fraction, raising=False)

    return limit


def test_what_torch_holds_and_does_not_use_is_free(card):
    card(1.0)
    assert free_memory(torch.device("cuda")) == 5 * GIB


def test_a_process_that_is_limited_has_no_more_than_its_share(card):
    card(0.5)
    assert free_memory(torch.device("cuda")) == 2 * GIB


def test_on_the_cpu_it_is_what_the_system_gives():
    assert free_memory(torch.device("cpu")) == pytest.approx(psutil.virtual_memory().available, rel=0.5)


@pytest.mark.parametrize(
    ("error", "is_that"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("a shape is wrong"), False),
    ],
)
def test_running_out_of_memory_is_told_from_other_errors(error, is_that):
    assert is_out_of_memory(error) is is_that
