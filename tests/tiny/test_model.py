"""svfr-tiny's recipe, every stage in two processes as torchrun starts them, at a size that says nothing of quality."""

import os
import subprocess
import sys

import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.networks.vae import build_vae
from svfr_model.runs.loader import Loader
from svfr_model.synthesis.clips import make_clip
from svfr_model.tiny.model import TinyPlan, train_tiny
from svfr_model.tiny.vae import TINY_VAE, start_at_identity, train_steadiness
from svfr_model.training.loop import LoopOptions, read_losses

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")

PROGRAM = """
import sys
from dataclasses import replace
from svfr_model.training.latents import DrawOptions
from svfr_model.tiny.model import TinyPlan, train_tiny

if __name__ == "__main__":
    plan = TinyPlan(persons=2, parts=1, views=2, vae_batch=1, draw=DrawOptions(lengths=(4,), clips=(1,)))
    short = {name: replace(getattr(plan, name), steps=2) for name in ("vae", "decoder", "identity", "unet")}
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
    for stage in ("vae", "decoder", "identity", "unet"):  # two trainings apart would each write every step
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


def test_a_stage_names_the_one_that_it_needs(tmp_path):
    with pytest.raises(InputError, match="stage 'latents' first"):
        train_tiny(tmp_path, tmp_path / "model", ["unet"], TinyPlan())
    with pytest.raises(InputError, match="Unknown stage dreams"):
        train_tiny(tmp_path, tmp_path / "model", ["dreams"])
