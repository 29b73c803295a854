"""What lets somebody begin without a file: the sample clip, all networks at once, and the switches of the tasks."""

from __future__ import annotations

import folder_paths
import numpy as np
import pytest
import torch
from svfr_pack.nodes.bundled import TINY
from svfr_pack.nodes.load_all import AUTOMATIC, PUBLISHED, LoadNetworks
from svfr_pack.nodes.sample_clip import SampleClip
from svfr_pack.nodes.task import Tasks
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.weights import embedded_set

ROLES = tuple(embedded_set("svfr-tiny"))


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty models/svfr, and no other folder."""
    places = {"svfr": ([str(tmp_path)], {".safetensors", ".pth", ".pt", ".onnx"})}
    for name in ("diffusion_models", "vae", "checkpoints"):
        places[name] = ([str(tmp_path / name)], {".safetensors"})
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", places)
    return tmp_path


def install(models, *roles):
    """svfr-tiny's files under the published names: complete networks, told apart by where they lie."""
    for role in roles:
        file = embedded_set("svfr-tiny")[role]
        (models / file.name).write_bytes(file.read_bytes())


def test_without_files_it_is_svfr_tiny_which_says_so(models):
    assert LoadNetworks.validate_inputs(AUTOMATIC) is True
    model, _, _, encoder, size = (made := LoadNetworks.execute(AUTOMATIC, "fp32")).args
    assert size == 64
    assert "drawn faces" in made.ui["text"][0]
    assert encoder.token_width == model.model.model_config.unet_config["context_dim"]


def test_installed_files_are_taken_and_the_next_run_notices(models):
    before = LoadNetworks.fingerprint_inputs(AUTOMATIC, "auto")
    install(models, *ROLES)
    assert LoadNetworks.fingerprint_inputs(AUTOMATIC, "auto") != before
    told = LoadNetworks.execute(AUTOMATIC, "fp32").ui["text"]
    assert told == [f"The published networks are used: {models / 'unet.safetensors'}"]
    assert "drawn faces" in LoadNetworks.execute(TINY, "fp32").ui["text"][0]


def test_networks_of_two_kinds_are_not_mixed(models):
    install(models, "unet")
    refusal = LoadNetworks.validate_inputs(AUTOMATIC)
    for file in ("svd_vae.safetensors", "insightface_glint360k.pth", "id_linear.pth"):
        assert file in refusal
    assert "unet.pth" not in refusal
    assert LoadNetworks.validate_inputs(TINY) is True


def test_published_means_published(models):
    refusal = LoadNetworks.validate_inputs(PUBLISHED)
    assert "unet.pth" in refusal
    assert str(models) in refusal


def sampled(**widgets):
    usual = {"clip": "drawn person", "damage": "low quality", "length": 6, "seed": 0}
    return SampleClip.execute(**{**usual, **widgets}).args


def test_the_sample_is_a_video_of_its_frames():
    video, frames, truth, mask, portrait = sampled()
    parts = video.get_components()
    assert torch.equal(parts.images, frames)
    assert parts.frame_rate == 25
    assert frames.shape == truth.shape == (6, 160, 160, 3)
    assert mask.shape == (6, 160, 160)
    assert not mask.any()
    assert portrait.shape[0] == 1
    assert (frames - truth).abs().mean() > 0.003


def test_scratches_are_white_where_the_mask_says():
    _, frames, _, mask, _ = sampled(damage="low quality, no colours, scratches")
    assert 0.005 < mask.mean() < 0.2
    assert frames[mask > 0].min() == 1
    rest = frames[mask == 0]
    assert torch.allclose(rest[:, 0], rest[:, 2])


def test_a_seed_means_one_clip():
    assert torch.equal(sampled()[1], sampled()[1])
    assert not torch.equal(sampled()[1], sampled(seed=1)[1])


@pytest.mark.parametrize(("clip", "faces"), [("drawn person", 1), ("two drawn people", 2), ("portrait photograph", 1)])
def test_the_bundled_detector_finds_everyone(clip, faces):
    """Damaged, in the middle of the clip."""
    detector = LoadNetworks.execute(TINY, "fp32").args[2]
    frames = (sampled(clip=clip)[1][3].numpy() * 255).round().astype(np.uint8)
    assert len(detector.detect([frames])[0]) == faces


def test_tasks_are_what_is_switched_on():
    assert Tasks.execute(True, False, True).args[0] == {Task.BFR, Task.INPAINTING}
    assert Tasks.validate_inputs(False, True, False) is True
    assert Tasks.validate_inputs(None, False, False) is True  # wired: known later
    assert "switch on" in Tasks.validate_inputs(False, False, False)
    assert not any(entry.id == "preset" for entry in Tasks.define_schema().inputs)
