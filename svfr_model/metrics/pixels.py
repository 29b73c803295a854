"""How close one frame is to another: PSNR, SSIM and colour error. Frames are (H,W,3) uint8 RGB."""

from __future__ import annotations

import numpy as np
import torch

from ..base.errors import InputError

PEAK = 255.0
MOST_PSNR = 100.0
"""The highest PSNR of a frame, in dB. Equal frames would otherwise have an infinite PSNR, and so would the mean of a
clip with one such frame. Frames that differ stay well below: one grey level in one value of a hundred gives 68 dB."""
SSIM_WINDOW = 11
"""Taps of SSIM's Gaussian, whose sigma is 1.5 (Wang et al. 2004)."""


def psnr(restored: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels, peak 255; MOST_PSNR at most, as for equal frames.

    mask (H,W) bool: measure only where it is True. Raises InputError for other shapes and for a mask that is nowhere
    True.
    """
    check_pair(restored, truth)
    if mask is not None:
        if mask.shape != truth.shape[:2] or mask.dtype != bool or not mask.any():
            raise InputError(
                f"A mask of a {truth.shape[1]}x{truth.shape[0]} frame is an (H,W) bool array with at least one True, "
                f"not {mask.dtype} {mask.shape} with {int(np.count_nonzero(mask))}. Leave out frames without a mask."
            )
        restored, truth = restored[mask], truth[mask]
    from kornia.metrics import psnr as ratio

    pair = torch.from_numpy(restored).double(), torch.from_numpy(truth).double()
    return min(float(ratio(*pair, PEAK)), MOST_PSNR)


def ssim(restored: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity, the mean over the three channels, at most 1.

    Gaussian window of 11 taps, sigma 1.5, K1 0.01, K2 0.03, peak 255, in float64, only where the whole window lies
    inside the frame: what the papers' scripts do (docs/reference/stc.md#evaluation) and scikit-image with
    gaussian_weights and without sample covariance. Raises InputError for frames smaller than the window.
    """
    check_pair(restored, truth)
    if min(truth.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs frames of at least {SSIM_WINDOW}x{SSIM_WINDOW} pixels, got {truth.shape[1]}x{truth.shape[0]}. "
            "Enlarge both clips first."
        )
    from kornia.metrics import ssim as similarity

    pair = _planes(restored), _planes(truth)
    # float64: the variances are small differences of large squares. eps would be one more stabiliser beside K1 and K2.
    return similarity(*pair, SSIM_WINDOW, PEAK, eps=0.0, padding="valid").mean().item()


def chroma_error(restored: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of the pixels' colours (a,b) in CIELAB, ignoring lightness: what colorization must get right."""
    check_pair(restored, truth)
    from kornia.color import rgb_to_lab

    first, second = (rgb_to_lab(_planes(frame).float() / PEAK)[:, 1:] for frame in (restored, truth))
    return float(torch.linalg.vector_norm(first - second, dim=1).mean())


def check_pair(restored: np.ndarray, truth: np.ndarray) -> None:
    """Raise InputError unless both are (H,W,3) uint8 frames of one size."""
    if restored.shape != truth.shape or truth.ndim != 3 or truth.shape[2] != 3:
        raise InputError(f"Two (H,W,3) frames of one size are needed, got {restored.shape} and {truth.shape}.")
    if restored.dtype != np.uint8 or truth.dtype != np.uint8:
        raise InputError(f"Frames must be uint8, got {restored.dtype} and {truth.dtype}.")


def _planes(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].double()  # HWC -> 1CHW
