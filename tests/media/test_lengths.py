"""How long a clip is said to be, without decoding it."""

import pytest
from support import odd_files as odd

from svfr_model.media.lengths import stated_frames


@pytest.mark.parametrize(
    ("name", "make", "count"),
    [
        ("in.mp4", odd.clip(7), 7),
        ("in.mkv", odd.clip(7, suffix=".mkv"), 7),  # it states a duration only
        ("in.png", odd.picture(), 1),
        ("frames", odd.folder(4), 4),
        ("text.mp4", odd.text, 0),
        ("empty.mp4", odd.empty, 0),
        ("sound.mp4", odd.sound_only(), 0),
        ("pipe.mp4", odd.fifo, 0),
    ],
)
def test_the_header_tells(tmp_path, name, make, count):
    make(tmp_path / name)
    assert stated_frames(tmp_path / name) == count


def test_what_is_not_there_has_no_length(tmp_path):
    assert stated_frames(tmp_path / "none.mp4") == 0
