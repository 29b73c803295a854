"""Outputs appear whole or not at all, and what a killed run left is removed by the next."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from svfr_model.staging import PREFIX, Staging, remove_leftovers, staged

ROOT = Path(__file__).resolve().parent.parent
HOLD = """
import sys; sys.path.insert(0, {root!r})
from pathlib import Path
from svfr_model.staging import Staging
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
    process.send_signal(signal.SIGKILL)
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
