"""I3D's preparation and the Frechet distance against the reference and against the textbook formula."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.linalg import sqrtm
from support.near import assert_near

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError, WeightsError
from svfr_model.metrics import frechet_distance, fvd_features, load_i3d
from svfr_model.metrics.fvd import prepare_frame


class StandIn(torch.nn.Module):
    """Takes what I3D takes and returns the mean of each channel in its first and in its last frame."""

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        assert not rescale
        assert not resize
        assert return_features
        assert x.shape[1:] == torch.Size([3, 24, 224, 224])
        return torch.cat([x[:, :, 0].mean(dim=(2, 3)), x[:, :, -1].mean(dim=(2, 3))], dim=1)


class OtherNetwork(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def saved(module: torch.nn.Module, path):
    torch.jit.script(module).save(str(path))
    return path


@pytest.fixture(scope="module")
def golden(root):
    folder = root / "tests" / "golden" / "stc"
    return load_file(folder / "metrics.safetensors"), json.loads((folder / "metrics.json").read_text())


def test_reference_preparation(golden):
    tensors = golden[0]
    frame = tensors["fvd_pre_in"][:, 0].transpose(1, 2, 0)  # CHW -> HWC
    prepared = prepare_frame(frame)
    assert prepared.shape == (3, 224, 224)
    assert_near(prepared[:, ::4, ::4], tensors["fvd_pre_out"][:, 0], 1e-5)


def test_reference_distance_of_one_clip(golden):
    tensors, expected = golden
    found = frechet_distance(tensors["fvd_single_1"], tensors["fvd_single_2"])
    assert_near(found, expected["fvd_single_video"], 1e-12)


@pytest.mark.parametrize(("first", "second"), [(40, 30), (5, 7)])
def test_distance_is_the_textbook_formula(first, second):
    random = np.random.default_rng(1)
    mixing = random.normal(size=(12, 12))
    one = random.normal(size=(first, 12))
    two = random.normal(size=(second, 12)) @ mixing + 0.5
    covariances = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert_near(frechet_distance(one, two), expected, 1e-5)
    assert_near(frechet_distance(two, one), expected, 1e-5, "the other way round")
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_unfit_sets_are_refused():
    with pytest.raises(InputError, match=r"\(3, 4\) and \(3, 5\)"):
        frechet_distance(np.zeros((3, 4)), np.zeros((3, 5)))


def test_features_are_of_the_first_24_frames_in_rgb(tmp_path):
    i3d = load_i3d(saved(StandIn(), tmp_path / "i3d.pt"), trust_torchscript=True)
    frames = np.zeros((30, 16, 16, 3), np.uint8)
    frames[:, ..., 0] = (np.arange(30) * 5)[:, None, None]
    frames[:, ..., 2] = 255
    found = fvd_features(ArrayClip(frames), i3d)
    expected = [-1, -1, 1, 2 * 23 * 5 / 255 - 1, -1, 1]
    assert found == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="at least 10 frames, the clip has 9"):
        fvd_features(ArrayClip(frames[:9]), i3d)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"i3d_torchscript\.pt"):
        load_i3d(tmp_path / "missing.pt")
    (tmp_path / "text.pt").write_text("not a network")
    with pytest.raises(WeightsError, match="not a TorchScript module"):
        load_i3d(tmp_path / "text.pt")
    untrusted = saved(OtherNetwork(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt was not loaded.*--trust-torchscript"):
        load_i3d(untrusted)
    other = load_i3d(untrusted, trust_torchscript=True)
    with pytest.raises(WeightsError, match="cannot be run as I3D"):
        fvd_features(ArrayClip(np.zeros((12, 16, 16, 3), np.uint8)), other)
