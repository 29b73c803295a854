"""Cuts: every one found, nothing else taken for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, chelsea, coffee
from support import clips

from svfr_model.faces.options import ShotOptions
from svfr_model.faces.shots import CutDetector


def cuts_of(frames, options=None):
    detector = CutDetector(options)
    for frame in frames:
        detector.add(frame)
    return detector.cuts


@pytest.fixture(scope="module")
def other():
    return clips.portrait("other")


@pytest.mark.parametrize(
    "name", ["static", "pan", "zoom", "roll", "shake", "reentering", "faceless_start", "at_border"]
)
def test_no_false_alarm_in_one_shot(name):
    assert cuts_of(getattr(clips, name)(45)) == []


def test_no_false_alarm_where_people_cross(other):
    assert cuts_of(clips.crossing(other, 40)) == []


def test_violent_camera_is_no_cut():
    scene = clips.one(lambda i: (320, 180, 1, 0), 30, lambda i: (90 * np.sin(i * 2.3), 40 * np.cos(i * 1.7)))
    assert cuts_of(scene) == []


def test_hard_cut(other):
    scene = clips.hard_cut(other, 40)
    assert cuts_of(scene) == scene.cuts == [23]


def test_short_shots():
    shots = tuple(
        clips.Shot(6, (clips.Actor(clips.portrait(), clips.still(150 + 60 * i)),), background=i) for i in range(5)
    )
    assert cuts_of(clips.Scene(shots)) == [6, 12, 18, 24]


def test_someone_who_appears_is_no_cut():
    assert cuts_of(clips.one(lambda i: None if i < 10 else (320.0, 180.0, 0.8, 0.0), 20)) == []


def test_photographs_with_camera_motion():
    pictures = (astronaut(), coffee(), chelsea())
    frames = [np.roll(picture[:300, :400], 4 * i, axis=1) for picture in pictures for i in range(9)]
    assert cuts_of(frames) == [9, 18]


def test_flash_and_change_of_light_are_no_cuts():
    frames = list(clips.pan(40))
    frames[12] = np.full_like(frames[12], 252)
    for i in range(25, 40):
        frames[i] = np.clip(frames[i] * 0.6, 0, 255).astype(np.uint8)
    assert cuts_of(frames) == []


def test_black_frames_part_shots_once_on_either_side():
    black = [np.zeros((90, 160, 3), np.uint8)] * 8
    bright = [np.ascontiguousarray(astronaut()[:90, :160])] * 8
    assert cuts_of(bright + black + bright) == [8, 16]


def test_likely_cuts_are_told_at_once():
    detector = CutDetector()
    scene = clips.hard_cut(clips.portrait("other"), 20)
    told = [i for i, frame in enumerate(scene) if detector.add(frame)]
    assert told == scene.cuts


def test_where_every_frame_is_another_picture_none_starts_a_shot():
    """A cut stands out from its neighbours; without that threshold every frame here would be one."""
    pictures = np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8)
    frames = [cv2.resize(picture, (160, 90), interpolation=cv2.INTER_NEAREST) for picture in pictures]
    assert cuts_of(frames) == []
    assert cuts_of(frames, ShotOptions(ratio=0.0)) == list(range(1, 20))


def test_threshold_is_an_option():
    scene = clips.hard_cut(clips.portrait("other"), 20)
    assert cuts_of(scene, ShotOptions(minimum=0.95)) == []
    assert cuts_of([next(iter(scene))]) == []
