"""LPIPS: computed only where it can be, without any download, from pixels in the right range and order."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from svfr_model.base.errors import DependencyError, WeightsError
from svfr_model.metrics import load_lpips, perceptual
from svfr_model.metrics.perceptual import VGG_FILE


class StandIn(torch.nn.Module):
    """In place of torchmetrics' class: the largest difference of the red channels."""

    def __init__(self, net_type: str, normalize: bool) -> None:
        super().__init__()
        assert net_type == "vgg"
        assert normalize  # so torchmetrics takes [0,1]

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        assert 0 <= first.min() <= first.max() <= 1
        assert first.shape == (1, 3, 6, 5)
        return (first - second)[:, 0].abs().max()


@pytest.fixture
def torchmetrics(monkeypatch, tmp_path):
    module = ModuleType("torchmetrics.image.lpip")
    module.LearnedPerceptualImagePatchSimilarity = StandIn
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.image.lpip", None)
    with pytest.raises(DependencyError, match="pip install torchmetrics torchvision"):
        load_lpips()


def test_missing_weights_are_named_and_not_fetched(torchmetrics):
    with pytest.raises(WeightsError, match=VGG_FILE):
        load_lpips()
    assert list(torchmetrics.iterdir()) == []


def test_frames_reach_the_network_in_range_and_order(torchmetrics):
    (torchmetrics / "checkpoints").mkdir()
    (torchmetrics / "checkpoints" / VGG_FILE).touch()
    distance = load_lpips()
    truth = np.zeros((6, 5, 3), np.uint8)
    red = truth.copy()
    red[2, 3, 0] = 51
    blue = truth.copy()
    blue[2, 3, 2] = 51
    assert distance(red, truth) == pytest.approx(0.2)
    assert distance(blue, truth) == 0


def test_the_loss_is_on_the_frames_device_and_keeps_nothing(monkeypatch):
    class Metric(torch.nn.Module):
        """As torchmetrics: it gathers what it is given until it is reset."""

        def __init__(self):
            super().__init__()
            self.kept, self.devices = [], []

        def to(self, device):
            self.devices.append(torch.device(device))
            return self

        def forward(self, made, truth):
            value = (made - truth).square().mean()
            self.kept.append(value)
            return value

        def reset(self):
            self.kept.clear()

    metric = Metric()
    monkeypatch.setattr(perceptual, "_network", lambda device: metric)
    distance = perceptual.load_lpips_loss()
    made = torch.tensor([[0.5, 1.5]], requires_grad=True)
    distance(made, torch.zeros(1, 2)).backward()
    assert torch.allclose(made.grad, torch.tensor([[0.5, 0.0]]))  # beyond the range nothing is gained
    assert metric.devices == [made.device]
    assert metric.kept == []
