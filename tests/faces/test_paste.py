"""Paste-back: exact outside, seamless at the edge, and the rules of tasks, masks and several faces."""

from __future__ import annotations

import logging
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut
from support import face_metrics as metrics
from support.pasting import match_colors, paste
from support.tracks import TEMPLATE, make_track

from svfr_model.base.errors import InputError
from svfr_model.base.tasks import parse_tasks
from svfr_model.faces import geometry
from svfr_model.faces.crop import crop_frame, plan_crop
from svfr_model.faces.options import CropOptions, PasteOptions
from svfr_model.faces.paste import Patch, paste_frame, warn_if_grey

FACE = (224.0, 120.0)


@pytest.fixture(scope="module")
def frame():
    return astronaut()


def planned(size=(256, 256), count=1, **changes):
    options = {key: changes.pop(key) for key in list(changes) if key in CropOptions.__dataclass_fields__}
    track = make_track([FACE] * count, side=changes.pop("side", 100), frame_size=(512, 512), **changes)
    return plan_crop(track, CropOptions(size=size, **options))


def tensor(picture):
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def flat(plan, color):
    width, height = plan.size
    return torch.tensor(color, dtype=torch.uint8)[:, None, None].expand(3, height, width)


@pytest.mark.parametrize("region", ["face", "crop"])
@pytest.mark.parametrize(("mode", "roll"), [("tracked", False), ("tracked", True), ("static", False)])
@pytest.mark.parametrize(("factor", "least"), [(1.0, 35.0), (1.5, 40.0), (2.8, 40.0)])
def test_identity_round_trip(frame, region, mode, roll, factor, least):
    """The portrait is the hardest picture here: sharp at the level of its pixels. Turned crops resample all of it."""
    angle = np.deg2rad(17.0) if roll else 0.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE * 100 @ turn.T + FACE)[None]
    side = round(180 * factor)
    plan = planned((side, side), mode=mode, roll=roll, landmarks=landmarks)
    options = PasteOptions(region=region)
    result = paste(frame, [Patch(plan, 0, tensor(crop_frame(frame, plan, 0)))], options)
    mask = metrics.paste_mask(plan, 0, options)
    assert np.array_equal(result[mask == 0], frame[mask == 0])
    assert metrics.psnr(result, frame, mask > 0) >= least
    for level in (0.0, 0.5):
        band = metrics.edge_band(mask, level)
        assert metrics.gradient(result)[band].mean() <= 1.05 * metrics.gradient(frame)[band].mean()


def test_region_face_leaves_captions_alone(frame):
    plan = planned()
    face = metrics.paste_mask(plan, 0, PasteOptions())
    crop = metrics.paste_mask(plan, 0, PasteOptions(region="crop"))
    assert face[120, 224] == 1
    assert crop[120, 224] == 1
    assert (face[crop == 0] == 0).all()
    assert (face > 0).sum() < 0.5 * (crop > 0).sum()
    for x, y in plan.track.landmarks[0]:
        assert face[round(y), round(x)] > 0.95, "every landmark lies well inside"


def test_feather_is_in_sides_of_the_face(frame):
    for side in (50, 100):
        plan = planned(side=side)
        mask = metrics.paste_mask(plan, 0, PasteOptions(region="crop", feather=0.2))
        row = mask[120, : int(FACE[0])]
        rising = np.flatnonzero((row > 0.01) & (row < 0.99))
        assert len(rising) == pytest.approx(0.2 * side, abs=0.04 * side + 2)
    hard = metrics.paste_mask(planned(), 0, PasteOptions(feather=0.0))
    assert ((hard > 0.02) & (hard < 0.98)).sum() < 0.1 * (hard > 0).sum()


def test_without_patches_nothing_changes(frame):
    result = paste(frame, [])
    assert np.array_equal(result, frame)
    assert result is not frame


def test_float_frames_stay_float_and_exact_outside(frame):
    floats = (frame.astype(np.float32) / 255 + np.float32(1e-4)).clip(0, 1)
    plan = planned()
    result = paste(floats, [Patch(plan, 0, flat(plan, (200, 30, 90)))])
    mask = metrics.paste_mask(plan, 0, PasteOptions())
    assert result.dtype == np.float32
    assert np.array_equal(result[mask == 0], floats[mask == 0])
    assert np.allclose(result[120, 224], np.array([200, 30, 90]) / 255, atol=1e-3)
    same = paste(frame, [Patch(plan, 0, flat(plan, (200, 30, 90)).float() / 255)])
    assert np.abs(same / 255 - result).max() < 0.005


def test_pixels_change_only_where_they_are_allowed_to(frame):
    allowed = np.zeros((512, 512), np.float32)
    allowed[:, :224] = 1
    plan = planned()
    for mask in (allowed, allowed > 0, (allowed * 255).astype(np.uint8)):
        result = paste(frame, [Patch(plan, 0, flat(plan, (0, 255, 0)))], allowed=mask)
        assert np.array_equal(result[:, 224:], frame[:, 224:])
        assert (result[120, 215] == (0, 255, 0)).all()
    with pytest.raises(InputError, match="where pixels may change"):
        paste(frame, [], allowed=np.zeros((5, 5)))


def test_larger_face_is_in_front():
    frame = np.full((180, 320, 3), 90, np.uint8)
    large = plan_crop(make_track([(150, 90)], side=80), CropOptions(size=(96, 96)))
    small = plan_crop(make_track([(185, 90)], side=50, number=1), CropOptions(size=(96, 96)))
    patches = [Patch(large, 0, flat(large, (255, 0, 0))), Patch(small, 0, flat(small, (0, 0, 255)))]
    for order in (patches, patches[::-1]):
        result = paste(frame, order)
        assert (result[90, 172] == (255, 0, 0)).all(), "both cover this pixel"
        assert (result[90, 204] == (0, 0, 255)).all()


def test_interpolated_frames_fade_with_doubt(frame):
    scores = np.array([0.9, 0.6, 0.3, 0.0, 0.9])
    seen = np.array([True, False, False, False, True])
    plan = planned(count=5, scores=scores, seen=seen)
    middle = [
        int(paste(np.zeros_like(frame), [Patch(plan, i, flat(plan, (240, 240, 240)))])[120, 224, 0]) for i in range(5)
    ]
    assert middle == [240, 160, 80, 0, 240]


def test_inpainted_places_beside_the_face_are_filled(frame):
    plan = planned()
    mask = np.zeros((256, 256), np.float32)
    mask[20:60, 20:60] = 1
    place = geometry.apply(geometry.invert(plan.matrices[0]), np.array([[40.0, 40.0]]))[0].round().astype(int)
    plain = paste(frame, [Patch(plan, 0, flat(plan, (0, 200, 0)))])
    filled = paste(frame, [Patch(plan, 0, flat(plan, (0, 200, 0)), mask=mask)])
    assert np.array_equal(plain[place[1], place[0]], frame[place[1], place[0]])
    assert np.abs(filled[place[1], place[0]].astype(int) - (0, 200, 0)).max() <= 2


def with_hand(frame):
    """A hand-coloured bar before the lower half of the face."""
    covered = frame.copy()
    covered[135:160, 180:270] = (60, 90, 200)
    return covered


def test_occlusion_safe_keeps_what_stands_before_the_face(frame):
    plan = planned()
    covered = with_hand(frame)
    restored = tensor(crop_frame(frame, plan, 0))  # the network painted a mouth where the hand is
    plain = paste(covered, [Patch(plan, 0, restored)])
    safe = paste(covered, [Patch(plan, 0, restored)], PasteOptions(occlusion_safe=True))
    inside = (slice(142, 153), slice(205, 245))
    assert np.abs(plain[inside].astype(int) - covered[inside]).mean() > 60
    assert np.abs(safe[inside].astype(int) - covered[inside]).mean() < 3
    eyes = (slice(95, 110), slice(190, 255))
    bright = np.clip(crop_frame(frame, plan, 0).astype(int) + 8, 0, 255).astype(np.uint8)
    lit = paste(covered, [Patch(plan, 0, tensor(bright))], PasteOptions(occlusion_safe=True))
    assert lit[eyes].astype(int).mean() - covered[eyes].mean() > 6, "where they agree the restored crop stays"
    masked = np.ones((256, 256), np.float32)
    filled = paste(covered, [Patch(plan, 0, restored, mask=masked)], PasteOptions(occlusion_safe=True))
    assert np.abs(filled[inside].astype(int) - covered[inside]).mean() > 60, "what is masked is no occlusion"


def test_options_follow_the_tasks():
    safe = PasteOptions(occlusion_safe=True)
    assert safe.for_tasks(None) == safe.for_tasks(parse_tasks("bfr,inpainting"))
    assert safe.for_tasks(None).color_match == "lab"
    assert safe.for_tasks(None).occlusion_safe
    colorizing = safe.for_tasks(parse_tasks("bfr,colorization"))
    assert colorizing.color_match == "none"
    assert not colorizing.occlusion_safe
    assert PasteOptions(color_match="wavelet").for_tasks(parse_tasks("colorization")).color_match == "wavelet"


def test_colour_in_a_grey_clip_warns(frame, caplog):
    grey = np.repeat(frame.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    colorization = parse_tasks("colorization")
    with caplog.at_level(logging.WARNING):
        assert not warn_if_grey(frame, colorization)
        assert not warn_if_grey(grey, parse_tasks("bfr"))
        assert not warn_if_grey(grey, None)
        assert not caplog.records
        assert warn_if_grey(grey, colorization)
    assert "keep the crops only" in caplog.text
    assert "whole frame" in caplog.text


def test_outline_of_68_landmarks_bounds_the_region(frame):
    """A narrow outline: jaw and brows nearer to the middle than the oval."""
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.stack([30 * np.cos(angles), 55 * np.sin(angles) + 5], axis=1)
    brows = np.stack([np.linspace(-24, 24, 10), np.full(10, -25.0)], axis=1)
    inner = np.zeros((41, 2))
    outline = np.concatenate([jaw, brows, inner]) + FACE
    plan = planned(outlines=outline[None])
    narrow = metrics.paste_mask(plan, 0, PasteOptions(feather=0.05))
    oval = metrics.paste_mask(planned(), 0, PasteOptions(feather=0.05))
    assert narrow[120, 224] == pytest.approx(1, abs=1e-3)
    assert narrow[125, 224 + 36] == 0
    assert oval[125, 224 + 36] > 0.5
    assert narrow[174, 224] > 0, "the chin belongs to it"
    assert narrow[int(FACE[1]) - 40, 224] > 0, "and the forehead above the brows"


def test_crop_at_the_frames_edge_and_outside():
    frame = np.ascontiguousarray(astronaut()[:180, :320])
    edge = plan_crop(make_track([(10, 90)], side=60), CropOptions(size=(128, 128)))
    result = paste(frame, [Patch(edge, 0, tensor(crop_frame(frame, edge, 0)))])
    assert metrics.psnr(result, frame, np.ones((180, 320), bool)) > 40
    assert not np.array_equal(paste(frame, [Patch(edge, 0, flat(edge, (0, 255, 0)))])[60:120, 0], frame[60:120, 0])
    outside = plan_crop(make_track([(900, 90)], side=60), CropOptions(size=(128, 128)))
    assert np.array_equal(paste(frame, [Patch(outside, 0, flat(outside, (0, 255, 0)))]), frame)


@pytest.mark.parametrize("mode", ["lab", "wavelet"])
def test_shifted_colour_and_noise_leave_no_seam(frame, mode):
    """Acceptance: no seam, nothing outside changes, and the border does not flicker more than it did."""
    random = np.random.default_rng(4)
    frames = [np.clip(frame + random.normal(0, 3, frame.shape), 0, 255).astype(np.uint8) for _ in range(6)]
    plan = planned(count=6)
    crops = torch.stack([tensor(crop_frame(f, plan, i)) for i, f in enumerate(frames)])
    noise = torch.from_numpy(random.normal(0, 6, crops.shape)).float()
    restored = (crops.float() + torch.tensor([18.0, -12, 25])[:, None, None] + noise).clamp(0, 255).to(torch.uint8)
    match = match_colors(mode, plan, crops, restored)
    options = PasteOptions(color_match=mode)
    pasted = [paste(f, [Patch(plan, i, restored[i], match)], options) for i, f in enumerate(frames)]
    mask = metrics.paste_mask(plan, 0, options)
    band = metrics.edge_band(mask)
    for before, after in zip(frames, pasted, strict=True):
        assert np.array_equal(after[mask == 0], before[mask == 0])
        for level in (0.0, 0.5):
            line = metrics.edge_band(mask, level)
            assert metrics.gradient(after)[line].mean() <= 1.05 * metrics.gradient(before)[line].mean()
        off = after[mask > 0.9].astype(float).mean(0) - before[mask > 0.9].mean(0)
        assert np.abs(off).max() < 2.0
    flicker = [
        np.mean([np.abs(b[band].astype(int) - a[band]).mean() for a, b in pairwise(seq)]) for seq in (frames, pasted)
    ]
    assert flicker[1] <= 1.05 * flicker[0]


def test_a_hard_edge_would_be_seen(frame):
    """The measures above can fail: the same crop without feather and colour matching shows a seam."""
    plan = planned()
    crop = crop_frame(frame, plan, 0).astype(int) + np.array([30, -30, 40])
    options = PasteOptions(feather=0.0, color_match="none")
    result = paste(frame, [Patch(plan, 0, tensor(np.clip(crop, 0, 255).astype(np.uint8)))], options)
    band = metrics.edge_band(metrics.paste_mask(plan, 0, options))
    assert metrics.gradient(result)[band].mean() > 1.05 * metrics.gradient(frame)[band].mean()


def test_bad_patches(frame):
    plan = planned()
    with pytest.raises(InputError, match=r"256x256.*128x128"):
        paste(frame, [Patch(plan, 0, torch.zeros(3, 128, 128))])
    for options in ({"region": "head"}, {"color_match": "sepia"}, {"feather": -0.1}):
        with pytest.raises(InputError):
            PasteOptions(**options)


def test_downscaled_crop_does_not_alias(frame):
    """Stripes finer than the frame's pixels in a large crop come back grey, not as a beat."""
    plan = planned((720, 720))
    stripes = np.zeros((720, 720, 3), np.uint8)
    stripes[:, ::2] = 255
    result = paste(np.full_like(frame, 128), [Patch(plan, 0, tensor(stripes))], PasteOptions(region="crop"))
    assert np.abs(result[60:180, 160:280].astype(int) - 128).max() <= 6
    assert cv2.Laplacian(result, cv2.CV_16S).max() < 12


@pytest.mark.parametrize("region", ["face", "crop"])
@pytest.mark.parametrize("limit", [None, 0.5])
def test_changed_says_how_far_each_pixel_was_replaced(region, limit):
    """A white crop in a black frame shows its own weight, where two overlap that of both."""
    frame = np.zeros((120, 160, 3), np.float32)
    plans = [
        plan_crop(make_track([center], side=side, frame_size=(160, 120), number=number), CropOptions(size=(64, 64)))
        for number, (center, side) in enumerate([((40, 50), 40), ((70, 55), 30)])
    ]
    patches = [Patch(plan, 0, torch.ones(3, 64, 64)) for plan in plans]
    options = PasteOptions(region=region, color_match="none")
    allowed = None if limit is None else np.full((120, 160), limit, np.float32)
    pasted, changed = paste_frame(frame, patches, options, allowed)
    assert np.abs(changed - pasted[..., 0]).max() < 1e-4
    assert changed.max() >= (limit or 1.0)
    assert (paste_frame(frame, []).changed == 0).all()
