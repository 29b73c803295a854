"""svfr-tiny restores: a few held-out clips through the path that users take, with margins to the measured table."""

import json

import pytest
from safetensors import safe_open

from svfr_model.base.tasks import Task
from svfr_model.runs.loader import Loader
from svfr_model.tiny.evaluate import HELD_OUT, Trial, evaluate_clip, markdown, summary
from svfr_model.tiny.model import EVALUATION, MODEL_FOLDER

CLIPS = 3


@pytest.fixture(scope="module")
def loader():
    return Loader(folders=[str(MODEL_FOLDER)], device="cpu")


def test_the_vae_alone_returns_undamaged_clips(loader):
    """Measured on 32 clips: the README of the model."""
    networks = loader.networks(self_referred=False)
    trial = Trial(EVALUATION, two_passes=(), frames=4, coded=True)
    sample = evaluate_clip(networks, loader.encoder, HELD_OUT, frozenset({Task.BFR}), trial)
    assert sample.coded["psnr"] > max(sample.single["psnr"] + 2, 28)
    assert "| bfr | truth, encoded and decoded |" in markdown(summary([sample]))


def restored(loader, tasks, two_passes=False):
    networks = loader.networks(self_referred=False)
    trial = Trial(EVALUATION, two_passes=(tasks,) if two_passes else (), frames=8)
    samples = [
        evaluate_clip(networks, loader.encoder, seed, tasks, trial) for seed in range(HELD_OUT, HELD_OUT + CLIPS)
    ]
    table = next(iter(summary(samples).values()))
    return table["degraded"], table["referred" if two_passes else "single"]


def test_details_come_back(loader):
    before, after = restored(loader, frozenset({Task.BFR}))
    assert after["psnr"] > before["psnr"] + 2.0  # 2.7 measured on these, 3.0 on 32
    assert after["ssim"] > before["ssim"] + 0.09


def test_colors_come_back(loader):
    before, after = restored(loader, frozenset({Task.COLORIZATION}))
    assert after["chroma"] < 0.5 * before["chroma"]
    assert after["psnr"] > before["psnr"] + 2


def test_holes_are_filled(loader):
    before, after = restored(loader, frozenset({Task.INPAINTING}))
    assert after["psnr_mask"] > before["psnr_mask"] + 6


def test_all_three_at_once(loader):
    before, after = restored(loader, frozenset(Task), two_passes=True)
    assert after["psnr"] > before["psnr"] + 4
    assert after["ssim"] > before["ssim"]
    assert after["chroma"] < 0.5 * before["chroma"]
    assert after["vidd"] < before["vidd"]


def test_the_files_are_small_and_say_what_they_are():
    files = sorted(MODEL_FOLDER.glob("*.safetensors"))
    assert len(files) == 4
    assert sum(path.stat().st_size for path in files) < 24e6
    for path in files:
        with safe_open(path, framework="pt") as file:
            assert {"role", "config"} == set(json.loads(file.metadata()["svfr_config"]))
            assert all(file.get_tensor(key).dtype.itemsize in (2, 8) for key in file.keys())  # noqa: SIM118
