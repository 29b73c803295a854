"""Which frame of the first pass the second refers to, and whose face is read from it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from svfr_model.base.errors import FaceNotFoundError, InputError
from svfr_model.base.pixels import from_network_range
from svfr_model.engine.self_reference import SelfReferrer, face_sharpness, frontality
from svfr_model.faces.face import Face
from svfr_model.faces.geometry import align_face
from svfr_model.networks.identity import Identity

SIZE = 64
FRONTAL = np.array([[22.0, 26], [42, 26], [32, 34], [24, 44], [40, 44]])
TURNED = FRONTAL + np.array([[0, 0], [0, 0], [5, 0], [0, 0], [0, 0]])
"""The nose divides the distance of the eyes 15 to 5: a frontality of a third."""


def face(landmarks=FRONTAL, score=0.8, box=(12, 12, 52, 56)):
    return Face(np.array(box, np.float64), np.asarray(landmarks, np.float64), score)


class Detector:
    """Finds what it was told, frame by frame."""

    def __init__(self, *faces):
        self.faces = [found if isinstance(found, list) else [found] for found in faces]

    def detect(self, frames):
        assert len(frames) == len(self.faces)
        assert all(frame.shape == (SIZE, SIZE, 3) and frame.dtype == np.uint8 for frame in frames)
        return self.faces


class Encoder:
    """Keeps the aligned face that it was shown."""

    identity = Identity(torch.zeros(49, 8), torch.zeros(512))

    def encode(self, faces):
        (self.seen,) = faces
        return self.identity


def frames(*contrasts):
    """Frames (n,3,SIZE,SIZE) in [-1,1], all different; the higher the contrast, the sharper."""
    return torch.stack([contrast * (2 * torch.rand(3, SIZE, SIZE) - 1) for contrast in contrasts])


def picture_of(frame):
    """What the detector and the alignment see of a frame."""
    return from_network_range(frame[None], truncate=True)[0].permute(1, 2, 0).numpy()


def refer(clip, faces, choice="best", landmarks=None, alignment="arcface"):
    """The reference, and the aligned face that the encoder saw."""
    encoder = Encoder()
    referrer = SelfReferrer(Detector(*faces), encoder, choice, alignment)
    return referrer(clip, landmarks), encoder.seen


def test_the_sharpest_of_equal_faces_is_the_reference():
    clip = frames(0.2, 0.9, 0.4)
    found, seen = refer(clip, [face(), face(), face()])
    assert found.index == 1
    assert found.score == pytest.approx(0.8)
    assert torch.equal(found.picture, clip[1])
    assert found.identity is Encoder.identity
    assert torch.equal(seen, align_face(picture_of(clip[1]), FRONTAL))


def test_a_face_seen_from_the_front_beats_a_turned_one():
    clip = frames(0.5)[[0, 0, 0]]
    found, seen = refer(clip, [face(TURNED), face(TURNED), face()])
    assert (found.index, found.score) == (2, pytest.approx(0.8))
    found, seen = refer(clip, [face(TURNED), [], []])
    assert (found.index, found.score) == (0, pytest.approx(0.8 / 3))
    assert torch.equal(seen, align_face(picture_of(clip[0]), TURNED))


def test_the_detectors_score_counts():
    clip = frames(0.5)[[0, 0, 0]]
    found, _ = refer(clip, [face(score=0.5), face(score=0.9), face(score=0.7)])
    assert (found.index, found.score) == (1, pytest.approx(0.9))


def test_the_three_are_multiplied():
    """Frame 0 is sharpest but turned; frame 1 has half its sharpness, which is more than a third."""
    first = frames(0.9)[0]
    half = first * 0.72
    clip = torch.stack([first, half])
    sharpness = [face_sharpness(picture_of(frame), face()) for frame in clip]
    found, _ = refer(clip, [face(TURNED), face()])
    assert found.index == 1
    assert found.score == pytest.approx(0.8 * sharpness[1] / sharpness[0])
    assert 0.4 < sharpness[1] / sharpness[0] < 0.6


def test_sharpness_is_the_faces_not_the_backgrounds():
    clip = frames(0.5, 0.5)
    clip[0, :, :10] *= 2
    clip[0, :, 14:54, 14:50] *= 0.5
    assert refer(clip, [face(), face()])[0].index == 1


def test_the_largest_face_of_a_frame_is_the_person():
    clip = frames(0.5)
    small = face(FRONTAL * 0.4, score=0.99, box=(2, 2, 22, 26))
    found, seen = refer(clip, [[small, face(score=0.6)]])
    assert found.score == pytest.approx(0.6)
    assert torch.equal(seen, align_face(picture_of(clip[0]), FRONTAL))


@pytest.mark.parametrize(
    ("nose", "expected"), [(32, 1.0), (37, 1 / 3), (27, 1 / 3), (22, 0.0), (42, 0.0), (50, 0.0), (10, 0.0)]
)
def test_frontality_is_how_evenly_the_nose_divides_the_eyes(nose, expected):
    points = FRONTAL.copy()
    points[2, 0] = nose
    assert frontality(points) == pytest.approx(expected)


@pytest.mark.parametrize(("choice", "index"), [("last", 3), (0, 0), (2, 2)])
def test_a_frame_by_rule_or_number_is_taken_though_others_are_better(choice, index):
    clip = frames(0.3, 0.9, 0.3, 0.3)
    found, seen = refer(clip, [face(TURNED), face(), face(TURNED), face(TURNED)], choice)
    assert found.index == index
    assert 0 < found.score < 0.8 / 3
    assert torch.equal(seen, align_face(picture_of(clip[index]), TURNED))


def test_where_the_wanted_frame_shows_no_face_its_nearest_neighbour_serves(caplog):
    clip = frames(0.5, 0.5, 0.5, 0.5, 0.5)
    found, _ = refer(clip, [face(), face(), [], [], []], "last")
    assert found.index == 1
    assert "in frame 4 of the first pass; frame 1 is used" in caplog.text


@pytest.mark.parametrize(("choice", "index"), [("best", 2), ("last", 4), (1, 1)])
def test_without_any_face_found_the_degraded_clips_landmarks_serve(choice, index, caplog):
    clip = frames(0.5, 0.6, 0.7, 0.8, 0.9)
    landmarks = torch.from_numpy(np.stack([FRONTAL + i for i in range(5)]))
    found, seen = refer(clip, [[]] * 5, choice, landmarks)
    assert (found.index, found.score) == (index, 0.0)
    assert torch.equal(found.picture, clip[index])
    assert torch.equal(seen, align_face(picture_of(clip[index]), FRONTAL + index))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "landmarks of the degraded clip" in caplog.text


def test_found_faces_come_before_the_degraded_clips_landmarks():
    clip = frames(0.5, 0.5)
    _, seen = refer(clip, [[], face()], landmarks=torch.from_numpy(np.stack([FRONTAL + 9] * 2)))
    assert torch.equal(seen, align_face(picture_of(clip[1]), FRONTAL))


def test_no_face_and_no_landmarks_is_an_error_with_remedies():
    with pytest.raises(FaceNotFoundError, match=r"Lower the detection threshold.*or use one pass"):
        refer(frames(0.5), [[]])


@pytest.mark.parametrize("faces", [[[], [], []], [face(), face(), face()]])
def test_a_frame_beyond_the_first_pass_is_refused(faces):
    points = torch.from_numpy(np.stack([FRONTAL] * 3))
    for choice in (3, -1):
        with pytest.raises(InputError, match=rf"Reference frame {choice} was chosen.*frames 0 to 2"):
            refer(frames(0.5, 0.5, 0.5), faces, choice, points)


def test_the_alignment_asked_for_is_used():
    clip = torch.nn.functional.interpolate(frames(0.5), 256)
    points = 4 * FRONTAL

    class Large(Detector):
        def detect(self, frames):
            return [[face(points, box=(48, 48, 208, 224))]]

    encoder = Encoder()
    SelfReferrer(Large(), encoder, alignment="reference")(clip)
    assert torch.equal(encoder.seen, align_face(picture_of(clip[0]), points, "reference"))
    assert not torch.equal(encoder.seen, align_face(picture_of(clip[0]), points))


def test_a_face_outside_the_frame_or_a_flat_frame_has_no_sharpness():
    flat = np.full((SIZE, SIZE, 3), 90, np.uint8)
    assert face_sharpness(flat, face()) == 0.0
    assert face_sharpness(flat, face(box=(-40, -40, -2, -2))) == 0.0
    found, _ = refer(torch.zeros(2, 3, SIZE, SIZE), [face(), face()])
    assert (found.index, found.score) == (0, 0.0)
