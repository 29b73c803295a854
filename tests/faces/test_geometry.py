"""Geometry and warps beyond what the golden data covers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from svfr_model.base.errors import InputError
from svfr_model.faces import geometry
from svfr_model.faces.warp import low_pass, warp


def test_inverse_and_points():
    matrix = np.array([[0.8, -0.3, 5.0], [0.3, 0.8, -7.0]])
    points = np.array([[1.0, 2.0], [30.0, -4.0]])
    moved = geometry.apply(matrix, points)
    assert np.allclose(moved[0], [0.8 - 0.6 + 5, 0.3 + 1.6 - 7])
    assert np.allclose(geometry.apply(geometry.invert(matrix), moved), points)


def test_non_max_suppression_keeps_the_best_of_each_cluster():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [40, 40, 50, 50], [0, 0, 10, 4]])
    assert geometry.non_max_suppression(boxes, np.array([0.6, 0.9, 0.5, 0.8]), 0.5).tolist() == [1, 3, 2]


def test_the_square_is_moved_back_to_the_face_along_the_longer_axis():
    """A box 100 wide and 40 high, 20 from the frame's edge: grown to 0..160 by 64..136, its middle is 10 right of the
    face's.
    """
    assert geometry.square_crop(np.array([20, 80, 120, 120]), 300, 300) == (34, 64, 106, 136)
    assert geometry.square_crop(np.array([80, 20, 120, 120]), 300, 300) == (64, 34, 136, 106)


def test_arcface_alignment_puts_landmarks_on_the_template():
    """White dots at the landmarks come out at the places of the aligned 256x256 picture, cut and halved by 2x2 means:
    pixel u of the half lies at 2u + 0.5.
    """
    turn = geometry.similarity(np.array([[0, 0], [100, 0]]), np.array([[180, 90], [350, 150]]))
    template = (geometry.TEMPLATE_256 - (16, 0) - 0.5) / 2
    landmarks = geometry.apply(turn, template)
    image = np.zeros((480, 640, 3), np.uint8)
    for point in landmarks:
        cv2.circle(image, tuple(int(v) for v in np.round(point * 16)), 64, (255, 255, 255), -1, cv2.LINE_AA, 4)
    aligned = geometry.align_face(image, landmarks)[0].numpy() + 1
    rows, columns = np.mgrid[:112, :112]
    for x, y in template:
        near = np.hypot(columns - x, rows - y) < 6
        weight = aligned * near
        center = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        assert np.hypot(center[0] - x, center[1] - y) < 0.06


def test_alignment_needs_five_landmarks():
    with pytest.raises(InputError, match=r"5 finite landmarks.*\(4, 2\)"):
        geometry.align_face(np.zeros((256, 256, 3), np.uint8), np.zeros((4, 2)))
    with pytest.raises(InputError, match="sideways"):
        geometry.align_face(np.zeros((256, 256, 3), np.uint8), np.zeros((5, 2)), mode="sideways")


def test_low_pass_fades_to_an_impulse():
    assert low_pass(1.0).tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-12)
    assert low_pass(1.001).max() == pytest.approx(1, abs=5e-3)


def test_shrinking_does_not_alias():
    """Stripes finer than the target's pixels become grey; plain interpolation would leave a beat."""
    stripes = np.tile((np.arange(400) % 2 * 255).astype(np.uint8), (400, 1))
    small = warp(stripes, np.array([[0.3, 0, 0], [0, 0.3, 0]]), (100, 100))
    assert np.ptp(small[10:-10, 10:-10].astype(int)) <= 4
    assert abs(small[10:-10, 10:-10].mean() - 127.5) < 2
    plain = cv2.warpAffine(stripes, np.array([[0.3, 0, 0], [0, 0.3, 0]]), (100, 100))
    assert np.ptp(plain[10:-10, 10:-10].astype(int)) > 100


@pytest.mark.parametrize("scale", [0.9, 0.4, 0.15, 0.06])
def test_warp_keeps_positions(scale):
    """A smooth ramp keeps its values: no half-pixel shift at any reduction."""
    rows, columns = np.mgrid[:600, :800].astype(np.float32)
    ramp = columns * 0.5 + rows * 0.25
    matrix = np.array([[scale, 0, 3.3], [0, scale, -2.7]])
    small = warp(ramp, matrix, (40, 30))
    y, x = np.mgrid[:30, :40].astype(np.float64)
    inverse = geometry.invert(matrix)
    source = geometry.apply(inverse, np.stack([x, y], -1).reshape(-1, 2)).reshape(30, 40, 2)
    margin = 12 / scale
    inside = (source > margin).all(-1) & (source[..., 0] < 800 - margin) & (source[..., 1] < 600 - margin)
    assert inside.any()
    expected = source[..., 0] * 0.5 + source[..., 1] * 0.25
    # OpenCV samples at steps of 1/32 of a (reduced) source pixel.
    assert np.abs(small - expected)[inside].max() < 0.75 / scale / 32


def test_border_is_mirrored_not_stretched():
    picture = astronaut()
    crop = warp(picture, np.array([[1.0, 0, 60], [0, 1.0, 40]]), (200, 200))
    padded = cv2.copyMakeBorder(picture, 40, 0, 60, 0, cv2.BORDER_REFLECT_101)[:200, :200]
    assert np.array_equal(crop, padded)
