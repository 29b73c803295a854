"""JSON Lines that grow while a run works, and digests of files that are kept in them."""

import hashlib
import json
import os
import sys
import threading
import time

import pytest

from svfr_model.base.errors import InputError
from svfr_model.files import digests
from svfr_model.files.digests import Digests, sha256_of
from svfr_model.files.lines import LineFile, read_lines

LONG_AGO = time.time() - 100


def test_lines_come_back_in_their_order_whatever_they_hold(tmp_path):
    path = tmp_path / "lines.jsonl"
    entries = [{"a": "é\n\u2028"}, {"b": [1, None]}, {"c": "\udcff"}]
    with LineFile(path) as file:
        file.add(entries[0])
    with LineFile(path) as file:
        file.add(entries[1])
        file.add(entries[2])
    assert read_lines(path)[:2] == entries[:2]
    assert len(read_lines(path)) == 3
    assert path.read_bytes().count(b"\n") == 3


def test_half_a_line_harms_no_other(tmp_path, caplog):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"b": ')
    with LineFile(path) as file:
        file.add({"c": 3})
    assert read_lines(path) == [{"a": 1}, {"c": 3}]
    assert "line 2 is damaged" in caplog.text


def test_a_line_that_is_being_written_is_not_read_yet(tmp_path, caplog):
    path = tmp_path / "lines.jsonl"
    path.write_bytes('{"a": 1}\n{"b": "é'.encode()[:-1])
    assert read_lines(path) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"b": 2}\n', encoding="utf-8")
    assert read_lines(path) == [{"a": 1}, {"b": 2}]
    assert caplog.text == ""


def test_there_are_no_lines_in_a_file_that_is_not_there(tmp_path):
    assert read_lines(tmp_path / "none.jsonl") == []


def test_one_run_at_a_time_appends(tmp_path):
    path = tmp_path / "lines.jsonl"
    with LineFile(path), pytest.raises(InputError, match=r"another run is at work here"), LineFile(path):
        pass
    with LineFile(path) as file:
        file.add({"a": 1})
    assert read_lines(path) == [{"a": 1}]


def test_lines_are_whole_for_whoever_reads_meanwhile(tmp_path, caplog):
    path = tmp_path / "lines.jsonl"
    ended = threading.Event()
    counts = []

    def read():
        while not ended.is_set():
            counts.append(len(read_lines(path)))

    reader = threading.Thread(target=read)
    with LineFile(path, durable=False) as file:
        reader.start()
        for number in range(300):
            file.add({"number": number, "filling": "x" * 3000})
        ended.set()
        reader.join()
    assert counts == sorted(counts)
    assert caplog.text == ""


def old(path, content):
    """A file that was changed long ago."""
    path.write_bytes(content)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_digest_is_the_sha256_of_all_bytes(tmp_path):
    content = os.urandom((1 << 20) + 17)
    path = old(tmp_path / "file", content)
    assert sha256_of(path) == hashlib.sha256(content).hexdigest() == Digests().of(path)


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(digests, "sha256_of", lambda path: read.append(path) or sha256_of(path))
    path, store = old(tmp_path / "file", b"one"), tmp_path / "store.jsonl"
    for _ in range(2):
        with Digests(store) as kept:
            assert kept.of(path) == kept.of(path) == hashlib.sha256(b"one").hexdigest()
    assert read == [path]
    old(path, b"two")
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    with Digests(store) as kept:
        assert kept.of(path) == hashlib.sha256(b"two").hexdigest()
    assert len(read) == 2
    assert [entry["size"] for entry in read_lines(store)] == [3, 3]


def test_what_was_changed_this_moment_is_not_kept(tmp_path):
    """It may change again without another time."""
    path, store = tmp_path / "file", tmp_path / "store.jsonl"
    path.write_bytes(b"one")
    with Digests(store) as kept:
        first = kept.of(path)
        times = path.stat()
        path.write_bytes(b"two")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert kept.of(path) != first
    assert read_lines(store) == []


def test_a_folder_is_its_names_and_files(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    old(folder / "1.png", b"one")
    kept = Digests()
    seen = {kept.of(folder)}
    old(folder / "2.png", b"two")
    seen.add(kept.of(folder))
    (folder / "2.png").rename(folder / "3.png")
    seen.add(kept.of(folder))
    old(folder / "3.png", b"other")
    seen.add(kept.of(folder))
    assert len(seen) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_what_cannot_be_read_has_no_digest_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    assert [Digests().of(tmp_path / name) for name in ("none", "pipe", "loop")] == ["", "", ""]


def test_a_store_that_somebody_spoiled_is_no_truth(tmp_path):
    path, store = old(tmp_path / "file", b"one"), tmp_path / "store.jsonl"
    store.write_text(json.dumps({"path": str(path), "size": "3"}) + "\n[1]\nno\n")
    with Digests(store) as kept:
        assert kept.of(path) == hashlib.sha256(b"one").hexdigest()
