"""Footage: faces are cut out and filtered as the papers do, and unusable folders say why."""

import json

import numpy as np
import pytest
from support import dots

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_model.media import write_clip
from svfr_model.training.footage import (
    Footage,
    FootageOptions,
    find_videos,
    is_frontal,
    longest_run,
    prepare_footage,
)


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
def detector():
    return dots.DotDetector()


@pytest.fixture
def folder(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_clip(videos / "a.mp4", ArrayClip(dot_clip()))
    return videos


OPTIONS = FootageOptions(size=64, least_crop=64, frames=8)


def test_faces_are_cut_out_and_found_again(folder, detector, tmp_path):
    counts = prepare_footage(folder, tmp_path / "out", detector, OPTIONS)
    assert counts == {"kept": 1}
    footage = Footage(tmp_path / "out")
    assert (len(footage), footage.size, footage.has_landmarks) == (1, 64, False)
    window = footage.draw(0, 6, np.random.default_rng(0))
    assert window.frames.shape == (6, 64, 64, 3)
    assert window.five.shape == (6, 5, 2)
    assert window.landmarks is None
    assert (window.five > 8).all()
    assert (window.five < 56).all()
    at = np.rint(window.five[0, 2]).astype(int)
    assert np.abs(window.frames[0, at[1], at[0]] - dots.dot_color(0, 2)).max() < 40


def test_side_faces_are_left_out(detector, tmp_path):
    write_clip(tmp_path / "a.mp4", ArrayClip(dot_clip(nose=0.45)))
    with pytest.raises(InputError, match="1 side face or too short"):
        prepare_footage(tmp_path, tmp_path / "out", detector, OPTIONS)


def test_small_faces_are_left_out(folder, detector, tmp_path):
    with pytest.raises(InputError, match="1 crop under 512 px"):
        prepare_footage(folder, tmp_path / "out", detector, FootageOptions(size=64, frames=8))


def test_low_quality_is_left_out(folder, detector, tmp_path):
    options = FootageOptions(size=64, least_crop=64, frames=8, least_quality=0.75)
    with pytest.raises(InputError, match=r"1 quality under 0\.75"):
        prepare_footage(folder, tmp_path / "out", detector, options, quality=lambda frames: 0.7)
    kept = prepare_footage(folder, tmp_path / "out", detector, options, quality=lambda frames: 0.8)
    assert kept["kept"] == 1
    with pytest.raises(InputError, match="load_arniqa"):
        prepare_footage(folder, tmp_path / "out", detector, options)


def test_folders_without_videos(tmp_path):
    with pytest.raises(InputError, match="holds no videos"):
        find_videos(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        find_videos(tmp_path / "none")


def test_videos_without_faces(tmp_path, detector):
    write_clip(tmp_path / "empty.mp4", ArrayClip(np.full((8, 128, 128, 3), 120, np.uint8)))
    with pytest.raises(FaceNotFoundError, match="any of 1 videos"):
        prepare_footage(tmp_path, tmp_path / "out", detector, OPTIONS)


def test_a_folder_that_was_not_prepared(tmp_path):
    with pytest.raises(InputError, match="prepare the videos first"):
        Footage(tmp_path)


def test_landmarks_come_back(tmp_path):
    (tmp_path / "clips.json").write_text(json.dumps({"size": 64, "clips": [{"name": "x", "frames": 8}]}))
    np.save(tmp_path / "x.npy", np.zeros((8, 64, 64, 3), np.uint8))
    points = np.arange(8 * 68 * 2).reshape(8, 68, 2)
    stored = {"five": np.zeros((8, 5, 2)).tolist(), "landmarks": points.tolist()}
    (tmp_path / "x.json").write_text(json.dumps(stored))
    footage = Footage(tmp_path)
    assert footage.has_landmarks
    drawn = footage.draw(0, 4, np.random.default_rng(0)).landmarks
    assert drawn.shape == (4, 68, 2)
    assert drawn.reshape(-1)[0] % 136 == 0


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
