"""PSNR, SSIM and colour error against the reference's numbers, scikit-image and, where installed, torchmetrics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from skimage.color import rgb2lab
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support.near import assert_near

from svfr_model.base.errors import InputError
from svfr_model.metrics import chroma_error, psnr, ssim


@pytest.fixture(scope="module")
def golden(root):
    folder = root / "tests" / "golden" / "stc"
    return load_file(folder / "metrics.safetensors"), json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def pair():
    truth = astronaut()[100:260, 150:350].copy()
    noise = np.random.default_rng(3).normal(0, 12, truth.shape)
    return np.clip(truth + noise, 0, 255).astype(np.uint8), truth


def test_reference_numbers(golden):
    tensors, expected = golden
    frames = list(zip(tensors["gen"], tensors["gt"], strict=True))
    assert_near([psnr(*frame) for frame in frames], expected["psnr_per_frame"], 1e-10, "psnr")
    assert_near([ssim(*frame) for frame in frames], expected["ssim_per_frame"], 1e-10, "ssim")


def test_scikit_image_agrees(pair):
    restored, truth = pair
    assert psnr(restored, truth) == pytest.approx(peak_signal_noise_ratio(truth, restored), abs=1e-10)
    expected = structural_similarity(
        restored, truth, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2
    )
    assert ssim(restored, truth) == pytest.approx(expected, abs=1e-10)


def test_torchmetrics_agrees(pair):
    image = pytest.importorskip("torchmetrics.functional.image")
    restored, truth = (torch.from_numpy(frame).permute(2, 0, 1)[None].double() for frame in pair)
    expected = image.peak_signal_noise_ratio(restored, truth, data_range=255.0).item()
    assert psnr(*pair) == pytest.approx(expected, abs=1e-4)  # torchmetrics keeps its sums in float32
    everywhere = image.structural_similarity_index_measure(restored, truth, data_range=255.0, return_full_image=True)[1]
    inside = everywhere[..., 5:-5, 5:-5]  # torchmetrics also counts the mirrored border, the papers' scripts do not
    assert ssim(*pair) == pytest.approx(inside.mean().item(), abs=1e-10)


def test_equal_frames():
    frame = astronaut()[:32, :32]
    assert psnr(frame, frame) == 100
    assert ssim(frame, frame) == 1.0
    assert chroma_error(frame, frame) == 0.0
    black = np.zeros((16, 16, 3), np.uint8)
    assert ssim(black, black) == 1.0


def test_psnr_ends_above_all_that_differs_visibly():
    """One level off in one of 3,072 values makes 83 dB; in one of ten million it is more than the end."""
    frame = np.zeros((32, 32, 3), np.uint8)
    near = frame.copy()
    near[0, 0, 0] = 1
    assert psnr(near, frame) == pytest.approx(20 * math.log10(255) + 10 * math.log10(3072))
    frame = np.zeros((1800, 1900, 3), np.uint8)
    near = frame.copy()
    near[0, 0, 0] = 1
    assert psnr(near, frame) == 100


def test_masked_psnr_sees_only_the_mask():
    truth = np.full((20, 30, 3), 100, np.uint8)
    restored = truth.copy()
    mask = np.zeros((20, 30), bool)
    mask[5:10, 5:10] = True
    restored[mask] += 10
    restored[15:] = 255
    assert psnr(restored, truth, mask) == pytest.approx(20 * math.log10(255 / 10))
    with pytest.raises(InputError, match="at least one True"):
        psnr(restored, truth, np.zeros((20, 30), bool))
    with pytest.raises(InputError, match="30x20"):
        psnr(restored, truth, mask.T)


def test_chroma_error_is_of_colour_alone(pair):
    restored, truth = pair
    expected = np.linalg.norm((rgb2lab(restored) - rgb2lab(truth))[..., 1:], axis=2).mean()
    assert chroma_error(restored, truth) == pytest.approx(expected, rel=1e-3)
    dark, light = (np.full((8, 8, 3), value, np.uint8) for value in (60, 200))
    assert chroma_error(dark, light) < 0.02


def test_unfit_frames_are_refused(pair):
    restored, truth = pair
    with pytest.raises(InputError, match=r"\(160, 199, 3\) and \(160, 200, 3\)"):
        psnr(restored[:, 1:], truth)
    with pytest.raises(InputError, match="float32"):
        ssim(restored.astype(np.float32), truth)
    with pytest.raises(InputError, match="11x11"):
        ssim(restored[:10], truth[:10])
