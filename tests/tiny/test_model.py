"""svfr-tiny's recipe, every stage in two processes as torchrun starts them, at a size that says nothing of quality."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.random_networks import RANDOM_PROJECTION, RANDOM_UNET

from svfr_model.base.errors import InputError
from svfr_model.engine.conditioning import Conditioning
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks, Sampling, sample_pass
from svfr_model.engine.windows import WindowPlan
from svfr_model.networks.identity import build_projection
from svfr_model.networks.unet import DiffusersBackend, build_unet
from svfr_model.networks.vae import build_vae
from svfr_model.runs.loader import Loader
from svfr_model.synthesis.clips import make_clip
from svfr_model.tiny import model
from svfr_model.tiny.model import TinyPlan, train_tiny
from svfr_model.tiny.unet import estimate_clips
from svfr_model.tiny.vae import TINY_VAE, polish_decoder, start_at_identity, train_steadiness
from svfr_model.training.latents import LatentClips
from svfr_model.training.loop import LoopOptions, read_losses

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")

PROGRAM = """
import sys
from dataclasses import replace
from svfr_model.training.latents import DrawOptions
from svfr_model.tiny.model import TinyPlan, train_tiny

if __name__ == "__main__":
    draw = DrawOptions(lengths=(4,), clips=(1,))
    plan = TinyPlan(persons=2, parts=1, views=2, vae_batch=1, draw=draw, refine_draw=draw)
    short = {
        name: replace(getattr(plan, name), steps=2)
        for name in ("vae", "decoder", "identity", "unet", "refine", "polish")
    }
    train_tiny(sys.argv[1], sys.argv[2], plan=replace(plan, **short))
"""


def test_every_stage_in_two_processes_that_train_one_model(root, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    work, target = tmp_path / "work", tmp_path / "model"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    ran = subprocess.run(
        [*command, str(tmp_path / "program.py"), str(work), str(target)],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    for stage in (
        "vae",
        "decoder",
        "identity",
        "unet",
        "refine",
        "polish",
    ):  # two trainings apart would each write every step
        assert [row["step"] for row in read_losses(work / stage)] == [0, 1]
    loader = Loader(folders=[str(target)], device="cpu")
    assert loader.networks(self_referred=False).backend.token_width == loader.encoder.token_width


def test_only_the_decoders_layers_over_time_learn_to_be_steady(tmp_path):
    torch.manual_seed(0)
    vae = build_vae(TINY_VAE)
    start_at_identity(vae)
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    options = LoopOptions(steps=2, rate=1e-2, warmup=0, seed=4)
    train_steadiness(vae, make_clip(0, 6).frames[None], options, tmp_path, clips=1, length=4)
    after = vae.state_dict()
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert {"decoder.time_conv_out.weight", "decoder.mid_block.resnets.0.temporal_res_block.conv2.weight"} <= changed
    assert all("temporal" in key or "time_" in key for key in changed)
    assert all(parameter.requires_grad for parameter in vae.parameters())


def test_the_decoder_is_polished_and_the_encoder_stays(tmp_path):
    """At full resolution too, but not over time there, which costs most."""
    torch.manual_seed(0)
    vae = build_vae(TINY_VAE)
    start_at_identity(vae)
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    options = LoopOptions(steps=2, rate=1e-2, warmup=0, weight_decay=0.0, seed=6)
    polish_decoder(vae, make_clip(0, 6).frames[None], torch.randn(1, 6, 4, 16, 16), options, tmp_path, length=4)
    after = vae.state_dict()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    last = "decoder.up_blocks.2.resnets.0"
    assert f"{last}.spatial_res_block.conv2.weight" in changed
    assert "decoder.mid_block.resnets.0.temporal_res_block.conv2.weight" in changed
    assert all(key.startswith("decoder.") for key in changed)
    assert not any(key.startswith("decoder.up_blocks.2") and "temporal" in key for key in changed)


def test_estimates_are_those_of_a_restoration_in_one_step():
    """Of the first clip without and of the second with a reference and an identity."""
    torch.manual_seed(0)
    unet, projection = build_unet(RANDOM_UNET), build_projection(RANDOM_PROJECTION)
    views = torch.tensor([[[1, 0, 0]], [[0, 1, 1]]], dtype=torch.uint8)
    shape = (2, 4, 4, 8, 8)
    clips = LatentClips(
        torch.randn(shape).half(), torch.randn(2, 1, *shape[1:]).half(), views, torch.randn(2, 1, 16, 7, 7).half(),
        torch.rand(2, 4, 68, 2), 0.18215,
    )  # fmt: skip
    made = estimate_clips(unet, projection, clips, seed=3)
    backend, generator = DiffusersBackend(unet), torch.Generator().manual_seed(3)
    for number, known in ((0, False), (1, True)):
        torch.randint(1, (), generator=generator)
        start = clips.degraded[number, 0].float()
        reference = clips.clean[number, 0].float() / clips.scaling if known else None
        tokens = projection(clips.grids[number].float())[0] if known else None
        options = RestoreOptions(steps=1, guidance=(1.0, 1.0), plan=WindowPlan(length=4, overlap=0))
        networks = Networks(backend, SimpleNamespace(scaling_factor=clips.scaling))
        wanted = sample_pass(
            networks,
            start,
            Conditioning(start, tuple(views[number, 0].tolist()), reference, tokens),
            options,
            sampling=Sampling(noise=torch.randn(shape[1:], generator=generator)),
        )
        assert (made[number].float() - wanted).abs().max() < 0.02 * wanted.abs().max()


def test_estimates_are_decoded_beside_the_frames_of_their_clip(tmp_path, monkeypatch):
    """Although several processes encoded every so manieth clip: here the estimates carry their clip's number."""
    plan = TinyPlan(persons=3, parts=2, frames=2, size=8)
    for kind in ("latents", "blind"):
        for part in range(2):
            numbers = torch.arange(6)[part::2].view(-1, 1, 1, 1, 1).half()
            clean = numbers.expand(-1, 2, 4, 2, 2)
            empty = torch.zeros(3, 1, 2, 4, 2, 2).half(), torch.zeros(3, 1, 3).byte(), torch.zeros(3, 1, 1, 7, 7).half()
            LatentClips(clean, *empty, torch.zeros(3, 2, 68, 2), 0.18215).save(tmp_path / f"{kind}_{part}.pt")
    np.save(tmp_path / "frames.npy", np.arange(6, dtype=np.uint8)[:, None, None, None, None].repeat(2, 1))
    (tmp_path / "svd_vae.safetensors").touch()
    seen = {}
    monkeypatch.setattr(model, "_load_unet", lambda _: (None, None))
    monkeypatch.setattr(model, "load_network", lambda *_: None)
    monkeypatch.setattr(model, "estimate_clips", lambda _, __, data, *___: data.clean)
    monkeypatch.setattr(model, "polish_decoder", lambda _, frames, estimates, *__: seen.update(f=frames, e=estimates))
    monkeypatch.setattr(model, "_save", lambda *_: None)
    train_tiny(tmp_path, tmp_path, ["polish"], plan)
    assert seen["f"][:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert seen["e"][:, 0, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_stage_names_the_one_that_it_needs(tmp_path):
    with pytest.raises(InputError, match="stage 'latents' first"):
        train_tiny(tmp_path, tmp_path / "model", ["unet"], TinyPlan())
    with pytest.raises(InputError, match="Unknown stage dreams"):
        train_tiny(tmp_path, tmp_path / "model", ["dreams"])
