"""Arrays in files: what was saved is there after a kill, and nothing half-written is taken for whole."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.base.memory import Memory
from svfr_model.files import mapped
from svfr_model.files.mapped import MappedMemory

TYPES = (torch.uint8, torch.bool, torch.int64, torch.float16, torch.float32, torch.float64)


@pytest.fixture
def memory(tmp_path):
    return MappedMemory(tmp_path / "work")


def again(memory):
    """What a later process finds."""
    return MappedMemory(memory.folder)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_an_array_comes_back_as_it_was(memory, dtype):
    values = (torch.arange(24).reshape(2, 3, 4) % 7 * (1 if dtype == torch.uint8 else -1)).to(dtype)
    memory.array("a", values.shape, dtype).copy_(values)
    memory.save("stage", 3)
    later = again(memory)
    assert later.done("stage") == 3
    assert torch.equal(later.kept("a"), values)
    assert torch.equal(later.array("a", values.shape, dtype), values)
    assert later.kept("a").dtype == dtype


def test_what_lies_elsewhere_is_copied_when_it_is_saved(memory):
    memory.save("stage", 1, {"numbers": torch.tensor([1.5, 2.5], dtype=torch.float64)})
    assert again(memory).kept("numbers").tolist() == [1.5, 2.5]


def test_an_array_of_another_shape_or_type_takes_the_place_of_the_old(memory):
    memory.array("a", (4,)).fill_(1)
    assert memory.array("a", (2, 5)).shape == (2, 5)
    assert memory.array("a", (2, 5), torch.uint8).dtype == torch.uint8
    assert again(memory).kept("a").shape == (2, 5)


def test_stages_and_parts_are_apart_and_a_part_can_be_dropped(memory):
    part = memory.part("track")
    part.array("a", (3,)).fill_(2)
    part.save("one", 1)
    memory.save("one", 5)
    memory.save("two", 6)
    assert (memory.done("one"), memory.done("two"), memory.done("three")) == (5, 6, 0)
    assert again(memory).part("track").done("one") == 1
    part.drop()
    assert again(memory).part("track").done("one") == 0
    with pytest.raises(KeyError):
        again(memory).part("track").kept("a")


def test_what_is_saved_seldom_is_not_saved_many_times_a_second(memory, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(mapped.time, "monotonic", lambda: now[0])
    memory.save("decoded", 1)
    memory.save("decoded", 2, seldom=True)
    assert again(memory).done("decoded") == 1
    now[0] += mapped._SELDOM_SECONDS
    memory.save("decoded", 3, seldom=True)
    assert again(memory).done("decoded") == 3


def test_a_stage_is_noted_only_when_its_arrays_are_on_the_disk(memory, monkeypatch):
    order = []
    flush, replace = mapped.np.memmap.flush, os.replace
    monkeypatch.setattr(mapped.np.memmap, "flush", lambda self: order.append("array") or flush(self))
    monkeypatch.setattr(mapped.os, "fsync", lambda file: order.append("sync"))
    monkeypatch.setattr(mapped.Path, "replace", lambda self, to: order.append(to.name) or replace(self, to))
    memory.array("a", (2,))
    part = memory.part("p")
    part.array("b", (2,))
    del order[:]
    part.save("stage", 1)
    assert order == ["array", "array", "sync", mapped.STAGES, "sync"]  # also of the memory above


def test_a_half_written_array_or_stage_is_not_taken_for_one(memory):
    memory.array("a", (2,)).fill_(4)
    memory.save("stage", 2)
    (memory.folder / f"b.npy{mapped._NEW}").write_bytes(b"\x93NUMPY")
    (memory.folder / f"{mapped.STAGES}{mapped._NEW}").write_bytes(b"{")
    later = again(memory)
    assert later.done("stage") == 2
    assert later.array("b", (3,)).shape == (3,)
    assert later.kept("a").tolist() == [4, 4]


def test_a_full_disk_is_told_and_leaves_no_array(memory, monkeypatch):
    def full(file, begin, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mapped, "_reserve", full)
    with pytest.raises(InputError, match=r"work: cannot be written .*The disk is full"):
        memory.array("a", (100,))
    assert list(memory.folder.iterdir()) == []


def test_the_whole_space_of_an_array_is_reserved_at_once(memory):
    memory.array("a", (1 << 20,), torch.uint8)
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("only POSIX tells how many blocks a file has")
    assert (memory.folder / "a.npy").stat().st_blocks * 512 >= 1 << 20


def test_where_space_cannot_be_reserved_zeros_are_written(memory, monkeypatch):
    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(mapped.os, "posix_fallocate", unable, raising=False)
    assert memory.array("a", (3 << 19,), torch.uint8).sum() == 0
    assert (memory.folder / "a.npy").stat().st_size == 128 + (3 << 19)


def test_too_little_space_is_told_in_figures_and_what_is_taken_counts(memory, monkeypatch):
    memory.array("a", (10_000_000,), torch.uint8)
    usage = mapped.shutil.disk_usage(memory.folder)._replace(free=2_000_000)
    monkeypatch.setattr(mapped.shutil, "disk_usage", lambda _: usage)
    memory.require(12_000_000)
    assert memory.has_room(12_000_000)
    assert not memory.has_room(13_000_000)
    with pytest.raises(InputError, match=r"needs 3\.0 MB here .* 2\.0 MB are free\. Free some space, .*--work"):
        memory.require(13_000_000)


def test_plain_memory_gives_new_arrays_and_knows_of_nothing():
    plain = Memory()
    assert plain.array("a", (2,)).data_ptr() != plain.array("a", (2,)).data_ptr()
    plain.save("stage", 4)
    assert plain.done("stage") == 0
    assert plain.has_room(1 << 60)
