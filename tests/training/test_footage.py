"""Footage: faces are found and filtered as the papers do, once, and cut out of the videos when they are drawn."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support import dots

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.cut import crop_clip
from svfr_model.faces.find import find_tracks
from svfr_model.faces.options import CropOptions
from svfr_model.media import open_clip, write_clip
from svfr_model.training.footage import FootageOptions, Tools, find_videos, is_frontal, longest_run
from svfr_model.training.index import read_index
from svfr_model.training.prepare import prepare_footage
from svfr_model.training.source import Footage


def dot_clip(frames=12, nose=0.0):
    """A dot person wandering over a dark frame; nose moves the nose's dot sideways, in parts of the eyes' distance."""
    person = dots.dot_person(0)
    picture = person.picture.copy()
    if nose:
        rows, columns = np.mgrid[:160, :160]
        x, y = dots.LANDMARKS[2]
        picture[np.hypot(columns - x, rows - y) <= dots.RADIUS] = dots.HEADS[0]
        x += nose * (dots.LANDMARKS[1, 0] - dots.LANDMARKS[0, 0])
        picture[np.hypot(columns - x, rows - y) <= dots.RADIUS] = dots.dot_color(0, 2)
    clip = np.full((frames, 320, 320, 3), 20, np.uint8)
    for index, frame in enumerate(clip):
        place = frame[60 : 60 + 160, 60 + 2 * index : 220 + 2 * index]
        place[person.alpha > 0] = picture[person.alpha > 0]
    return clip


@pytest.fixture
def folder(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos / "a.mp4", ArrayClip(dot_clip()))
    return videos


TOOLS = Tools(dots.DotDetector)
OPTIONS = FootageOptions(size=64, least_crop=64, frames=8)


class CountingDetector(dots.DotDetector):
    """Counts the calls of all its instances."""

    calls = 0

    def detect(self, frames):
        type(self).calls += 1
        return super().detect(frames)


class Outlines:
    """68 points in every box, on its diagonal, the nose tip between the eyes."""

    def detect(self, frame, boxes):
        along = np.linspace(0.2, 0.8, 68)[:, None]
        along[30] = (along[36] + along[45]) / 2
        return np.stack([box[:2] + along * (box[2:] - box[:2]) for box in boxes])


def crops_of(path, size=64):
    """All crops of the first face of a video, cut in one walk as a restoration does it."""
    clip = open_clip(path)
    plan = plan_crop(find_tracks(clip, dots.DotDetector()).tracks[0], CropOptions(mode="tracked", size=(size, size)))
    return crop_clip(clip, [plan])[0].permute(0, 2, 3, 1).numpy(), plan


def test_faces_are_found_and_cut_out_as_in_a_restoration(folder, tmp_path):
    summary = prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    assert summary.fates == {"kept": 1}
    footage = Footage(tmp_path / "out")
    assert (len(footage), footage.size, footage.has_landmarks) == (1, 64, False)
    expected, plan = crops_of(folder / "a.mp4")
    for seed in range(4):
        window = footage.draw(0, 6, np.random.default_rng(seed))
        part = slice(window.first, window.first + 6)
        assert np.array_equal(window.frames, expected[part])
        assert np.array_equal(window.other, expected[window.other_number])
        assert np.allclose(window.five, plan.landmarks[part], atol=1e-3)
        assert np.allclose(window.other_five, plan.landmarks[window.other_number], atol=1e-3)
        assert window.landmarks is None


def test_windows_are_drawn_from_the_whole_clip(folder, tmp_path):
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    footage = Footage(tmp_path / "out")
    drawn = [footage.draw(0, 10, np.random.default_rng(seed)) for seed in range(25)]
    assert {window.first for window in drawn} == {0, 1, 2}
    assert len({window.other_number for window in drawn}) > 6


def test_kept_crops_are_nearly_the_same_and_need_no_video(folder, tmp_path):
    prepare_footage(folder, tmp_path / "out", TOOLS, FootageOptions(size=64, least_crop=64, frames=8, keep_crops=True))
    expected, _ = crops_of(folder / "a.mp4")
    (folder / "a.mp4").unlink()
    window = Footage(tmp_path / "out").draw(0, 6, np.random.default_rng(1))
    part = slice(window.first, window.first + 6)
    assert np.abs(window.frames - expected[part].astype(float)).mean() < 2.5
    (path,) = (tmp_path / "out" / "clips").glob("*.mov")
    assert np.array_equal(window.frames, np.stack(list(open_clip(path)))[part])


def test_landmarks_are_kept(folder, tmp_path):
    prepare_footage(folder, tmp_path / "out", Tools(dots.DotDetector, Outlines), OPTIONS)
    footage = Footage(tmp_path / "out")
    assert footage.has_landmarks
    window = footage.draw(0, 6, np.random.default_rng(0))
    assert window.landmarks.shape == (6, 68, 2)
    assert (np.diff(window.landmarks[0, 31:, 0]) > 0).all()
    with np.load(next((tmp_path / "out" / "clips").glob("*.npz"))) as arrays:
        assert arrays["landmarks"].dtype == np.float32


def test_side_faces_are_left_out(tmp_path):
    write_clip(tmp_path / "a.mp4", ArrayClip(dot_clip(nose=0.45)))
    with pytest.raises(InputError, match="1 side face or too short"):
        prepare_footage(tmp_path, tmp_path / "out", TOOLS, OPTIONS)


def test_small_faces_are_left_out(folder, tmp_path):
    with pytest.raises(InputError, match="1 crop under 512 px"):
        prepare_footage(folder, tmp_path / "out", TOOLS, FootageOptions(size=64, frames=8))


def test_low_quality_is_left_out(folder, tmp_path):
    """The score sees frames from all over the clip: here it is that of the worst."""
    options = FootageOptions(size=64, least_crop=64, frames=8, least_quality=0.75)
    expected, _ = crops_of(folder / "a.mp4")
    seen = []

    def tools(score):
        def judge(frames):
            seen.append(frames)
            return score

        return Tools(dots.DotDetector, quality=lambda: judge)

    with pytest.raises(InputError, match=r"1 quality under 0\.75"):
        prepare_footage(folder, tmp_path / "low", tools(0.7), options)
    kept = prepare_footage(folder, tmp_path / "out", tools(0.8), options)
    assert kept.fates["kept"] == 1
    spread = torch.from_numpy(expected[[0, 3, 6, 8, 11]]).permute(0, 3, 1, 2)
    assert all(torch.equal(frames, spread) for frames in seen)
    with pytest.raises(InputError, match="load_arniqa"):
        prepare_footage(folder, tmp_path / "out", TOOLS, options)


def test_nothing_is_done_twice(folder, tmp_path):
    CountingDetector.calls = 0
    tools = Tools(CountingDetector)
    assert prepare_footage(folder, tmp_path / "out", tools, OPTIONS).prepared == 1
    before = CountingDetector.calls
    index = (tmp_path / "out" / "clips.jsonl").read_text()
    again = prepare_footage(folder, tmp_path / "out", tools, OPTIONS)
    assert (again.prepared, again.fates["kept"], CountingDetector.calls) == (0, 1, before)
    assert (tmp_path / "out" / "clips.jsonl").read_text() == index
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    assert prepare_footage(folder, tmp_path / "out", tools, OPTIONS).prepared == 1
    assert [clip.video for clip in Footage(tmp_path / "out").clips] == ["a.mp4", "b.mp4"]


def test_a_changed_video_is_prepared_again_and_a_missing_one_is_left_out(folder, tmp_path):
    shutil.copy(folder / "a.mp4", folder / "b.mp4")
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    write_clip(folder / "a.mp4", ArrayClip(dot_clip(9)))
    assert prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS).prepared == 1
    assert [clip.frames for clip in Footage(tmp_path / "out").clips] == [9, 12]
    write_clip(folder / "a.mp4", ArrayClip(np.full((9, 320, 320, 3), 20, np.uint8)))
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    assert [clip.video for clip in Footage(tmp_path / "out").clips] == ["b.mp4"], "its clips have gone"
    write_clip(folder / "a.mp4", ArrayClip(dot_clip(10)))
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    assert [clip.frames for clip in Footage(tmp_path / "out").clips] == [10, 12]
    (folder / "b.mp4").unlink()
    assert [clip.video for clip in Footage(tmp_path / "out").clips] == ["a.mp4"]


def test_a_folder_that_was_moved_is_found_again(folder, tmp_path):
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    folder.rename(tmp_path / "elsewhere")
    assert len(Footage(tmp_path / "out")) == 0
    assert prepare_footage(tmp_path / "elsewhere", tmp_path / "out", TOOLS, OPTIONS).prepared == 0
    assert Footage(tmp_path / "out").draw(0, 4, np.random.default_rng(0)).frames.shape == (4, 64, 64, 3)


def test_other_settings_are_not_mixed(folder, tmp_path):
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    with pytest.raises(InputError, match=r"other settings \(size changed\): delete that folder"):
        prepare_footage(folder, tmp_path / "out", TOOLS, FootageOptions(size=128, least_crop=64, frames=8))


def test_broken_files_are_passed_over_and_named(folder, tmp_path):
    (folder / "b.mp4").write_bytes(b"no video")
    (folder / "c.mp4").write_bytes((folder / "a.mp4").read_bytes()[:200])
    (folder / "d.mp4").symlink_to(tmp_path / "gone")
    summary = prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    assert summary.fates["kept"] == 1
    assert set(summary.unreadable) == {"b.mp4", "c.mp4", "d.mp4"}
    assert "b.mp4: not a video that can be read" in summary.unreadable["b.mp4"]
    told = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert told == {"videos": 4, "faces": {"kept": 1}, "unreadable": summary.unreadable}
    assert len(Footage(tmp_path / "out")) == 1


def test_a_full_disk_is_no_fault_of_the_videos(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match="The disk is full"):
        prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    assert not read_index(tmp_path / "out").videos


def test_half_a_video_does_not_count(folder, tmp_path):
    """A clip whose video has no line was found by a run that was killed: it is found again, and once."""
    prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)
    path = tmp_path / "out" / "clips.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    path.write_text("".join(lines[:2]) + '{"video": "a.')
    assert not read_index(tmp_path / "out").clips
    assert prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS).prepared == 1
    assert len(Footage(tmp_path / "out")) == 1


PROGRAM = """
import sys
sys.path[:0] = [{tests!r}]
from support import dots
from svfr_model.training.footage import FootageOptions, Tools
from svfr_model.training.prepare import prepare_footage


class Detector(dots.DotDetector):
    def detect(self, frames):
        if {deadly} and frames[0].shape[0] == 96:
            import os
            os._exit(3)
        return super().detect(frames)


if __name__ == "__main__":
    options = FootageOptions(size=64, least_crop=64, frames=8)
    summary = prepare_footage(sys.argv[1], sys.argv[2], Tools(Detector), options, processes=2)
    print(summary.prepared, summary.fates["kept"], len(summary.unreadable))
"""


def program(root, tmp_path, *, deadly=False):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(tests=str(root / "tests"), deadly=deadly))
    return [sys.executable, str(path)]


def environment(root):
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is not Windows'")
def test_two_hundred_clips_five_broken_killed_in_the_middle(root, tmp_path):
    """Nothing is done twice, the broken ones are named, the others are trained on, and no process is left behind."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    write_clip(videos / "000.mp4", ArrayClip(dot_clip()))
    for number in range(1, 200):
        name = videos / f"{number:03d}.mp4"
        if number % 40 == 7:
            name.write_bytes((videos / "000.mp4").read_bytes()[: 5 * number])
        else:
            shutil.copy(videos / "000.mp4", name)
    command = [*program(root, tmp_path), str(videos), str(out)]
    process = subprocess.Popen(command, env=environment(root), start_new_session=True)
    while len(read_index(out).videos) < 60:
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = set(read_index(out).videos)
    assert 60 <= len(done) < 200
    lines = len((out / "clips.jsonl").read_text().splitlines())
    ran = subprocess.run(command, env=environment(root), capture_output=True, text=True, timeout=500)
    assert ran.stdout.split() == [str(200 - len(done)), "195", "5"], ran.stderr[-2000:]
    again = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()[lines:] if line.strip()]
    assert not {line["video"] for line in again if "mark" in line} & done
    names = [clip.name for clip in Footage(out).clips]
    assert len(names) == len(set(names)) == 195
    assert len(list((out / "clips").glob("*.npz"))) == 195
    left = subprocess.run(["ps", "-A", "-o", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in left


def test_several_processes_prepare_and_one_may_die(root, tmp_path):
    """A file that ends the process which reads it is passed over like any other."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    write_clip(videos / "a.mp4", ArrayClip(dot_clip()))
    for name in "bcd":
        shutil.copy(videos / "a.mp4", videos / f"{name}.mp4")
    write_clip(videos / "deadly.mp4", ArrayClip(np.full((9, 96, 96, 3), 90, np.uint8)))
    command = [*program(root, tmp_path, deadly=True), str(videos), str(out)]
    ran = subprocess.run(command, env=environment(root), capture_output=True, text=True, timeout=300)
    assert ran.stdout.split() == ["5", "4", "1"], ran.stderr[-2000:]
    assert json.loads((out / "report.json").read_text())["unreadable"] == {
        "deadly.mp4": "the process that read it ended"
    }


def test_folders_without_videos(tmp_path):
    with pytest.raises(InputError, match="holds no videos"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        find_videos(tmp_path / "none")


def test_videos_without_faces(tmp_path):
    write_clip(tmp_path / "empty.mp4", ArrayClip(np.full((8, 128, 128, 3), 120, np.uint8)))
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    with pytest.raises(FaceNotFoundError, match=r"any of 2 videos\. 1 of them cannot be read; .*broken\.mp4"):
        prepare_footage(tmp_path, tmp_path / "out", TOOLS, OPTIONS)


def test_a_folder_that_was_not_prepared(tmp_path):
    with pytest.raises(InputError, match="prepare the videos first"):
        Footage(tmp_path)


def test_two_runs_do_not_prepare_one_folder(folder, tmp_path):
    from svfr_model.files.lines import LineFile

    if sys.platform == "win32":
        pytest.skip("no locks there")
    (tmp_path / "out").mkdir()
    with LineFile(tmp_path / "out" / "clips.jsonl"), pytest.raises(InputError, match="another run is at work"):
        prepare_footage(folder, tmp_path / "out", TOOLS, OPTIONS)


@pytest.mark.parametrize(
    ("nose", "frontal"), [(10, True), (5.8, True), (5.6, False), (14.2, True), (14.4, False), (21, False)]
)
def test_frontal_is_the_papers_ratio(nose, frontal):
    """|x1-x0|/|x2-x0| from 0.4 to 2.5, with eyes at 0 and 20."""
    points = np.array([[[0.0, 0], [20.0, 0], [nose, 9]]])
    assert is_frontal(points, (0.4, 2.5))[0] == frontal


def test_longest_runs():
    assert longest_run(np.array([1, 1, 0, 1, 1, 1, 0], bool)) == (3, 6)
    assert longest_run(np.zeros(4, bool)) == (0, 0)
