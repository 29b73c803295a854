"""Detectors: the real YuNet, and graphs of the real signatures where weights are not at hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.faces.detectors.load import load_detector
from svfr_model.faces.detectors.yoloface import YoloFaceDetector, convert_to_onnx
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.weights import REGISTRY, find


def test_yunet_finds_the_portrait(yunet_path):
    portrait = astronaut()
    plain = np.full_like(portrait, 90)
    faces, none = YuNetDetector(yunet_path).detect([portrait, plain])
    assert none == []
    assert len(faces) == 1
    left_eye, right_eye, nose, left_mouth, right_mouth = faces[0].landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    assert np.abs(faces[0].box - (178, 65, 270, 176)).max() < 6
    assert 0.6 < faces[0].score <= 1


def test_yunet_reads_rgb(yunet_path):
    """The score of the right channel order is the better one; swapped channels would score lower."""
    portrait = astronaut()
    detector = YuNetDetector(yunet_path)
    right, swapped = detector.detect([portrait, portrait[..., ::-1]])
    direct = cv2.FaceDetectorYN.create(str(yunet_path), "", (512, 512), 0.6, 0.3)
    expected = direct.detect(portrait[..., ::-1].copy())[1]
    assert right[0].score == pytest.approx(float(expected[0, 14]))
    assert right[0].score != pytest.approx(swapped[0].score, abs=1e-6)


def test_yunet_threshold_and_order(yunet_path):
    portrait = astronaut()
    pair = np.concatenate([portrait, cv2.GaussianBlur(portrait, (0, 0), 4)[:, ::-1]], axis=1)
    few = YuNetDetector(yunet_path, threshold=0.92).detect([pair])[0]
    many = YuNetDetector(yunet_path, threshold=0.3).detect([pair])[0]
    assert len(many) > len(few) >= 1
    scores = [face.score for face in many]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("kind", ["yunet", "yoloface", "scrfd"])
def test_missing_and_broken_weights(kind, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.onnx"):
        load_detector(kind, tmp_path / "nowhere.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07not a network at all" * 20)
    with pytest.raises(WeightsError, match=r"broken\.onnx"):
        load_detector(kind, broken)


def test_truncated_yunet(yunet_path, tmp_path):
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(yunet_path.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match=r"cut\.onnx"):
        load_detector("yunet", cut)


def test_unknown_kind_and_threshold(yunet_path):
    with pytest.raises(InputError, match="blazeface"):
        load_detector("blazeface", yunet_path)
    with pytest.raises(InputError, match="threshold"):
        load_detector("yunet", yunet_path, threshold=1.5)


class StandInYolo(torch.nn.Module):
    """The signature of yoloface_v5m.pt: (picture, three grids) -> rows. It marks the brightest cell of stride 32."""

    def forward(self, picture: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(picture.mean(1, keepdim=True), 32)
        centers = (grids[2] + 0.5) * 32
        best = cells.flatten().argmax()
        center = centers.reshape(-1, 2)[best]
        row = torch.zeros(3, 16)
        row[:, 0:2] = center
        row[:, 2:4] = 32.0
        row[:, 4] = torch.tensor([0.9, 0.8, 0.4])
        row[:, 5:15] = center.repeat(5)
        row[:, 15] = 0.95
        # The real one looks at every grid; a graph keeps no input that nothing reads.
        return row[None] + 0 * (grids[0].sum() + grids[1].sum())


def scripted(module, path):
    torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def yoloface(tmp_path):
    return scripted(StandInYolo(), tmp_path / "yoloface_v5m.pt")


def spotted():
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[150:180, 200:230] = 255
    return [frame, frame[::-1].copy()]


def test_yoloface_runs_a_graph_of_its_signature(yoloface):
    found = YoloFaceDetector(yoloface, trusted=True).detect(spotted())
    assert [len(faces) for faces in found] == [1, 1], "two rows overlap, the third is below the threshold"
    center = (found[0][0].box[:2] + found[0][0].box[2:]) / 2
    assert np.abs(center - (215, 165)).max() < 20
    assert found[0][0].score == pytest.approx(0.9 * 0.95, rel=1e-5)
    assert np.allclose(found[0][0].landmarks, center)


class WrongYolo(torch.nn.Module):
    def forward(self, picture: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        return picture


def test_yoloface_refuses_another_network(tmp_path):
    path = scripted(WrongYolo(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="not yoloface"):
        YoloFaceDetector(path, trusted=True).detect([np.zeros((64, 64, 3), np.uint8)])


class Program(torch.nn.Module):
    """A detector that writes a file of its choice."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, picture: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        written = torch.from_file(self.name, True, 4)
        return torch.zeros(1, 1, 16) + written.fill_(1.0).sum() * 0


def test_a_torchscript_program_runs_only_where_it_is_trusted(tmp_path, caplog):
    mark, frame = tmp_path / "written", np.zeros((64, 64, 3), np.uint8)
    path = scripted(Program(str(mark)), tmp_path / "yoloface_v5m.pt")
    with pytest.raises(WeightsError, match=r"yoloface_v5m\.pt was not loaded.*--trust-torchscript.*weights convert"):
        load_detector("yoloface", path)
    with pytest.raises(WeightsError, match="was not loaded"):
        convert_to_onnx(path, tmp_path / "yoloface.onnx")
    assert not mark.exists()
    load_detector("yoloface", path, trust_torchscript=True).detect([frame])
    assert mark.exists(), "the test's program does nothing anywhere"
    assert "its code runs now" in caplog.text


def test_a_known_program_needs_no_word(yoloface, monkeypatch):
    known = replace(REGISTRY["yoloface_v5m"], sha256=hashlib.sha256(yoloface.read_bytes()).hexdigest())
    monkeypatch.setitem(REGISTRY, "yoloface_v5m", known)
    assert len(load_detector("yoloface", yoloface).detect(spotted())[0]) == 1


@pytest.mark.filterwarnings("ignore")
def test_yoloface_as_a_graph_finds_the_same_and_is_found_first(yoloface, tmp_path):
    target = tmp_path / "yoloface_v5m.onnx"
    convert_to_onnx(yoloface, target, trusted=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["yoloface_v5m.onnx", "yoloface_v5m.pt"]
    assert find("yoloface_v5m", [tmp_path]) == target
    frames = spotted()
    expected = YoloFaceDetector(yoloface, trusted=True).detect(frames)
    found = load_detector("yoloface", target).detect(frames)
    for faces, others in zip(found, expected, strict=True):
        assert len(faces) == len(others) == 1
        assert np.allclose(faces[0].box, others[0].box, atol=1e-3)
        assert np.allclose(faces[0].landmarks, others[0].landmarks, atol=1e-3)
        assert faces[0].score == pytest.approx(others[0].score, abs=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_become_a_graph_leaves_no_file(yoloface, tmp_path):
    with pytest.raises(InputError, match=r"\.onnx"):
        convert_to_onnx(yoloface, tmp_path / "out.safetensors", trusted=True)
    other = scripted(WrongYolo(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match=r"other\.pt"):
        convert_to_onnx(other, tmp_path / "out.onnx", trusted=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.pt", "yoloface_v5m.pt"]
