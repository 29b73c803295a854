"""Colour matching over a plan."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut
from support.pasting import match_colors
from support.tracks import make_track

from svfr_model.base.errors import InputError
from svfr_model.faces.color import ColorMatch, ColorStatistics, as_picture, color_shift
from svfr_model.faces.crop import crop_frame, plan_crop
from svfr_model.faces.options import CropOptions


@pytest.fixture(scope="module")
def plan():
    return plan_crop(make_track([(224, 120)] * 6, side=100, frame_size=(512, 512)), CropOptions(size=(128, 128)))


@pytest.fixture(scope="module")
def crops(plan):
    base = crop_frame(astronaut(), plan, 0)
    light = np.linspace(0.9, 1.1, 6)
    return torch.stack([torch.from_numpy(np.clip(base * k, 0, 255).astype(np.uint8)).permute(2, 0, 1) for k in light])


def matched(match, picture):
    """A whole crop (h,w,3) in its colours."""
    return match.apply(picture.copy(), (0, 0, picture.shape[1], picture.shape[0]))


def shifted(crops, noise=0.0):
    random = torch.Generator().manual_seed(1)
    moved = crops.float() * torch.tensor([0.9, 1.0, 1.05])[:, None, None] + torch.tensor([12.0, -10, 8])[:, None, None]
    return (moved + noise * torch.randn(crops.shape, generator=random)).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize(("mode", "limit"), [("lab", 4.0), ("wavelet", 3.0)])
@pytest.mark.parametrize("noise", [0.0, 8.0])
def test_brings_colours_back(plan, crops, mode, limit, noise):
    restored = shifted(crops, noise)
    match = match_colors(mode, plan, crops, restored)
    for before, after in zip(crops, restored, strict=True):
        fixed = as_picture(matched(match, as_picture(after)).transpose(2, 0, 1)) * 255
        wrong = np.abs(as_picture(after) * 255 - as_picture(before) * 255)[40:90, 40:90].mean(axis=(0, 1))
        right = np.abs((fixed - as_picture(before) * 255)[40:90, 40:90].mean(axis=(0, 1)))
        assert wrong.max() > 9
        assert right.max() < limit


def test_one_correction_for_all_frames_leaves_changes_of_light(plan, crops):
    """The light rises over the plan; the correction must not flatten that."""
    match = match_colors("lab", plan, crops, shifted(crops))
    fixed = [matched(match, as_picture(c))[40:90, 40:90].mean() for c in shifted(crops)]
    true = [as_picture(c)[40:90, 40:90].mean() for c in crops]
    assert np.allclose(np.diff(fixed), np.diff(true), atol=0.004)
    assert np.diff(true).min() > 0.005


def test_unchanged_crops_stay(plan, crops):
    for mode in ("lab", "wavelet"):
        match = match_colors(mode, plan, crops, crops)
        picture = as_picture(crops[0])
        assert np.abs(matched(match, picture) - picture).max() < 0.004


def test_wavelet_corrects_place_by_place(plan, crops):
    restored = crops.clone()
    restored[:, :, :, :64] = (restored[:, :, :, :64].int() + 20).clamp(0, 255).to(torch.uint8)
    match = match_colors("wavelet", plan, crops, restored)
    fixed = matched(match, as_picture(restored[3])) * 255 - as_picture(crops[3]) * 255
    assert abs(fixed[:, :40].mean()) < 3
    assert abs(fixed[:, 88:].mean()) < 2


def test_what_is_masked_does_not_count(plan, crops):
    """White where the picture is missing must not draw the colours towards white."""
    mask = np.zeros((128, 128), np.float32)
    mask[50:80, 50:80] = 1
    broken = crops.clone()
    broken[:, :, 50:80, 50:80] = 255
    restored = shifted(crops)
    aware = match_colors("lab", plan, broken, restored, masks=[mask] * 6)
    blind = match_colors("lab", plan, broken, restored)
    true = match_colors("lab", plan, crops, restored)
    picture = as_picture(restored[2])
    assert np.abs(matched(aware, picture) - matched(true, picture)).mean() < 0.01
    assert np.abs(matched(blind, picture) - matched(true, picture)).mean() > 0.03
    nothing = match_colors("wavelet", plan, broken, restored, masks=[np.ones((128, 128), np.float32)] * 6)
    assert nothing.mode == "none"


def test_none_and_errors(plan, crops):
    picture = as_picture(crops[0])
    assert np.array_equal(matched(match_colors("none", plan, crops, crops), picture), picture)
    assert ColorStatistics().match("lab").mode == "none"
    assert np.array_equal(matched(ColorMatch(), picture), picture)
    with pytest.raises(InputError, match="sepia"):
        ColorStatistics().match("sepia")
    with pytest.raises(InputError, match="one size"):
        ColorStatistics().add(crops[0], crops[0][:, :64], None, None)
    with pytest.raises(InputError, match=r"\(3,h,w\)"):
        as_picture(torch.zeros(4, 8, 8))


def test_color_shift_is_the_distance_of_the_mean_colours():
    before, after = (np.full((64, 64, 3), value, np.float32) for value in ((0.5, 0.4, 0.3), (0.5, 0.45, 0.4)))
    lab = [cv2.cvtColor(picture, cv2.COLOR_RGB2Lab)[0, 0] for picture in (before, after)]
    clips = [torch.from_numpy(picture).permute(2, 0, 1).expand(3, -1, -1, -1) for picture in (before, after)]
    assert color_shift(*clips) == pytest.approx(float(np.linalg.norm(lab[0] - lab[1])), abs=1e-3)
    assert color_shift(clips[0], clips[0]) == 0


@pytest.mark.parametrize("mode", ["lab", "wavelet"])
def test_a_piece_of_a_crop_gets_the_colours_of_its_place(plan, crops, mode):
    restored = crops.clone()
    restored[:, :, :, :64] = (restored[:, :, :, :64].int() + 20).clamp(0, 255).to(torch.uint8)
    match = match_colors(mode, plan, crops, restored)
    whole = matched(match, as_picture(restored[2]))
    piece = match.apply(as_picture(restored[2][:, 20:90, 35:101]), (35, 20, 101, 90))
    assert np.abs(piece - whole[20:90, 35:101]).max() < 1e-5  # vector code ends rows in another way


def test_originals_and_restored_crops_may_be_gathered_one_after_the_other(plan, crops):
    """The sums are those of frame by frame, to the last bit for LAB and within rounding for the field."""
    hole = np.zeros((128, 128), np.float32)
    hole[50:80, 50:80] = 1
    restored = shifted(crops, 8.0)
    parted = ColorStatistics()
    for index, crop in enumerate(crops):
        parted.add_original(crop, plan.landmarks[index], hole)
    for index, crop in enumerate(restored):
        parted.add_restored(crop, plan.landmarks[index], hole)
    together = match_colors("lab", plan, crops, restored, [hole] * 6)
    assert np.array_equal(parted.match("lab").gain, together.gain)
    assert np.array_equal(parted.match("lab").target, together.target)
    assert np.array_equal(parted.match("lab").source, together.source)
    expected = match_colors("wavelet", plan, crops, restored, [hole] * 6)
    assert np.array_equal(parted.match("wavelet").field, expected.field)
    differences = [as_picture(a) - as_picture(b) for a, b in zip(crops, restored, strict=True)]
    mean = np.mean([cv2.resize(d, (64, 64), interpolation=cv2.INTER_AREA) for d in differences], axis=0)
    field = match_colors("wavelet", plan, crops, restored).field
    assert np.abs(field - cv2.GaussianBlur(mean, (0, 0), 4.0)).max() < 1e-5
