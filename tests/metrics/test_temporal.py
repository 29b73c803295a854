"""Flow of known motions, and where a column goes in the temporal profile."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.metrics import flow_frame, flow_magnitude, temporal_profile


def moved(picture: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], dtype=np.float64)
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


@pytest.mark.parametrize("shift", [(0.5, 0.0), (0.0, 2.0), (3.0, 4.0)])
def test_flow_is_the_length_of_the_motion(shift):
    before = astronaut()
    found = flow_magnitude(flow_frame(before), flow_frame(moved(before, *shift)))
    assert found == pytest.approx(np.hypot(*shift), rel=0.05)


def test_no_motion_no_flow():
    frame = flow_frame(astronaut())
    assert flow_magnitude(frame, frame) < 0.01


@pytest.mark.parametrize("size", [(256, 256), (1024, 1024), (1024, 512)])
def test_flow_is_in_pixels_of_a_512_frame(size):
    """A motion of one 64th of the longer side is 8 pixels at 512, whatever the frame's size."""
    before = cv2.resize(astronaut(), size, interpolation=cv2.INTER_AREA)
    found = flow_magnitude(flow_frame(before), flow_frame(moved(before, size[0] / 64, 0)))
    assert found == pytest.approx(8, rel=0.05)


def test_tiny_frames_are_refused():
    with pytest.raises(InputError, match="40x8"):
        flow_frame(np.zeros((8, 40, 3), np.uint8))


def test_profile_puts_time_to_the_right():
    frames = np.zeros((5, 6, 8, 3), np.uint8)
    for index, frame in enumerate(frames):
        frame[:, 4] = (index, 10, 20)
        frame[index, 2] = 255
    middle = temporal_profile(ArrayClip(frames))
    assert middle.shape == (6, 5, 3)
    assert middle.dtype == np.uint8
    assert middle[3, :, 0].tolist() == [0, 1, 2, 3, 4]
    diagonal = temporal_profile(ArrayClip(frames), column=2)[..., 0] == 255
    assert np.array_equal(np.argwhere(diagonal), [[i, i] for i in range(5)])


def test_profile_of_float_frames_is_rounded():
    frames = np.full((2, 4, 4, 3), 0.5, np.float32)
    assert temporal_profile(ArrayClip(frames)).tolist() == np.full((4, 2, 3), 128).tolist()


def test_profile_refuses_a_column_outside():
    with pytest.raises(InputError, match="0 to 7"):
        temporal_profile(ArrayClip(np.zeros((2, 6, 8, 3), np.uint8)), column=8)
