"""The debug picture: what was found is drawn where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.tracks import make_track

from svfr_model.faces.crop import plan_crop
from svfr_model.faces.debug import COLORS, RED, draw
from svfr_model.faces.options import CropOptions

FRAME = np.full((360, 640, 3), 90, np.uint8)


def near(picture, color):
    return np.abs(picture.astype(int) - color).max(axis=2) < 30


def test_box_landmarks_and_crop_are_drawn():
    track = make_track([(300, 180)] * 3, side=100, frame_size=(640, 360))
    picture = draw(FRAME, [track], 1, plans=[plan_crop(track, CropOptions())])
    assert picture.shape == FRAME.shape
    assert near(picture, COLORS[0])[129:132, 260:340].any(axis=0).mean() > 0.9, "upper side of the box"
    for x, y in track.landmarks[1]:
        assert near(picture, COLORS[0])[round(y), round(x)]
    assert near(picture, (255, 255, 255))[180, 209:213].any(), "left side of the crop, 90 pixels from the centre"
    assert (picture[150, 300] != 90).any(), "the region of paste-back is tinted"
    assert (FRAME == 90).all(), "the frame itself stays"


def test_only_tracks_of_this_frame_and_cuts():
    track = make_track([(300, 180)] * 3, side=100, frame_size=(640, 360), start=5)
    assert not near(draw(FRAME, [track], 4), COLORS[0]).any()
    assert near(draw(FRAME, [track], 5), COLORS[0]).any()
    assert not near(draw(FRAME, [], 19, cuts=[20]), RED)[0].any()
    assert near(draw(FRAME, [], 20, cuts=[20]), RED)[0].all()
    assert not near(draw(FRAME, [], 40, cuts=[20]), RED)[0].any()


def test_interpolated_boxes_are_thin_and_floats_welcome():
    track = make_track([(300, 180)], side=100, frame_size=(640, 360))
    unseen = replace(track, seen=np.array([False]))
    thick, thin = (near(draw(FRAME, [t], 0), COLORS[0])[120:140, 280:320].sum() for t in (track, unseen))
    assert thin < thick / 2
    floats = draw(FRAME.astype(np.float32) / 255, [track], 0)
    assert floats.dtype == np.uint8
    assert np.abs(floats.astype(int) - draw(FRAME, [track], 0)).max() <= 1
