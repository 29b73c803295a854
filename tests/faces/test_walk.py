"""One walk for all tracks: which frames it gives, and what it does not make."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support.files import gradient, write
from support.tracks import make_track

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.faces.crop import plan_crop
from svfr_model.faces.cut import crop_clip, cut_shots
from svfr_model.faces.options import CropOptions
from svfr_model.faces.walk import TrackWalk
from svfr_model.media import open_clip, reader

COUNT, WIDTH, HEIGHT = 20, 96, 64


def track(start, length, number=0):
    return make_track([(48, 32)] * length, 20.0, (WIDTH, HEIGHT), start=start, number=number)


class Counted(ArrayClip):
    """Counts its walks."""

    walks = 0

    def __iter__(self):
        type(self).walks += 1
        return super().__iter__()


@pytest.fixture
def clip():
    Counted.walks = 0
    return Counted(np.random.default_rng(0).integers(0, 255, (COUNT, HEIGHT, WIDTH, 3), np.uint8), Fraction(25))


def test_tracks_of_all_shots_share_one_walk(clip):
    plans = [plan_crop(track(2, 4), CropOptions(size=(32, 32))), plan_crop(track(4, 3, 1), CropOptions(size=(32, 32)))]
    late = plan_crop(track(12, 5, 2), CropOptions(size=(32, 32)))
    cut = [entry for shot in cut_shots(clip, [plans, [], [late]]) for entry in shot]
    assert Counted.walks == 1
    for entry, plan in zip(cut, [*plans, late], strict=True):
        assert entry.plan is plan
        assert np.array_equal(entry.crops, crop_clip(clip, [plan])[0])


def test_frames_are_given_where_somebody_is(clip):
    walk = TrackWalk(clip)
    first = list(walk.frames([track(2, 2), track(3, 3)]))
    assert [number for number, _ in first] == [2, 3, 4, 5]
    assert all(np.array_equal(frame, clip.frames[number]) for number, frame in first)
    assert [number for number, _ in walk.frames([track(10, 1)])] == [10]
    with pytest.raises(InputError, match=r"reach to frame 21, but the clip has only 20 frames"):
        list(walk.frames([track(18, 4)]))


def test_frames_between_are_not_turned_into_rgb(tmp_path, monkeypatch):
    path = write(tmp_path / "in.mp4", gradient(COUNT, HEIGHT, WIDTH))
    every, made = list(open_clip(path)), []

    class Counting(reader.RgbReader):
        def __call__(self, frame):
            made.append(frame)
            return super().__call__(frame)

    monkeypatch.setattr(reader, "RgbReader", Counting)
    found = dict(TrackWalk(open_clip(path)).frames([track(5, 3), track(15, 2)]))
    assert list(found) == [5, 6, 7, 15, 16]
    assert len(made) == 5
    assert all(np.array_equal(frame, every[number]) for number, frame in found.items())
