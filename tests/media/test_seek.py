"""Frames from the middle of a video are those that a whole walk gives."""

import numpy as np
import pytest

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.media import VideoClip, write_clip
from svfr_model.media.options import VideoOptions
from svfr_model.media.seek import frame_stamps, read_frames


@pytest.fixture(scope="module")
def frames():
    """300 numbered frames: more than the longest distance between keyframes."""
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return np.stack([np.roll(picture, number, axis=1) // 2 + number % 100 for number in range(300)])


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "h264"), ("a.mkv", "hevc"), ("a.mov", "prores"), ("a.mkv", "ffv1")]
)
def test_frames_are_those_of_the_walk(frames, tmp_path, name, codec):
    path = tmp_path / name
    write_clip(path, ArrayClip(frames), options=VideoOptions(codec=codec))
    clip = VideoClip(path)
    walked, stamps = list(clip), frame_stamps(VideoClip(path))
    assert len(stamps) == 300
    for first, stop in ((0, 3), (249, 253), (251, 252), (297, 300), (120, 124)):
        found = read_frames(path, first, stop, stamps[first:stop])
        assert all(np.array_equal(a, b) for a, b in zip(found, walked[first:stop], strict=True))


def test_it_does_not_decode_what_comes_before(frames, tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_clip(path, ArrayClip(frames))
    stamps = frame_stamps(VideoClip(path))
    monkeypatch.setattr("svfr_model.media.seek.VideoClip", None)
    assert len(read_frames(path, 280, 284, stamps[280:284])) == 4


@pytest.mark.parametrize("stamps", [np.zeros(0, np.int64), np.arange(4) + 7])
def test_without_true_times_the_clip_is_walked(frames, tmp_path, stamps):
    path = tmp_path / "a.mp4"
    write_clip(path, ArrayClip(frames))
    walked = list(VideoClip(path))
    found = read_frames(path, 100, 104, stamps)
    assert all(np.array_equal(a, b) for a, b in zip(found, walked[100:104], strict=True))


def test_a_file_with_fewer_frames_is_named(frames, tmp_path):
    path = tmp_path / "a.mp4"
    write_clip(path, ArrayClip(frames[:20]))
    with pytest.raises(InputError, match="frames 18 to 21 are needed, but 2 of them"):
        read_frames(path, 18, 22, np.zeros(0, np.int64))
