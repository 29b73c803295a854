"""Whose work a folder holds, who may go on with it, and what of it is left."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from svfr_model.base.errors import InputError
from svfr_model.files import staging
from svfr_model.files.work import MANIFEST, WorkFolder, differences, remove_dead, scratch, work_path

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"source": "a" * 64, "options": {"command": "restore", "options": {"steps": 30}}, "weights": {"unet": "b" * 64}}
HOLD = """
import sys, torch; sys.path.insert(0, {root!r})
from pathlib import Path
from svfr_model.files.work import WorkFolder
with WorkFolder(Path({target!r}), {parts!r}) as memory:
    memory.array("a", (3,)).fill_(7)
    memory.save("stage", 2)
    print("saved", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out.mp4"


@pytest.fixture
def holder(target):
    """A process that has saved something and waits for a line."""
    code = HOLD.format(root=str(ROOT), target=str(target), parts=PARTS)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "saved\n"
    yield process
    process.kill()
    process.communicate()


def killed(holder):
    holder.kill()
    holder.wait()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_ends_leaves_nothing(target):
    with WorkFolder(target, PARTS) as memory:
        memory.array("a", (2,))
        assert (work_path(target, None) / MANIFEST).is_file()
    assert names(target.parent) == []
    with pytest.raises(KeyboardInterrupt), WorkFolder(target, PARTS):
        raise KeyboardInterrupt
    assert names(target.parent) == []


def test_a_process_about_to_end_removes_it(target):
    folder = WorkFolder(target, PARTS)
    folder.__enter__()
    staging.discard_all()
    assert names(target.parent) == []
    folder.discard()


def test_work_that_is_kept_outlives_a_process_about_to_end(target):
    def end(ends):
        with WorkFolder(target, PARTS) as memory:
            memory.save("stage", memory.done("stage") + 1)
            if ends is KeyboardInterrupt:
                staging.keep_work()
            raise ends

    for ends in (KeyboardInterrupt, SystemExit):
        with pytest.raises(ends):
            end(ends)
        assert work_path(target, None).is_dir()
        assert list(staging.left) == [target]
        staging.left.clear()
    with WorkFolder(target, PARTS) as memory:
        assert memory.done("stage") == 2
    assert names(target.parent) == []


def test_nothing_is_kept_where_nothing_was_done(target):
    with WorkFolder(target, PARTS):
        staging.keep_work()
    assert names(target.parent) == []
    assert not staging.left


def test_a_killed_runs_work_goes_on(target, holder, caplog):
    killed(holder)
    with caplog.at_level(logging.WARNING), WorkFolder(target, PARTS) as memory:
        assert memory.done("stage") == 2
        assert memory.kept("a").tolist() == [7, 7, 7]
    assert f"{target}: a killed run has left its work, which goes on" in caplog.text
    assert names(target.parent) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "c" * 64}, "source (other content)"),
        ({"weights": {"unet": "d" * 64}}, "weights unet (other content)"),
        ({"options": {"command": "restore", "options": {"steps": 12}}}, "steps (30, now 12)"),
        ({"version": "9"}, 'version (null, now "9")'),
    ],
)
def test_work_of_something_else_is_named_and_not_mixed(target, holder, caplog, change, said):
    killed(holder)
    with caplog.at_level(logging.WARNING), WorkFolder(target, PARTS | change) as memory:
        assert memory.done("stage") == 0
        assert list(memory.folder.iterdir()) == []
        manifest = json.loads((work_path(target, None) / MANIFEST).read_text(encoding="utf-8"))
        assert manifest["parts"] == PARTS | change
    assert f"something else was asked for then: {said}. All of it is done anew" in caplog.text


def test_every_difference_is_told():
    now = {"source": "", "options": {"faces": {"crop": {"size": [64, 64]}}}}
    before = {"source": "a" * 64, "options": {"faces": {"crop": {"size": [512, 512]}}}}
    assert differences(before, now) == ["source (other content)", "faces.crop.size ([512, 512], now [64, 64])"]
    assert differences(now, now) == []


def test_a_second_run_is_refused_while_the_first_lives(target, holder):
    with pytest.raises(InputError, match="another run is at work on this") as refused, WorkFolder(target, PARTS):
        pass
    assert isinstance(refused.value.__cause__, OSError)  # it may pass: a batch tries it again
    remove_dead(target, None)
    assert holder.poll() is None
    assert work_path(target, None).is_dir()


@pytest.mark.parametrize("content", [{}, {"notes.txt": "mine"}, {MANIFEST: "{}"}, {MANIFEST: '{"made by": "me"}'}])
def test_a_folder_that_is_not_ours_is_never_touched(target, content):
    folder = work_path(target, None)
    folder.mkdir()
    for name, text in content.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"no work folder of ours\. Move it away, or .*--work"):
        WorkFolder(target, PARTS).__enter__()
    remove_dead(target, None)
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == content


def test_a_file_in_the_way_is_refused(target):
    work_path(target, None).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="no work folder of ours"), WorkFolder(target, PARTS):
        pass
    assert work_path(target, None).read_text(encoding="utf-8") == "mine"


def test_work_can_lie_elsewhere_where_outputs_of_one_name_do_not_meet(tmp_path):
    place = tmp_path / "work"
    with pytest.raises(InputError, match="no such folder for the work"):
        WorkFolder(tmp_path / "out.mp4", PARTS, place).__enter__()
    place.mkdir()
    (tmp_path / "a").mkdir()
    with WorkFolder(tmp_path / "out.mp4", PARTS, place), WorkFolder(tmp_path / "a" / "out.mp4", PARTS, place):
        assert len(names(place)) == 2
        assert names(tmp_path) == ["a", "work"]
    assert names(place) == []


def test_a_moved_folder_takes_the_work_of_its_outputs_along(tmp_path):
    (tmp_path / "one").mkdir()
    before = work_path(tmp_path / "one" / "out.mp4", None)
    assert before.name == work_path(tmp_path / "two" / "out.mp4", None).name
    assert before.name != work_path(tmp_path / "one" / "other.mp4", None).name


def test_dead_work_is_removed_when_that_is_asked(target, holder):
    killed(holder)
    remove_dead(target, None)
    assert names(target.parent) == []
    remove_dead(target, None)


def test_scratch_is_gone_in_the_end_and_after_a_kill_with_the_next(tmp_path):
    with scratch(tmp_path) as memory:
        memory.array("a", (3,))
        assert len(names(tmp_path)) == 1
    assert names(tmp_path) == []
    with pytest.raises(InputError, match="cannot be written"), scratch(tmp_path / "none"):
        pass
