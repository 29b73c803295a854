"""Large frames are searched at a smaller size, and every place found there is one of the frame."""

from __future__ import annotations

import numpy as np
import pytest

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.face import Face
from svfr_model.faces.find import find_tracks
from svfr_model.faces.options import TrackOptions
from svfr_model.faces.reduce import Reduction
from svfr_model.faces.select import largest_face
from svfr_model.metrics.faces import Watcher

LEFT, TOP, RIGHT, BOTTOM = 640, 200, 960, 400
"""A white square in a black frame of 3200x1600, which is searched at 640x320: whole blocks of 5x5 pixels."""
MIDDLE = [(LEFT + RIGHT - 1) / 2, (TOP + BOTTOM - 1) / 2]
"""The mean of its pixels' centres, where the centre of the first pixel of a frame is (0, 0)."""


class SquareFinder:
    """Finds one face: all landmarks in the middle of what is white; keeps the sizes of the frames it saw."""

    def __init__(self):
        self.sizes = set()

    def detect(self, frames):
        self.sizes |= {frame.shape[:2] for frame in frames}
        return [[self._face(frame)] for frame in frames]

    @staticmethod
    def _face(frame):
        rows, columns = np.nonzero(frame[..., 0] > 127)
        middle = np.array([columns.mean(), rows.mean()])
        half = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1]) / 2
        return Face(np.concatenate([middle - half, middle + half]), np.tile(middle, (5, 1)), 0.9)


def _found_by_tracking(frame, detector):
    # Three frames are enough to be believed; without refinement, nothing but the reduced frames is looked at.
    found = find_tracks(ArrayClip([frame] * 3), detector, TrackOptions(stride=1, looks=0))
    (track,) = found.tracks
    return track.landmarks[0], track.boxes[0]


def _found_in_a_picture(frame, detector):
    face = largest_face(frame, detector, "the picture")
    return face.landmarks, face.box


def _found_by_the_metrics(frame, detector):
    face = Watcher(detector, None, None).look(0, frame, frame)[1].face
    return face.landmarks, face.box


@pytest.mark.parametrize("find", [_found_by_tracking, _found_in_a_picture, _found_by_the_metrics])
def test_places_found_at_a_fifth_of_the_size_are_exact(find):
    frame = np.zeros((1600, 3200, 3), np.uint8)
    frame[TOP:BOTTOM, LEFT:RIGHT] = 255
    detector = SquareFinder()
    landmarks, box = find(frame, detector)
    assert detector.sizes == {(320, 640)}
    assert landmarks == pytest.approx(np.tile(MIDDLE, (5, 1)), abs=1e-6)
    assert (box[:2] + box[2:]) / 2 == pytest.approx(MIDDLE, abs=0.05)
    assert box[2:] - box[:2] == pytest.approx([RIGHT - LEFT, BOTTOM - TOP], rel=1e-3)


@pytest.mark.parametrize(
    ("size", "reduced"),
    [((3200, 1600), (640, 320)), ((1600, 3200), (320, 640)), ((640, 480), (640, 480)), ((9, 6), (9, 6))],
)
def test_the_longer_side_counts_and_nothing_is_enlarged(size, reduced):
    assert Reduction.to(*size).reduced == reduced


def test_a_sliver_keeps_a_pixel():
    assert Reduction.to(5000, 2).reduced == (640, 1)


def test_sides_that_do_not_divide_have_factors_of_their_own():
    """1000x333 becomes 640x213: 1.5625 across and 1.5634 down, and the frame's last pixel is the reduced one's."""
    face = Reduction.to(1000, 333).enlarge(Face(np.array([-0.5, -0.5, 639.5, 212.5]), np.array([[0.0, 0.0]]), 0.5))
    assert face.box == pytest.approx([-0.5, -0.5, 999.5, 332.5])
    assert face.landmarks[0] == pytest.approx([0.28125, 333 / 213 / 2 - 0.5])
    assert face.score == 0.5
