"""Detectors: the real YuNet, and graphs of the real signatures where weights are not at hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from svfr_model.errors import InputError, WeightsError
from svfr_model.faces.detect import YuNetDetector, load_detector
from svfr_model.faces.yoloface import YoloFaceDetector


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
        return row[None]


def test_yoloface_runs_a_graph_of_its_signature(tmp_path):
    path = tmp_path / "yoloface.pt"
    torch.jit.script(StandInYolo()).save(str(path))
    frame = np.zeros((240, 320, 3), np.uint8)
    frame[150:180, 200:230] = 255
    found = YoloFaceDetector(path).detect([frame, frame[::-1].copy()])
    assert [len(faces) for faces in found] == [1, 1], "two rows overlap, the third is below the threshold"
    center = (found[0][0].box[:2] + found[0][0].box[2:]) / 2
    assert np.abs(center - (215, 165)).max() < 20
    assert found[0][0].score == pytest.approx(0.9 * 0.95, rel=1e-5)
    assert np.allclose(found[0][0].landmarks, center)


class WrongYolo(torch.nn.Module):
    def forward(self, picture: torch.Tensor, grids: list[torch.Tensor]) -> torch.Tensor:
        return picture


def test_yoloface_refuses_another_network(tmp_path):
    path = tmp_path / "other.pt"
    torch.jit.script(WrongYolo()).save(str(path))
    with pytest.raises(WeightsError, match="not yoloface"):
        YoloFaceDetector(path).detect([np.zeros((64, 64, 3), np.uint8)])
