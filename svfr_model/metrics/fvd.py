"""Frechet video distance: features of clips from an I3D network, and the distance of two sets of them.

The network is the TorchScript I3D published with StyleGAN-V (i3d_torchscript.pt). It is neither shipped nor
downloaded; without it there is no FVD, and everything else is still measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch.nn import functional as F

from ..base.clip import Clip
from ..base.errors import InputError, WeightsError
from ..base.pixels import as_uint8
from ..weights import load_torchscript

I3d: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
"""Clips (B,3,T,224,224) float32 RGB in [-1,1] to features (B,d)."""

FVD_FRAMES = 24
"""How many frames from the start of a clip are used, as BFVR-STC's scripts do (docs/reference/stc.md#evaluation)."""
LEAST_FRAMES = 10
"""With fewer, nothing is left after I3D has halved the number of frames several times."""
SIDE = 224


def load_i3d(path: str | Path, device: torch.device | str = "cpu", *, trust_torchscript: bool = False) -> I3d:
    """The I3D network from its TorchScript file.

    trust_torchscript: whether the user allows the file's code to run on this machine. Raises WeightsError for a file
    that is missing, not trusted, or no such network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"No file {path}: give the path of i3d_torchscript.pt (StyleGAN-V's TorchScript I3D).")
    network = load_torchscript(
        path,
        "StyleGAN-V's i3d_torchscript.pt",
        "All other figures are measured without it.",
        trusted=trust_torchscript,
        device=device,
    )

    @torch.no_grad()
    def features(clips: torch.Tensor) -> torch.Tensor:
        try:
            found = network(clips.to(device), rescale=False, resize=False, return_features=True)
        except RuntimeError as error:
            raise WeightsError(f"{path} cannot be run as I3D: {error}") from error
        if not isinstance(found, torch.Tensor) or found.ndim != 2 or len(found) != len(clips):
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise WeightsError(
                f"{path} returned {shape}, expected features ({len(clips)},d): this is not the I3D that is needed. "
                "Use StyleGAN-V's i3d_torchscript.pt."
            )
        return found

    return features


def fvd_features(clip: Clip, i3d: I3d) -> np.ndarray:
    """Features (d,) float64 of a clip's first 24 frames. Raises InputError for a clip of fewer than 10."""
    frames = [prepare_frame(as_uint8(frame)) for frame in islice(clip, FVD_FRAMES)]
    if len(frames) < LEAST_FRAMES:
        raise InputError(f"I3D needs at least {LEAST_FRAMES} frames, the clip has {len(frames)}.")
    features: np.ndarray = i3d(torch.stack(frames, dim=1)[None])[0].cpu().double().numpy()  # to (1,3,T,h,w) and back
    return features


def prepare_frame(frame: np.ndarray) -> torch.Tensor:
    """(H,W,3), uint8 or float in [0,1], to (3,224,224) float32 in [-1,1]: shorter side resized to 224, centre cut out.

    Bilinear without anti-aliasing, the longer side rounded up, as in the published preparation.
    """
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]  # HWC -> 1CHW
    pixels = pixels.float() / 255 if frame.dtype == np.uint8 else pixels.float()
    height, width = frame.shape[:2]
    scale = SIDE / min(height, width)
    size = (SIDE, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), SIDE)
    pixels = F.interpolate(pixels, size=size, mode="bilinear", align_corners=False)[0]
    top, left = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    return (pixels[:, top : top + SIDE, left : left + SIDE] - 0.5) * 2


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance of the Gaussians fitted to two sets of features (n,d) and (m,d).

    |mean1 - mean2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) with sample covariances. A set of one clip has no covariance: that
    term is then left out, and the result is a distance of features, not FVD. Raises InputError for other shapes.
    """
    first, second = (np.asarray(features, dtype=np.float64) for features in (first, second))
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or not len(first) or not len(second):
        raise InputError(f"Two sets of features (n,d) are needed, got {first.shape} and {second.shape}.")
    distance = float(((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum())
    if min(len(first), len(second)) < 2:
        return distance
    one, two = _deviations(first), _deviations(second)
    # C1 = one^T one and C2 = two^T two, so the trace of the root of C1 C2 is the sum of one two^T's singular values.
    shared = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    return distance + float((one**2).sum() + (two**2).sum() - 2 * shared)


def _deviations(features: np.ndarray) -> np.ndarray:
    deviations: np.ndarray = (features - features.mean(axis=0)) / math.sqrt(len(features) - 1)
    return deviations
