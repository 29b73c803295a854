"""The doctor's findings and remedies."""

import re
import sys
from types import SimpleNamespace

import pytest
from support.random_networks import write_random_weights

from svfr_model.commands import main
from svfr_model.runs import doctor


def fake_runtime(monkeypatch, providers):
    runtime = SimpleNamespace(get_available_providers=lambda: providers)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)


BOTH = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
CPU_ONLY = ["AzureExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("installed", "providers", "state"),
    [
        (BOTH, CPU_ONLY, "warning"),
        (BOTH, ["CUDAExecutionProvider", "CPUExecutionProvider"], "ok"),
        ({"onnxruntime": "1.31.1"}, CPU_ONLY, "ok"),
        ({"onnxruntime-gpu": "1.31.1"}, ["CUDAExecutionProvider", "CPUExecutionProvider"], "ok"),
        ({}, [], "missing"),
    ],
)
def test_onnxruntime_overwritten_by_insightfaces_is_detected(monkeypatch, installed, providers, state):
    fake_runtime(monkeypatch, providers)
    (finding,) = doctor.check_onnxruntime(installed.get)
    assert finding.state == state
    if state == "warning":
        assert "overwritten" in finding.text
        assert finding.remedy == "python -m pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1"


def test_missing_weights_come_with_the_command_that_gets_them(tmp_path):
    findings = {finding.topic: finding for finding in doctor.check_weights([tmp_path])}
    assert findings["unet.pth"].state == "missing"
    assert "weights download unet --accept-license" in findings["unet.pth"].remedy
    assert "non-commercial" in findings["unet.pth"].remedy
    assert findings["yoloface_v5m.pt"].state == "warning"


def test_found_weights_are_named_with_path_and_size(tmp_path):
    write_random_weights(tmp_path)
    findings = {finding.topic: finding for finding in doctor.check_weights([tmp_path])}
    assert findings["unet.pth"].state == "ok"
    assert str(tmp_path / "unet.safetensors") in findings["unet.pth"].text


def test_every_package_that_is_required_is_looked_at(root):
    lines = (root / "requirements.txt").read_text().splitlines()
    named = [re.match(r"[\w.-]+", line)[0] for line in lines if line and not line.startswith("#")]
    assert [name for name in named if not name.startswith("onnxruntime")] == list(doctor.PACKAGES)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "kornia" else "1.0")
    findings = {finding.topic: finding for finding in doctor.check_packages()}
    assert findings["kornia"].state == "missing"
    assert findings["kornia"].remedy == "python -m pip install kornia"
    assert findings["einops"].state == "ok"


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert all(str(finding) for finding in doctor.examine())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("unet.safetensors", None, "truncated or corrupt"),
        ("unet.pth", b"PK\x03\x04 and then nothing", "truncated: it looks like an incomplete download"),
        ("unet.pth", b"<!doctype html>", "not a PyTorch checkpoint"),
        ("det_10g.onnx", b"\x08\x07 no graph" * 9, "is not an ONNX file"),
    ],
)
def test_files_are_opened_so_a_damaged_one_is_not_all_right(tmp_path, capsys, name, content, word):
    write_random_weights(tmp_path)
    if content is None:
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) * 9 // 10])
    else:
        (tmp_path / "unet.safetensors").unlink()
        (tmp_path / name).write_bytes(content)
    (finding,) = [f for f in doctor.check_weights([tmp_path]) if str(tmp_path / name) in f.text]
    assert finding.state == ("warning" if name == "det_10g.onnx" else "missing")
    assert word in finding.text
    assert "delete it, then: python -m svfr_model weights download" in finding.remedy
    assert main(["doctor", "--weights", str(tmp_path)]) == 1
    assert "everything needed is there" not in capsys.readouterr().out
    assert main(["weights", "list", "--weights", str(tmp_path)]) == 0
    assert f"{tmp_path / name}: DAMAGED, it " in capsys.readouterr().out


def test_the_detector_that_ships_is_named_as_such(tmp_path):
    findings = {finding.topic: finding for finding in doctor.check_weights([tmp_path])}
    shipped = findings["face_detection_yunet_2023mar.onnx"]
    assert shipped.state == "ok"
    assert "models/yunet/face_detection_yunet_n_640.onnx (0.3 MiB, ships with this package)" in shipped.text
