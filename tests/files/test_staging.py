"""Outputs appear whole or not at all, and what a killed run left is removed by the next."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from svfr_model.base.errors import InputError
from svfr_model.files import staging as staging_module
from svfr_model.files.staging import PREFIX, Staging, remove_leftovers, staged

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from svfr_model.files.staging import Staging
staging = Staging(Path({target!r}), folder={folder})
print("made", flush=True)
sys.stdin.readline()
staging.commit()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that stages a target and then waits for a line."""
    started = []

    def start(folder: bool) -> subprocess.Popen:
        code = HOLD.format(root=str(ROOT), target=str(tmp_path / "out.bin"), folder=folder)
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "made\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_its_target_only_when_whole(tmp_path):
    target = tmp_path / "out.txt"
    target.write_text("old")
    staging = Staging(target)
    staging.path.write_text("half")
    assert target.read_text() == "old"
    staging.discard()
    assert target.read_text() == "old"
    with pytest.raises(ZeroDivisionError), staged(target) as path:
        path.write_text(str(1 / 0))
    assert names(tmp_path) == ["out.txt"]
    with staged(target) as path:
        path.write_text("new")
    assert target.read_text() == "new"
    assert names(tmp_path) == ["out.txt"]


def test_a_name_as_long_as_the_file_system_allows(tmp_path):
    target = tmp_path / ("x" * 251 + ".txt")
    with staged(target) as path:
        path.write_text("here")
    assert target.read_text() == "here"


@pytest.mark.parametrize("existed", [False, True])
def test_a_folder_appears_at_once_or_is_filled(tmp_path, existed):
    target = tmp_path / "frames"
    if existed:
        target.mkdir()
    staging = Staging(target, folder=True, inside=existed)
    (staging.path / "0.png").write_text("picture")
    assert not target.exists() or names(target) == [staging.path.name]
    staging.commit()
    assert names(tmp_path) == ["frames"]
    assert names(target) == ["0.png"]


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path, holder, folder, caplog):
    process = holder(folder)
    process.kill()
    process.wait()
    (left,) = names(tmp_path)
    assert left.startswith(PREFIX)
    with staged(tmp_path / "other.txt") as path:
        path.write_text("")
    assert names(tmp_path) == ["other.txt"]
    assert left in caplog.text


@pytest.mark.parametrize("folder", [False, True])
def test_what_a_living_run_stages_stays(tmp_path, holder, folder):
    process = holder(folder)
    (made,) = names(tmp_path)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [made]
    process.communicate("go on\n")
    assert process.returncode == 0
    assert names(tmp_path) == ["out.bin"]


def test_our_own_staged_file_is_not_a_leftover(tmp_path):
    first = Staging(tmp_path / "a")
    second = Staging(tmp_path / "b")
    assert first.path.exists()
    first.commit()
    second.commit()
    assert names(tmp_path) == ["a", "b"]


def refuse(monkeypatch, target, times):
    """Let nothing be put at target, as Windows while it is open, so many times; how often that was tried."""
    replace, tried = os.replace, []

    def replaced(source, place):
        if Path(place) == target:
            tried.append(source)
            if len(tried) <= times:
                raise PermissionError(errno.EACCES, "Permission denied", str(place))
        replace(source, place)

    monkeypatch.setattr(os, "replace", replaced)
    return tried


def test_a_target_that_cannot_be_replaced_costs_no_work(tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"
    target.write_text("shown by a player")
    monkeypatch.setattr(staging_module, "_WAITS", (0.0, 0.0))
    tried = refuse(monkeypatch, target, times=3)
    staging_module.committed.clear()
    said = r"out\.mp4: cannot be replaced \(Permission denied\).*close the program"
    with pytest.raises(InputError, match=said) as error, staged(target) as path:
        path.write_text("the work of hours")
    assert len(tried) == 3
    assert target.read_text() == "shown by a player"
    (beside,) = (path for path in tmp_path.iterdir() if path != target)
    assert beside.suffix == ".mp4"
    assert beside.read_text() == "the work of hours"
    assert str(beside) in str(error.value)
    assert list(staging_module.committed) == [beside]


def test_a_target_that_is_open_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    target = tmp_path / "out.mp4"
    monkeypatch.setattr(staging_module, "_WAITS", (0.0, 0.0))
    tried = refuse(monkeypatch, target, times=2)
    with staged(target) as path:
        path.write_text("here")
    assert len(tried) == 3
    assert names(tmp_path) == ["out.mp4"]
    assert target.read_text() == "here"


def test_a_folder_that_is_gone_is_said_as_it_is(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(InputError, match=r"out\.txt.*no longer exists"), staged(folder / "out.txt"):
        shutil.rmtree(folder)
    assert names(tmp_path) == []


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "out.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real/out.txt")
    with staged(tmp_path / "link.txt") as path:
        path.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "out.txt").read_text() == "new"
    assert names(tmp_path / "real") == ["out.txt"]


def test_what_a_writer_leaves_beside_its_file_goes_too(tmp_path):
    with staged(tmp_path / "out.bin") as path:
        path.with_name("a writer's own temporary file").write_text("")
        path.write_text("here")
    assert names(tmp_path) == ["out.bin"]


def test_a_name_that_is_all_suffix(tmp_path):
    with staged(tmp_path / ("a." + "x" * 250)) as path:
        path.write_text("here")
    assert (tmp_path / ("a." + "x" * 250)).read_text() == "here"
