"""What is learnt of a person's looks while they are followed, and what is left out of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from support.tracks import TEMPLATE

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.closeup import appearance
from svfr_model.faces.face import Face
from svfr_model.faces.find import find_tracks
from svfr_model.faces.follow import Followed, Follower, FollowOptions
from svfr_model.faces.options import TrackOptions

SIDE = 60.0


def face_at(x, y=90.0):
    center = np.array([x, y])
    return Face(np.concatenate([center - SIDE / 2, center + SIDE / 2]), center + TEMPLATE * SIDE, 0.9)


class Places:
    """Finds faces where it is told, one list of places for each frame in turn."""

    def __init__(self, places):
        self.places = iter(places)

    def detect(self, frames):
        return [[face_at(x) for x in next(self.places)] for _ in frames]


def textures(count):
    """Frames (180,320,3) uint8 that share most of their smooth texture: alike, and never the same."""
    random = np.random.default_rng(0)
    smooth = [cv2.GaussianBlur(random.normal(0, 1, (180, 320, 3)), (0, 0), 20) for _ in range(count + 1)]
    common, *own = (40 * values / values.std() for values in smooth)
    return [np.clip(128 + common + 0.5 * values, 0, 255).astype(np.uint8) for values in own]


def follow(frames, places):
    follower = Follower(Places(places), FollowOptions(stride=1, looks=0, max_gap=3))
    follower.feed(0, frames, set())
    return follower.people


def test_looks_are_learnt_slowly_and_never_beside_somebody():
    first, second = np.eye(2)
    person = Followed()
    person.take(0, face_at(100), first, crowded=True)
    assert np.array_equal(person.look, first), "the first look is all there is"
    person.take(1, face_at(100), second, crowded=True)
    assert np.array_equal(person.look, first)
    person.take(2, face_at(100), second, crowded=False)
    assert person.look == pytest.approx(np.array([0.9, 0.1]) / np.hypot(0.9, 0.1))
    assert person.frames == [0, 1, 2]


def test_two_who_cross_keep_the_looks_they_had_apart():
    """Boxes of 60 pixels, 45 apart, share a seventh of their area: near enough to be in each other's picture."""
    frames = textures(4)
    apart, near = (80, 145), (90, 135)
    left, right = follow(frames, [apart, near, near, near])
    assert left.frames == right.frames == [0, 1, 2, 3]
    assert np.array_equal(left.look, appearance(frames[0], face_at(80).landmarks))
    assert np.array_equal(right.look, appearance(frames[0], face_at(145).landmarks))


def test_those_who_pass_at_a_distance_are_learnt():
    frames = textures(2)
    left, right = follow(frames, [(80, 145), (80, 145)])
    for person, x in ((left, 80), (right, 145)):
        looks = [appearance(frame, face_at(x).landmarks) for frame in frames]
        expected = 0.9 * looks[0] + 0.1 * looks[1]
        assert person.look == pytest.approx(expected / np.linalg.norm(expected))


class Doubtful:
    """Recognises one person, but every fourth time it sees quite another."""

    def __init__(self, outlier):
        self.asked, self.outlier = 0, outlier

    def embed(self, faces):
        assert len(faces) == 1
        embedding = torch.zeros(1, 512)
        embedding[0, :2] = torch.tensor(self.outlier if self.asked % 4 == 1 else [1.0, 0.0])
        self.asked += 1
        return embedding


@pytest.mark.parametrize(
    ("outlier", "expected"),
    [([0.0, 1.0], [1.0, 0.0]), ([-1.0, 0.0], [1.0, 0.0]), ([0.8, 0.6], np.array([3.8, 0.6]) / np.hypot(3.8, 0.6))],
)
def test_embeddings_far_from_the_rest_are_left_out_of_the_mean(outlier, expected):
    """Four samples, of which one is 90 or 180 degrees away; at 37 degrees it is one reading among others."""
    encoder = Doubtful(outlier)
    clip = ArrayClip(np.stack(textures(4)))
    options = TrackOptions(stride=1, looks=0, min_length=1)
    (track,) = find_tracks(clip, Places([(100,)] * 4), options, encoder).tracks
    assert encoder.asked == 4
    assert track.embedding[:2] == pytest.approx(expected, abs=1e-6)
