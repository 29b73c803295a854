"""The check of all inputs and outputs: what would destroy something, or could not be written, is refused untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.windows import take_names_as_windows

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.files import paths
from svfr_model.files.paths import Output, check_frames, check_paths
from svfr_model.files.staging import PREFIX

CLIPS = (".mp4", ".png")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files and words")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a clip a.mp4 and a folder of pictures, to work in."""
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_text("a clip")
    Path("frames").mkdir()
    Path("frames/0.png").write_text("a picture")
    return tmp_path


def tree() -> dict[str, str]:
    files = (path for path in Path().rglob("*") if path.is_file() and path.stat().st_size < 1000)
    return {str(path): path.read_text() for path in files}


def clip(path, name="output", **extra):
    return Output(Path(path), name, CLIPS, "clip", **extra)


def crops(path):
    return clip(path, "kept crop", numbered="crop")


def refused(inputs, outputs, *words):
    before = tree()
    with pytest.raises(InputError) as error:
        check_paths([Path(path) for path in inputs], outputs)
    for word in words:
        assert word in str(error.value)
    assert tree() == before


def passes(inputs, outputs):
    before = tree()
    check_paths([Path(path) for path in inputs], outputs)
    assert tree() == before
    assert not [name for name in os.listdir() if name.startswith(PREFIX)]


@pytest.mark.parametrize("name", ["a.mp4", "./a.mp4", "frames/../a.mp4", "link.mp4", "hard.mp4", "links/a.mp4"])
def test_no_output_replaces_an_input(name, here):
    Path("link.mp4").symlink_to("a.mp4")
    os.link("a.mp4", "hard.mp4")
    Path("links").symlink_to(here)
    refused(["a.mp4"], [clip(name)], str(Path(name)), "the input itself")
    refused(["frames", name], [clip("o.mp4"), clip("a.mp4", "mask")], "a.mp4", "for the mask")


def test_what_is_no_input_may_be_replaced_and_may_lie_beside_one():
    Path("old.mp4").write_text("an older result")
    passes(["a.mp4"], [clip("old.mp4"), clip("new"), clip("frames/o.mp4", "debug video")])


@pytest.mark.parametrize("first", ["o.mp4", "new"])
@pytest.mark.parametrize("second", ["o.mp4", "./o.mp4", "new", "frames/../o.mp4", "loose.mp4"])
def test_no_two_outputs_are_the_same(first, second):
    Path("loose.mp4").symlink_to("o.mp4")  # to nothing: both would make it
    alike = (first == "new") == (second == "new")
    if alike:
        refused(["a.mp4"], [clip(first), clip(second, "mask")], "the mask and the output")
    elif "/" not in second:
        passes(["a.mp4"], [clip(first), clip(second, "mask")])


def test_kept_crops_whose_numbers_are_not_known_yet():
    refused(["a.mp4"], [clip("o.mp4"), crops("o.mp4"), clip("o-crop7.mp4", "debug video")], "o-crop7.mp4", "become the")
    refused(["a.mp4"], [clip("o-crop12.mp4"), clip("x.mp4"), crops("o.mp4")], "o-crop12.mp4")
    passes(["a.mp4"], [clip("o.mp4"), crops("o.mp4"), clip("o-crop.mp4", "debug video")])
    Path("o-crop0.mp4").symlink_to("a.mp4")
    refused(["a.mp4"], [clip("o.mp4"), crops("o.mp4")], "o-crop0.mp4", "the input itself")


def test_kept_crops_that_are_there_already():
    Path("o-crop0.mp4").write_text("of an earlier run")
    passes(["a.mp4"], [clip("o.mp4"), crops("o.mp4")])
    Path("f-crop3").mkdir()
    passes(["a.mp4"], [clip("f"), crops("f")])
    Path("f-crop3/0.png").write_text("of an earlier run")
    refused(["a.mp4"], [clip("f"), crops("f")], "f-crop3", "not empty")


def test_nothing_lies_among_the_frames_of_another_output():
    Path("empty").mkdir()
    refused(["a.mp4"], [clip("empty"), clip("empty/000000.png", "mask")], "one lies inside the other")


def test_a_picture_does_not_join_the_input_pictures():
    refused(["frames"], [clip("frames/1.png")], "one of the input pictures")
    passes(["frames"], [clip("frames/o.mp4")])


def test_names_that_differ_in_case_where_the_folder_takes_them_for_the_same(monkeypatch):
    outputs = [clip("O.mp4"), clip("o.MP4", "mask")]
    if not Path("A.MP4").exists():  # as it does on Windows and macOS
        passes(["a.mp4"], outputs)
    monkeypatch.setattr(paths, "_try_folder", lambda folder, outputs: True)
    refused(["a.mp4"], outputs, "the mask and the output")
    refused(["a.mp4"], [clip("e\u0301.mp4"), clip("\u00c9.mp4", "mask")], "the mask and the output")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("o.xyz", "cannot write .xyz files. For the output, use .mp4, .png, or no suffix"),
        (".mp4", "no name before the suffix"),
        ("no/such/o.mp4", "does not exist"),
        ("a.mp4/o.mp4", "is a file, not a folder"),
        pytest.param("x" * 252 + ".mp4", "The name has 256 bytes", marks=POSIX),
        pytest.param("ü" * 126 + ".mp4", "The name has 256 bytes", marks=POSIX),
        ("frames", "not empty"),
        ("folder.mp4", "not empty"),
        ("file", "a file is in the way"),
        pytest.param("pipe.mp4", "not a file, but a device or a pipe", marks=POSIX),
        pytest.param("round.mp4", "Too many levels of symbolic links", marks=POSIX),
    ],
)
def test_a_clip_that_cannot_be_written(path, word):
    Path("folder.mp4").mkdir()
    Path("folder.mp4/x").write_text("")
    Path("file").write_text("")
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.mp4")
    Path("round.mp4").symlink_to("round.mp4")
    refused(["a.mp4"], [clip(path)], word)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("o?.mp4", ("cannot create 'o?.mp4' in", "(Invalid argument)", "a plainer name for the output")),
        ("x" * 230 + ".mp4", ("(No such file or directory)", "Shorten the path")),
        ("new?/", ("cannot create 'new?' in",)),
        ("a:b.mp4", ("reads 'a:b.mp4' as a different name",)),
        ("nul.mp4", ("reads 'nul.mp4' as a different name",)),
        ("new.", ("reads 'new.' as a different name",)),
    ],
)
def test_names_that_windows_does_not_take_are_refused_before_any_work(path, words, monkeypatch):
    take_names_as_windows(monkeypatch)
    refused(["a.mp4"], [Output(Path(path), "output", (*CLIPS, ".", ""), "clip")], *words)
    passes(["a.mp4"], [clip("plain.mp4"), clip("frames of it"), crops("plain.mp4")])


def test_the_numbered_outputs_of_a_link_lie_beside_the_link(monkeypatch):
    Path("elsewhere").mkdir()
    Path("o.mp4").symlink_to("elsewhere/o.mp4")
    take_names_as_windows(monkeypatch)
    passes(["a.mp4"], [clip("o.mp4"), crops("o.mp4")])
    Path("o?.mp4").symlink_to("elsewhere/o.mp4")
    passes(["a.mp4"], [clip("o?.mp4")])
    refused(["a.mp4"], [crops("o?.mp4")], "cannot create 'o?-crop0000.mp4' in")


def test_the_longest_names_pass_and_crops_leave_room_for_their_numbers():
    passes(["a.mp4"], [clip("x" * 251 + ".mp4")])
    refused(["a.mp4"], [clip("x" * 245 + ".mp4"), crops("x" * 245 + ".mp4")], "kept crop", "shorten it")


def test_a_file_takes_its_own_suffix_and_no_folder():
    Path("r.json").mkdir()
    refused(["a.mp4"], [Output(Path("r.json"), "figures", (".json",))], "a folder is in the way of the figures")
    refused(["a.mp4"], [Output(Path("r"), "figures", (".json",))], "no suffix. For the figures, use .json")


def test_a_folder_may_have_content_but_not_an_input():
    Path("run").mkdir()
    Path("run/unet.safetensors").write_text("the network to start from")
    run = Output(Path("run"), "trained files", form="folder", contents=("unet.safetensors", "losses.png"))
    passes(["a.mp4"], [run])
    refused(["run/unet.safetensors"], [run], "run/unet.safetensors", "the input itself")
    passes(["a.mp4"], [Output(Path("new/and/deep"), "trained files", form="folder", contents=("losses.png",))])
    refused(["a.mp4"], [Output(Path("a.mp4/deep"), "trained files", form="folder")], "a file, not a folder")
    refused(["a.mp4"], [Output(Path("a.mp4"), "trained files", form="folder")], "a file is in the way")


def immutable(path):
    done = subprocess.run(["chattr", "+i", path], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this file system has no immutable files, or chattr is not to be had")


@pytest.fixture
def protect():
    protected = []
    yield lambda path: (immutable(path), protected.append(path))
    for path in protected:
        subprocess.run(["chattr", "-i", path], check=True)


def test_a_folder_that_takes_nothing_is_found_out_by_trying(protect):
    Path("closed").mkdir()
    protect("closed")
    refused(["a.mp4"], [clip("closed/o.mp4")], "cannot write into this folder")
    refused(["a.mp4"], [clip("closed")], "cannot write into this folder")
    refused(["a.mp4"], [Output(Path("closed/deep/er"), "weights", form="folder")], "cannot write into this folder")


def test_a_file_that_is_protected_is_not_replaced(protect):
    Path("old.mp4").write_text("precious")
    protect("old.mp4")
    refused(["a.mp4"], [clip("old.mp4")], "old.mp4", "cannot be replaced")


def test_what_a_killed_run_left_does_not_fill_a_folder():
    Path("out").mkdir()
    Path(f"out/{PREFIX}0123456789ab").mkdir()
    Path(f"out/{PREFIX}0123456789ab/000000.png").write_text("half a run")
    check_paths([Path("a.mp4")], [clip("out")])
    assert list(Path("out").iterdir()) == []


def test_inputs_that_no_file_system_takes_are_named():
    refused(["x" * 300 + ".mp4"], [clip("o.mp4")], "cannot be used as input")
    passes(["absent.mp4"], [clip("o.mp4")])  # whoever reads it says more


def test_a_picture_holds_one_frame():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    check_frames(ArrayClip(frames[:1]), [clip("o.png")])
    check_frames(ArrayClip(frames), [clip("o.mp4"), clip("new")])
    with pytest.raises(InputError, match=r"m\.png: a picture holds one frame, but the clip has 2.*the mask"):
        check_frames(ArrayClip(frames), [clip("o.mp4"), clip("m.png", "mask")])
