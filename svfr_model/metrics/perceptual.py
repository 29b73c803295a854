"""LPIPS (Zhang et al. 2018) through torchmetrics, if its network is there; nothing is downloaded here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from ..base.errors import DependencyError, WeightsError
from .pixels import check_pair

if TYPE_CHECKING:
    from torchmetrics import Metric

PerceptualDistance: TypeAlias = "Callable[[np.ndarray, np.ndarray], float]"
"""A restored and a true frame, (H,W,3) uint8 RGB, to a distance, 0 for equal frames."""

VGG_FILE = "vgg16-397923af.pth"
VGG_URL = f"https://download.pytorch.org/models/{VGG_FILE}"


def vgg_path() -> Path:
    """Where torchvision keeps the VGG-16 that LPIPS uses."""
    return Path(torch.hub.get_dir()) / "checkpoints" / VGG_FILE


def load_lpips(device: torch.device | str = "cpu") -> PerceptualDistance:
    """LPIPS with VGG-16 on pixels in [-1,1], RGB, as its authors define it.

    The reference's script for BFVR-STC normalises twice and swaps red and blue (docs/reference/stc.md#evaluation);
    ours does not. Raises DependencyError without torchmetrics or torchvision, WeightsError without VGG's weights:
    torchvision would otherwise download them without being asked.
    """
    network = _network(device)

    @torch.no_grad()
    def distance(restored: np.ndarray, truth: np.ndarray) -> float:
        check_pair(restored, truth)
        return float(network(_picture(restored, device), _picture(truth, device)))

    return distance


def load_lpips_loss() -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The same as a loss: two batches of frames (N,3,H,W) in [0,1] to their mean distance, with gradients.

    It computes on the device of the frames, which nobody knows before training has begun.
    """
    network = _network("cpu").requires_grad_(False)

    def distance(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = network.to(made.device)(made.clamp(0, 1), truth)
        network.reset()  # torchmetrics would gather every batch, and with it what its gradients need
        return value

    return distance


def _network(device: torch.device | str) -> Metric:
    """LPIPS on frames in [0,1]."""
    try:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity as Lpips
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise _package_missing(error) from error
    path = vgg_path()
    if not path.is_file():
        raise WeightsError(
            f"LPIPS needs VGG-16's weights at {path}, which is not there. "
            f"Download {VGG_URL} (528 MB, torchvision's BSD licence) to that path."
        )
    try:
        network: Metric = Lpips(net_type="vgg", normalize=True).to(device).eval()
    except ImportError as error:
        raise _package_missing(error) from error
    return network


def _package_missing(error: Exception) -> DependencyError:
    return DependencyError(
        f"LPIPS needs the packages torchmetrics and torchvision, which cannot be imported here ({error}). "
        "Install both: pip install torchmetrics torchvision"
    )


def _picture(frame: np.ndarray, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)[None].to(device).float() / 255  # HWC -> 1CHW
