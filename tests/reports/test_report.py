"""The report on presets: its clip, what it measures, and the page."""

import json
import re

import numpy as np
import pytest
import torch
from skimage.data import astronaut
from support.stubs import StubReferrer, networks_of

from svfr_model.commands import main
from svfr_model.engine.presets import PRESETS
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.select import largest_face
from svfr_model.media.pictures import read_picture
from svfr_model.metrics.pixels import psnr
from svfr_model.reports.page import page
from svfr_model.reports.trial import ANOTHER, measure_presets
from svfr_model.runs import portrait_scene as scenes
from svfr_model.tiny.model import bundled
from svfr_model.weights import find


class MeanEncoder:
    """Embeds a face as the mean colours of its quarters."""

    def embed(self, faces):
        cells = torch.nn.functional.adaptive_avg_pool2d(faces.float(), 2).flatten(1)
        return torch.nn.functional.normalize(cells, dim=1)


@pytest.fixture(scope="module")
def scene():
    picture = read_picture(scenes.PORTRAIT)
    face = largest_face(picture, YuNetDetector(find("yunet")), "the portrait")
    return scenes.make_scene(picture, face, 6, 64)


def test_the_portrait_is_the_public_one():
    """Of scikit-image, but for what JPEG loses."""
    shown, original = read_picture(scenes.PORTRAIT), astronaut()[:300, 70:370]
    assert shown.shape == original.shape
    assert np.abs(shown.astype(int) - original).mean() < 2


def test_the_clip_shows_a_face_that_moves_and_is_degraded(scene):
    assert scene.truth.shape == scene.degraded.shape == (6, 64, 64, 3)
    assert scene.truth.dtype == scene.degraded.dtype == np.uint8
    assert scene.landmarks.shape == (6, 5, 2)
    assert (scene.landmarks > 12).all()
    assert (scene.landmarks < 52).all()
    moved = np.linalg.norm(np.diff(scene.landmarks, axis=0), axis=-1)
    assert 0.1 < moved.min() < moved.max() < 3
    assert np.abs(scene.truth.astype(int) - scene.degraded).mean() > 2
    places = np.rint(scene.landmarks[:, 2]).astype(int)  # the nose, which is of one brightness wherever it is
    noses = np.array([frame[y, x].mean() for frame, (x, y) in zip(scene.truth, places, strict=True)])
    assert np.ptp(noses) < 30


def measured(scene, presets=tuple(PRESETS), estimate=None):
    networks = networks_of(estimate, StubReferrer())
    return measure_presets(networks, MeanEncoder(), scene, presets, seed=5), networks


def test_every_preset_is_run_and_compared_with_exact(scene):
    """The estimate keeps a bit of the noise, so that seeds and levels show."""
    found, _ = measured(scene, estimate=lambda x, sigma, degraded, *_: degraded * 0.5 + 0.02 * x / (1 + sigma))
    assert [run.name for run in found] == ["exact", ANOTHER, "reference", "balanced", "fast", "preview"]
    base, another, *others = found
    assert base.distance is None
    assert 10 < another.distance < 100  # which is what equal pictures have
    reference = others[0]  # has the noise and the main levels of exact, and this network does not see the first pass
    assert reference.distance == 100
    assert all(10 < run.distance <= 100 for run in others)
    phases = {run.name: [change.phase for change in run.changes] for run in found}
    assert {name: (told.count("first"), told.count("main")) for name, told in phases.items()} == {
        "exact": (30, 30),
        ANOTHER: (30, 30),
        "reference": (50, 30),
        "balanced": (8, 8),
        "fast": (3, 5),
        "preview": (0, 3),
    }
    for run in found:
        assert {"psnr", "ssim", "ids", "vidd", "flicker"} <= run.quality.keys()
        assert run.seconds > 0
        assert run.peak is None or run.peak > 0.05


def test_measures_are_against_the_truth(scene):
    """Networks that keep the clip give back the degraded one."""
    (base, another), _ = measured(scene, presets=())
    assert another.distance == 100.0
    degraded = np.mean([psnr(a, b) for a, b in zip(scene.degraded, scene.truth, strict=True)])
    assert abs(base.quality["psnr"] - degraded) < 1.0  # the stub VAE halves the resolution


def test_the_page_has_a_row_for_each_run_and_all_levels(scene):
    found, _ = measured(scene, presets=("fast",))
    text = page("six frames", {"device": "cpu"}, {"psnr": 20.0}, found)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    table = {row[0].strip("| "): row for row in rows}
    assert table["the degraded clip"][4] == "20.00"
    assert table["fast"][1] == f"{PRESETS['fast'].cost:.3f}"
    assert len(table["fast"]) == len(table["run"])
    assert text.count("<details>") == text.count("</details>") == 3
    fast = text.partition("<summary>fast</summary>")[2]
    assert re.findall(r"\| (first|main) \| \d+ \| ([\d.]+) ", fast) == [
        ("first", "700"), ("first", "3"), ("first", "0.5"),
        ("main", "700"), ("main", "8"), ("main", "2.13"), ("main", "0.565"), ("main", "0.15"),
    ]  # fmt: skip


def test_the_command_writes_the_page_with_svfr_tiny(tmp_path, capsys):
    """One frame, which is padded to four: the fewest there can be."""
    target = tmp_path / "report.md"
    options = ("--weights", str(bundled()), "--size", "64", "--frames", "1", "--presets", "preview", "--device", "cpu")
    assert main(["report", str(target), *options]) == 0
    assert f"wrote {target}" in capsys.readouterr().out
    text = target.read_text(encoding="utf-8")
    for words in ("eileen_collins.jpg", "1 frames of 64x64", "| preview | ", "unet.safetensors", "float32", "seed 77"):
        assert words in text, words
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("report.txt",), "report.txt"),
        (("no/report.md",), "no"),
        (("report.md", "--size", "100"), "multiples of"),
        (("report.md", "--frames", "0"), "--frames must be a whole number between 1 and 1000 frames"),
        (("report.md", "--picture", "absent.png"), "absent.png"),
        (("report.md", "--presets", "best"), "balanced"),
    ],
)
def test_what_must_fail_fails_before_any_work(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("svfr_model.reports.trial.restored", lambda *_: pytest.fail("it ran"))
    assert main(["report", *options, "--weights", str(bundled()), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_picture_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "face.md").write_text(json.dumps("a picture"))
    options = ("--picture", str(tmp_path / "face.md"), "--weights", str(bundled()))
    assert main(["report", str(tmp_path / "face.md"), *options]) == 2
    assert json.loads((tmp_path / "face.md").read_text()) == "a picture"
