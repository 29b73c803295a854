"""The clip generator: what it says of its clips is true, and its colours can be read from grey."""

import numpy as np
import pytest

from svfr_model.base.errors import InputError
from svfr_model.synthesis.clips import draw_person, five_points, make_clip
from svfr_model.synthesis.palette import LUMA, Material, color_table


def test_a_seed_is_one_clip():
    first, second = make_clip(5, 3, 64), make_clip(5, 3, 64)
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.landmarks, second.landmarks)
    assert not np.array_equal(first.frames, make_clip(6, 3, 64).frames)


def test_a_longer_clip_begins_like_a_shorter_one():
    assert np.array_equal(make_clip(5, 8, 64).frames[:3], make_clip(5, 3, 64).frames)


@pytest.mark.parametrize("size", [64, 128, 512])
def test_shapes(size):
    clip = make_clip(1, 2, size)
    assert clip.frames.shape == (2, size, size, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.landmarks.shape == (2, 68, 2)
    assert clip.face.shape == (2, size, size)
    assert clip.five.shape == (2, 5, 2)


def test_landmarks_scale_with_the_size():
    """To a pixel of 512: points are drawn on the pixels of a larger picture, whose grid differs with the size."""
    small, large = make_clip(3, 2, 64).landmarks, make_clip(3, 2, 512).landmarks
    assert np.abs((small + 0.5) * 8 - 0.5 - large).max() < 1


def test_inner_landmarks_lie_in_the_face():
    inside = 0
    for seed in range(12):
        clip = make_clip(seed, 2, 128)
        for points, face in zip(clip.landmarks, clip.face, strict=True):
            x, y = np.rint(points[27:]).astype(int).T
            inside += face[y, x].mean()
    assert inside / 24 > 0.98


def test_the_jaw_runs_along_the_edge_of_the_face():
    import cv2

    clip = make_clip(4, 2, 256)
    edge = cv2.distanceTransform(clip.face[0], cv2.DIST_L2, 3) + cv2.distanceTransform(1 - clip.face[0], cv2.DIST_L2, 3)
    x, y = np.rint(clip.landmarks[0, :17]).astype(int).T
    assert np.median(edge[y, x]) < 0.02 * 256


def test_five_points_are_in_image_order():
    points = make_clip(2, 1, 64).five[0]
    assert points[0, 0] < points[2, 0] < points[1, 0]
    assert points[3, 0] < points[4, 0]
    assert points[:2, 1].max() < points[2, 1] < points[3:, 1].min()
    assert np.allclose(five_points(make_clip(2, 1, 64).landmarks[0]), points)


def test_persons_differ_more_than_one_person_moves():
    same = make_clip(7, 2, 64).frames.astype(float)
    other = make_clip(8, 2, 64).frames.astype(float)
    assert np.abs(same[0] - other[0]).mean() > 5 * np.abs(same[0] - same[1]).mean()


def test_a_person_can_be_shown_in_another_clip():
    assert make_clip(9, 1, 64, person=7).person == draw_person(7)
    assert not np.array_equal(make_clip(9, 1, 64, person=7).frames, make_clip(7, 1, 64).frames)


def test_something_moves_in_every_clip():
    moved = [np.abs(np.diff(make_clip(seed, 8, 64).landmarks, axis=0)).max() for seed in range(5)]
    assert min(moved) > 0.2


def test_luma_of_every_color_is_its_luminance():
    for row in color_table():
        assert np.abs(row @ LUMA - np.arange(256)).max() <= 1.0


def test_hues_of_materials_differ_at_one_luminance():
    table = color_table().astype(int)
    assert np.abs(table[Material.SKIN, 128] - table[Material.BACKGROUND, 128]).max() > 40
    assert np.abs(table[Material.SKIN, 60] - table[Material.LIPS, 60]).max() > 5


@pytest.mark.parametrize(("frames", "size"), [(0, 64), (4, 32), (4, 1024)])
def test_impossible_clips_are_refused(frames, size):
    with pytest.raises(InputError, match="64 to 512"):
        make_clip(0, frames, size)
