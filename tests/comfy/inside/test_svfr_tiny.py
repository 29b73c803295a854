"""svfr-tiny in ComfyUI: chosen in the loaders by its name, it restores as it does on the command line."""

from __future__ import annotations

import folder_paths
import pytest
import torch
from random_networks import RANDOM_UNET
from svfr_pack.nodes.bundled import TINY, TINY_NOTICE, YUNET
from svfr_pack.nodes.images import from_pixels, to_pixels
from svfr_pack.nodes.load import LoadFaceDetector, LoadIdentityEncoder, LoadModel, LoadVAE
from svfr_pack.nodes.model import load_model
from svfr_pack.nodes.multiples import multiples
from svfr_pack.nodes.sample import Sampler
from svfr_pack.svfr_model.base.errors import InputError, WeightsError
from svfr_pack.svfr_model.base.pixels import to_network_range
from svfr_pack.svfr_model.base.tasks import Task
from svfr_pack.svfr_model.engine.options import RestoreOptions
from svfr_pack.svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_pack.svfr_model.networks.unet import build_unet
from svfr_pack.svfr_model.synthesis.clips import make_clip
from svfr_pack.svfr_model.synthesis.degrade import degrade_clip
from svfr_pack.svfr_model.synthesis.options import DegradeOptions, LowQuality
from svfr_pack.svfr_model.weights import embedded_set, save

OPTIONS = RestoreOptions(seed=3, steps=2, guidance=(1.5, 1.5), passes=1)
WIDGETS = {
    "seed": OPTIONS.seed,
    "steps": OPTIONS.steps,
    "guidance_from": OPTIONS.guidance[0],
    "guidance_to": OPTIONS.guidance[1],
    "window": OPTIONS.plan.length,
    "overlap": OPTIONS.plan.overlap,
    "plan": OPTIONS.plan.name,
    "strength": OPTIONS.strength,
    "decode_chunk": OPTIONS.decode_chunk,
    "decode_overlap": OPTIONS.decode_overlap,
    "batch": OPTIONS.batch,
}
SEED = 1_000_000
"""Of a clip that svfr-tiny has not seen."""


@pytest.fixture(scope="module", autouse=True)
def known_folder():
    folder_paths.add_model_folder_path("svfr", folder_paths.models_dir)


@pytest.fixture(scope="module")
def clips():
    """A drawn clip and its degraded twin, (18,3,64,64) uint8."""
    truth = make_clip(SEED, 18, 64).frames
    degraded, _ = degrade_clip(truth, DegradeOptions(low_quality=LowQuality()), SEED)
    return tuple(torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous() for frames in (truth, degraded))


def restored_by_the_command_line(pixels, tasks, reference):
    """By the networks that the command line loads."""
    from svfr_pack.svfr_model.engine.restore import Known, restore
    from svfr_pack.svfr_model.runs.loader import Loader

    folder = str(embedded_set("svfr-tiny")["unet"].parent)
    networks = Loader(folders=[folder], device="cpu", dtype="fp32").networks(self_referred=False)
    restored = restore(networks, pixels, tasks, OPTIONS, known=Known(reference=to_network_range(reference)))
    return torch.cat(list(restored.decode(networks.vae, OPTIONS))).mul(0.5).add(0.5).clamp(0, 1)


@pytest.mark.parametrize("tasks", [{Task.BFR}, {Task.BFR, Task.COLORIZATION}], ids=["bfr", "colorize"])
def test_it_restores_as_the_command_line_does(tasks, clips):
    """Within 1e-4 of the full range; 1e-6 was measured."""
    pytest.importorskip("diffusers", reason="diffusers, which the command line runs on, is not in this environment")
    truth, degraded = clips
    (model,), (vae,) = LoadModel.execute(TINY, "fp32").args, LoadVAE.execute(TINY, "fp32").args
    frames, *_ = Sampler.execute(
        model, vae, from_pixels(degraded), frozenset(tasks), reference=from_pixels(truth[:1]), **WIDGETS
    ).args
    expected = restored_by_the_command_line(degraded, frozenset(tasks), truth[0])
    assert (frames.permute(0, 3, 1, 2) - expected).abs().max() < 1e-4
    assert torch.equal(to_pixels(from_pixels(degraded)), degraded)
    if tasks == {Task.BFR}:  # it is no random network
        error = [((clip.float() / 255 - truth.float() / 255) ** 2).mean() for clip in (degraded, expected * 255)]
        assert error[1] < error[0]


def test_every_loader_finds_it_without_copying():
    asked = {
        LoadModel: ("model_name",),
        LoadVAE: ("vae_name",),
        LoadIdentityEncoder: ("recognizer_name", "projection_name"),
    }
    for node, names in asked.items():
        inputs = {entry.id: entry for entry in node.define_schema().inputs}
        for name in names:
            assert TINY in inputs[name].options
            assert inputs[name].default != TINY
        assert node.validate_inputs(**dict.fromkeys(names, TINY)) is True
    (encoder,) = LoadIdentityEncoder.execute(TINY, TINY).args
    (model,) = LoadModel.execute(TINY, "auto").args
    assert encoder.token_width == model.model.model_config.unet_config["context_dim"] == 64


def test_the_node_says_what_it_is_good_for(caplog):
    told = LoadModel.execute(TINY, "fp32").ui
    assert told == {"text": [TINY_NOTICE]}
    assert "drawn faces" in TINY
    assert "drawn faces" in caplog.text


def test_the_bundled_detector_is_the_default_and_stands_in_for_the_published_one():
    (name, *_) = LoadFaceDetector.define_schema().inputs
    assert name.default == YUNET
    published = "face_detection_yunet_2023mar.onnx"  # what workflows of older versions name
    assert {YUNET, published} <= set(name.options)
    for file in (YUNET, published):
        assert LoadFaceDetector.validate_inputs(file) is True
        (detector,) = LoadFaceDetector.execute(file, kind="yunet", threshold=0.0).args
        assert isinstance(detector, YuNetDetector)
    with pytest.raises(InputError, match="is not a scrfd detector"):
        LoadFaceDetector.execute(YUNET, kind="scrfd", threshold=0.0)


def test_torchscript_runs_only_where_it_is_trusted(tmp_path, monkeypatch):
    path = tmp_path / "yoloface_v5m.pt"
    torch.jit.script(torch.nn.Identity()).save(path)
    monkeypatch.setattr("svfr_pack.nodes.load.resolve", lambda *_: path)
    assert [entry.id for entry in LoadFaceDetector.define_schema().inputs][-1] == "trust_torchscript"
    with pytest.raises(WeightsError, match="trust_torchscript on the node"):
        LoadFaceDetector.execute(path.name, kind="yoloface", threshold=0.0)
    trusted = LoadFaceDetector.execute(path.name, kind="yoloface", threshold=0.0, trust_torchscript=True)
    assert "is a program" in trusted.ui["text"][0]


@pytest.mark.parametrize("widths", [[64, 96], [64, 96, 160], [96, 64]])
def test_levels_of_any_ratio_load(widths, tmp_path):
    assert [64 * multiple for multiple in multiples([64, 96, 64, 128])] == [64, 96, 64, 128]
    assert all(type(64 * multiple) is int for multiple in multiples([64, 96, 128]))
    levels = len(widths)
    config = {
        **RANDOM_UNET,
        "block_out_channels": widths,
        "down_block_types": [RANDOM_UNET["down_block_types"][0]] * (levels - 1) + [RANDOM_UNET["down_block_types"][1]],
        "up_block_types": [RANDOM_UNET["up_block_types"][0]] + [RANDOM_UNET["up_block_types"][1]] * (levels - 1),
        "num_attention_heads": [width // 16 for width in widths],
    }
    pytest.importorskip("diffusers")
    network = build_unet(config)
    save(network, tmp_path / "unet.safetensors", "unet", config)
    ours = load_model(tmp_path / "unet.safetensors", "fp32").model.diffusion_model
    count = sum(weight.numel() for weight in network.parameters())
    assert sum(weight.numel() for weight in ours.parameters()) == count
