"""Crops: where they are cut, and what is in them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut
from support.pasting import paste
from support.tracks import make_track

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.faces import geometry
from svfr_model.faces.crop import crop_frame, crop_mask, plan_crop
from svfr_model.faces.cut import crop_clip
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.paste import Patch
from svfr_model.faces.smooth import ORDER, strength_of
from svfr_model.faces.warp import warp


def line(start, stop, count):
    return np.linspace(start, stop, count)


def scales(plan):
    return np.hypot(plan.matrices[:, 0, 0], plan.matrices[:, 1, 0])


def middle(plan):
    width, height = plan.size
    return geometry.apply(geometry.invert(plan.matrices), np.array([[(width - 1) / 2, (height - 1) / 2]]))[:, 0]


def test_static_crop_is_the_references_square():
    picture = astronaut()
    track = make_track([(223, 120), (260, 150)], side=(91, 91), frame_size=(512, 512))
    planned = plan_crop(track, CropOptions(mode="static", size=(128, 128)))
    square = geometry.square_crop(geometry.union_box(track.boxes), 512, 512)
    assert planned.square == square
    expected = Image.fromarray(picture).crop(square).resize((128, 128), Image.Resampling.BICUBIC)
    for index in (0, 1):
        assert np.array_equal(crop_frame(picture, planned, index), np.array(expected))
    assert np.array_equal(planned.matrices[0], planned.matrices[1])


def test_static_crop_golden(root):
    """The reference's own cropped and resized frame, through the same path as every static crop."""
    from dataclasses import replace

    from safetensors.numpy import load_file

    data = load_file(root / "tests/golden/svfr/lq_preprocess.safetensors")
    square = tuple(int(v) for v in data["bbox"])
    track = plan_crop(make_track([(70, 47)], frame_size=(160, 120)), CropOptions(mode="static", size=(128, 128)))
    planned = replace(track, square=square)
    assert np.array_equal(crop_frame(data["frame_uint8"], planned, 0), data["resized_uint8"])


def test_static_matrix_says_where_the_square_went():
    """Bright dots in the frame lie where the matrix says in Pillow's crop."""
    track = make_track([(100, 80)], side=50, frame_size=(200, 160))
    planned = plan_crop(track, CropOptions(mode="static", size=(256, 256)))
    frame = np.zeros((160, 200, 3), np.uint8)
    frame[80, 110] = 255
    crop = crop_frame(frame, planned, 0)[..., 0].astype(np.float64)
    rows, columns = np.mgrid[:256, :256]
    found = (crop * columns).sum() / crop.sum(), (crop * rows).sum() / crop.sum()
    assert np.allclose(found, geometry.apply(planned.matrices[0], np.array([[110.0, 80.0]]))[0], atol=0.1)


def test_tracked_crop_of_a_still_face_is_the_static_square():
    track = make_track([(160, 90)] * 9, side=40)
    tracked, static = plan_crop(track), plan_crop(track, CropOptions(mode="static"))
    assert np.allclose(tracked.matrices, static.matrices, atol=0.02 * scales(static)[0] * 40)
    assert scales(tracked)[0] == pytest.approx(512 / (1.8 * 40))


def test_tracked_crop_follows_pan_and_zoom_exactly():
    centers = np.stack([line(80, 240, 40), line(60, 120, 40)], axis=1)
    sides = 40 * 1.5 ** line(0, 1, 40)
    planned = plan_crop(make_track(centers, sides), CropOptions(size=(256, 256)))
    assert np.abs(middle(planned) - centers).max() < 1e-6
    assert np.allclose(scales(planned), 256 / (1.8 * sides))


def test_smoothing_takes_noise_away_and_is_an_option():
    noisy = np.array([160.0, 90.0]) + np.random.default_rng(0).normal(0, 2, (80, 2))
    exact, soft, softer = (plan_crop(make_track(noisy), CropOptions(smoothing=s)) for s in (0, 10, 40))
    assert np.abs(middle(exact) - noisy).max() < 1e-9

    def roughness(plan):
        return np.abs(np.diff(middle(plan), 2, axis=0)).mean()

    assert roughness(soft) < roughness(exact) / 20
    assert roughness(softer) < roughness(soft) / 5


def test_smoothing_never_loses_the_face():
    """Jumps far beyond the margin: the crop gives up smoothness, not the face."""
    jumps = np.array([160.0, 90.0]) + np.random.default_rng(3).choice([-45.0, 45.0], (60, 2)) * (1, 0.3)
    for roll in (False, True):
        track = make_track(jumps)
        planned = plan_crop(track, CropOptions(smoothing=60, roll=roll, size=(128, 128)))
        corners = track.boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        places = geometry.apply(planned.matrices, corners)
        assert places.min() >= -0.5
        assert places.max() <= 127.5


def test_a_face_that_jumps_is_kept_without_a_jolt_of_the_crop():
    """60 pixels aside in one frame, and a margin of 24: the frames around it give way too. The crop's speed changes by
    less than 4 pixels from frame to frame, and by 14 where only the frames move that would lose the face.
    """
    track = make_track([(130, 90)] * 30 + [(190, 90)] * 30)
    planned = plan_crop(track, CropOptions(smoothing=30))
    assert np.abs(np.diff(middle(planned)[:, 0], 2)).max() < 4


def test_unseen_frames_hardly_count():
    centers = np.tile([[160.0, 90.0]], (40, 1))
    centers[18:22] += 15
    seen = np.ones(40, dtype=bool)
    seen[18:22] = False
    planned = plan_crop(make_track(centers, seen=seen))
    assert np.abs(middle(planned) - (160, 90)).max() < 4


def test_roll():
    angles = np.deg2rad(line(-20, 20, 30))
    base = make_track([(160, 90)] * 30)
    turns = np.stack(
        [np.stack([np.cos(angles), -np.sin(angles)], -1), np.stack([np.sin(angles), np.cos(angles)], -1)], 1
    )
    landmarks = (base.landmarks - (160, 90)) @ turns.transpose(0, 2, 1) + (160, 90)
    track = make_track([(160, 90)] * 30, landmarks=landmarks)
    upright, turned = plan_crop(track), plan_crop(track, CropOptions(roll=True))
    assert np.allclose(upright.matrices[:, 0, 1], 0)
    found = np.arctan2(turned.matrices[:, 1, 0], turned.matrices[:, 0, 0])
    assert np.abs(found + angles).max() < np.deg2rad(0.5)
    eyes = turned.landmarks[:, 1] - turned.landmarks[:, 0]
    assert np.abs(eyes[:, 1] / eyes[:, 0]).max() < 0.02, "the eyes are level in the crop"


def test_margin_means_the_same_in_both_modes():
    track = make_track([(160, 90)] * 5, side=40)
    for margin in (0.2, 0.5):
        sides = [
            512 / scales(plan_crop(track, CropOptions(mode=mode, margin=margin)))[0] for mode in ("tracked", "static")
        ]
        assert sides[0] == pytest.approx((1 + 2 * margin) * 40)
        assert sides[1] == pytest.approx(sides[0], abs=1)


def test_scale_limits():
    tiny = plan_crop(make_track([(160, 90)] * 4, side=6))
    assert scales(tiny)[0] == pytest.approx(16)
    huge = plan_crop(make_track([(2000, 2000)] * 4, side=900, frame_size=(4000, 4000)), CropOptions(size=(64, 64)))
    assert scales(huge)[0] == pytest.approx(1 / 16)


def test_how_the_smoother_solves_changes_crops_by_at_most_one_level(monkeypatch):
    """The banded solver against a dense one, at the default smoothing, on a shaken face that is out of sight at times.

    Far stronger smoothing is so ill-conditioned that any two solvers differ by more: by 0.0001 at a period of 120.
    """
    random = np.random.default_rng(0)
    centers = np.cumsum(random.normal(0, 1, (40, 2)), axis=0) + np.array([224, 120])
    track = make_track(centers, side=90, frame_size=(512, 512), seen=random.random(40) > 0.2)
    banded = plan_crop(track)

    def dense(values, period, weights):
        differences = np.diff(np.eye(len(values)), ORDER, axis=0)
        system = np.diag(weights) + strength_of(period) * differences.T @ differences
        right = weights[:, None] * values.reshape(len(values), -1)
        return np.linalg.solve(system, right).reshape(values.shape)

    monkeypatch.setattr("svfr_model.faces.crop.smooth", dense)
    other = plan_crop(track)
    assert 0 < np.abs(banded.matrices - other.matrices).max() < 1e-6
    for index in range(0, 40, 8):
        first, second = (crop_frame(astronaut(), plan, index).astype(int) for plan in (banded, other))
        assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("mode", ["tracked", "static"])
@pytest.mark.parametrize("size", [(384, 256), (256, 384)])
def test_rectangles_do_not_stretch_the_face(mode, size):
    track = make_track([(100, 90)] * 5, side=40)
    planned = plan_crop(track, CropOptions(mode=mode, size=size))
    assert np.allclose(planned.matrices[:, 0, 0], planned.matrices[:, 1, 1])
    assert planned.matrices[0, 0, 0] == pytest.approx(256 / 72, rel=0.02)
    crop = crop_frame(np.zeros((180, 320, 3), np.uint8), planned, 0)
    assert crop.shape == (size[1], size[0], 3)
    places = geometry.apply(planned.matrices[0], track.boxes[0].reshape(2, 2))
    assert (places >= 0).all()
    assert (places <= np.array(size) - 1).all()


def test_beyond_the_edge_the_frame_is_mirrored_or_continued():
    picture = np.ascontiguousarray(astronaut()[:180, :320])
    track = make_track([(8, 90)] * 3, side=50)
    planned = plan_crop(track, CropOptions(size=(90, 90)))
    reflected = crop_frame(picture, planned, 1)
    continued = warp(picture, planned.matrices[1], (90, 90), border="replicate")
    edge = int(np.ceil(planned.matrices[1, 0, 2]))
    assert 30 < edge < 40
    assert np.array_equal(reflected[:, edge + 5 :], continued[:, edge + 5 :])
    mirror = reflected[:, edge - 20 : edge][:, ::-1].astype(int)
    assert np.abs(mirror - reflected[:, edge + 1 : edge + 21]).mean() < 8, "what lies beyond mirrors what lies within"
    assert np.abs(continued[:, 4:20].astype(int) - continued[:, 3:4]).max() <= 2, "the edge is continued outwards"


def test_pre_downscale_softens_but_does_not_move():
    picture = astronaut()
    track = make_track([(223, 120)] * 3, side=100, frame_size=(512, 512))
    sharp, soft = (
        crop_frame(picture, plan_crop(track, CropOptions(size=(256, 256), pre_downscale=d)), 0).astype(np.float32)
        for d in (1.0, 4.0)
    )
    detail = [np.abs(cv2.Laplacian(p, cv2.CV_32F)).mean() for p in (sharp, soft)]
    assert detail[1] < detail[0] / 2
    blurred = cv2.GaussianBlur(sharp, (0, 0), 2.0)
    shift, _ = cv2.phaseCorrelate(blurred[..., 1], soft[..., 1])
    assert np.hypot(*shift) < 0.15


def test_masks_go_with_the_frames():
    track = make_track([(100, 80), (120, 90)], side=50, frame_size=(200, 160))
    for mode in ("tracked", "static"):
        planned = plan_crop(track, CropOptions(mode=mode, size=(128, 128), smoothing=0))
        mask = np.zeros((160, 200), np.float32)
        mask[60:100, 80:120] = 1
        frame = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, axis=2)
        for index in (0, 1):
            warped = crop_mask(mask, planned, index)
            crop = crop_frame(frame, planned, index)[..., 0] / 255
            assert warped.shape == (128, 128)
            assert warped.min() >= 0
            assert warped.max() <= 1
            assert np.mean((warped >= 0.5) & (crop < 0.5)) < 0.03  # widened by a pixel of the frame
            assert (warped[crop > 0.15] >= 0.5).all()
    same = crop_mask((mask * 255).astype(np.uint8), planned, 0)
    assert np.allclose(same, crop_mask(mask, planned, 0), atol=1e-6)
    assert np.allclose(crop_mask(mask > 0, planned, 0), same, atol=1e-6)
    half = cv2.resize(mask, (100, 80), interpolation=cv2.INTER_AREA)
    assert np.mean((crop_mask(half, planned, 0) >= 0.5) != (same >= 0.5)) < 0.02


@pytest.mark.parametrize("reduction", [1.0, 4.0])
@pytest.mark.parametrize(("side", "size"), [(24, 64), (60, 64), (200, 64), (100, 512)])
def test_nothing_of_what_is_missing_shows_beside_the_mask_or_after_pasting(side, size, reduction):
    track = make_track([(150.3, 120.7)], side=side, frame_size=(320, 240))
    planned = plan_crop(track, CropOptions(size=(size, size), pre_downscale=reduction))
    mask = np.zeros((240, 320), np.uint8)
    cv2.line(mask, (120, 90), (185, 150), 1, 2)
    cv2.circle(mask, (160, 110), 3, 1, -1)
    frame = np.where(mask[..., None] > 0, 255, np.full((240, 320, 3), 90)).astype(np.uint8)
    masked = crop_mask(mask > 0, planned, 0) >= 0.5
    shown = crop_frame(frame, planned, 0)[~masked]
    assert np.abs(shown.astype(int) - 90).max() < 35  # ringing; white is 165 away
    patch = Patch(planned, 0, torch.full((3, size, size), 90, dtype=torch.uint8), mask=masked.astype(np.float32))
    pasted = paste(frame, [patch], PasteOptions(region="crop", feather=0.0, color_match="none"))
    rows, columns = np.nonzero(mask)
    at = geometry.apply(planned.matrices[0], np.stack([columns, rows], axis=1).astype(np.float64))
    inside = ((at > size / 16) & (at < size * 15 / 16)).all(axis=1)
    assert inside.sum() > 20
    assert pasted[rows[inside], columns[inside]].max() < 95


def test_crop_clip_walks_once_for_all_tracks():
    walks = []

    class Counting(ArrayClip):
        def __iter__(self):
            walks.append(1)
            return super().__iter__()

    frames = np.random.default_rng(0).integers(0, 255, (12, 180, 320, 3), dtype=np.uint8)
    tracks = [
        plan_crop(make_track([(100, 90)] * 5, start=2), CropOptions(size=(64, 64))),
        plan_crop(make_track([(220, 90)] * 8, start=4, number=1), CropOptions(size=(64, 48), mode="static")),
    ]
    seen = []
    crops = crop_clip(Counting(frames), tracks, lambda *report: seen.append(report))
    assert len(walks) == 1
    assert [tuple(c.shape) for c in crops] == [(5, 3, 64, 64), (8, 3, 48, 64)]
    assert all(c.dtype == torch.uint8 for c in crops)
    assert np.array_equal(crops[0][3].permute(1, 2, 0).numpy(), crop_frame(frames[5], tracks[0], 3))
    assert np.array_equal(crops[1][0].permute(1, 2, 0).numpy(), crop_frame(frames[4], tracks[1], 0))
    assert seen[-1] == ("crop", 12, 12, None)


def test_float_frames_are_rounded():
    frame = np.full((180, 320, 3), 100.6 / 255, np.float32)
    planned = plan_crop(make_track([(160, 90)]), CropOptions(size=(32, 32)))
    assert (crop_frame(frame, planned, 0) == 101).all()


def test_bad_input():
    track = make_track([(160, 90)] * 3)
    planned = plan_crop(track, CropOptions(size=(64, 64)))
    with pytest.raises(InputError, match=r"320x180.*200x100"):
        crop_frame(np.zeros((100, 200, 3), np.uint8), planned, 0)
    with pytest.raises(InputError, match="3 frames"):
        crop_clip(ArrayClip(np.zeros((3, 180, 320, 3), np.uint8)), [plan_crop(make_track([(9, 9)] * 9))])
    with pytest.raises(InputError, match="outside"):
        plan_crop(make_track([(500, 90)]), CropOptions(mode="static"))
    bad = ({"mode": "zoomed"}, {"size": (4, 64)}, {"margin": -1}, {"pre_downscale": 0.5})
    for options in bad:
        with pytest.raises(InputError):
            CropOptions(**options)
