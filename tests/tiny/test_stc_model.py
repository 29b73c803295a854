"""stc-tiny's recipe, every stage at a size that says nothing of quality, and what measures it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.stc.load import ROLES, load_stc
from svfr_model.stc.network import build_network, build_stage1
from svfr_model.synthesis.options import DegradeOptions
from svfr_model.tiny.stc import SIZES, KeptClips, STCPlan, train_stc_tiny
from svfr_model.tiny.stc_evaluate import evaluate_books, evaluate_task, steadiness
from svfr_model.training.loop import read_losses
from svfr_model.weights import find

SMALL = replace(SIZES, nf=8, ch_mult=(1, 1, 1), emb_dim=16, codebook_size=8)


def short(config, steps):
    loop = replace(config.loop, steps=steps, mixed_precision="no")
    return replace(config, sizes=SMALL, frames=2, clips=1, loop=loop)


def plan(steps=2):
    full = STCPlan()
    codes = {
        task: replace(short(config, steps), transformers=replace(config.transformers, n_layers=1))
        for task, config in full.codes.items()
    }
    books = replace(short(full.books, steps), plain_steps=1)
    return replace(full, count=2, frames=3, books=books, longer=short(full.longer, steps), codes=codes)


def test_every_stage_leaves_what_the_next_one_needs(tmp_path):
    pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")
    train_stc_tiny(tmp_path, tmp_path / "model", plan=plan())
    for task, role in ROLES.items():
        network = load_stc(find(role, [tmp_path / "model"]), task)
        assert network(torch.rand(1, 3, 2, 64, 64))[0].shape == (1, 3, 2, 64, 64)
        assert network.temporal_stride == 1
        assert [row["step"] for row in read_losses(tmp_path / task)] == [0, 1]
    again = (tmp_path / "clips.npy").stat().st_mtime_ns
    train_stc_tiny(tmp_path, tmp_path / "model", ["clips"], plan())
    assert (tmp_path / "clips.npy").stat().st_mtime_ns == again


def test_a_stage_names_the_one_that_it_needs(tmp_path):
    with pytest.raises(InputError, match="stage 'clips' first"):
        train_stc_tiny(tmp_path, tmp_path / "model", ["codebooks"])
    with pytest.raises(InputError, match="stage 'longer' first"):
        train_stc_tiny(tmp_path, tmp_path / "model", ["bfr"])
    with pytest.raises(InputError, match="Unknown stage dreams"):
        train_stc_tiny(tmp_path, tmp_path / "model", ["dreams"])


def test_kept_clips_are_drawn_in_order():
    frames = np.zeros((3, 10, 4, 4, 3), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    frames[2] += 100
    window = KeptClips(frames).draw(2, 4, np.random.default_rng(0))
    assert window.frames[:, 0, 0, 0].tolist() == [100 + window.first + k for k in range(4)]
    assert len(KeptClips(frames)) == 3


def test_steadiness_is_about_the_errors_change():
    truth = np.random.default_rng(0).integers(40, 200, (4, 16, 16, 3)).astype(np.uint8)
    constant = truth + 10
    found = steadiness(constant, truth)
    assert (found.brightness, found.pixels) == (0, 0)
    assert found.psnr == pytest.approx(10 * np.log10(255**2 / 100))
    jumping = truth + np.array([0, 6, 0, 6], np.uint8)[:, None, None, None]
    assert steadiness(jumping, truth).brightness == pytest.approx(6)
    checked = truth.copy()
    checked[1::2, ::2] += 8
    checked[1::2, 1::2] -= 8
    found = steadiness(checked, truth)
    assert found.brightness == pytest.approx(0)
    assert found.pixels == pytest.approx(8)


def test_an_empty_temporal_book_is_found_out():
    """Without a temporal book, leaving it out and shuffling it change nothing."""
    torch.manual_seed(0)
    network = build_stage1({"nf": 8, "ch_mult": [1, 1, 1], "emb_dim": 16, "codebook_size": 8, "groups": 8})
    report = evaluate_books(network, [0], 4)
    assert report.zeroed != report.plain
    assert report.shuffled != report.plain
    assert 0 < report.used_s <= 1
    torch.nn.init.zeros_(network.quantize.embedding_t.weight)
    report = evaluate_books(network, [0], 4)
    assert report.zeroed == report.plain == report.shuffled
    assert report.used_t == 1 / 8


def test_each_task_is_measured_as_users_run_it():
    sizes = {"nf": 8, "ch_mult": [1, 1, 1], "emb_dim": 16, "codebook_size": 8, "groups": 8, "img_size": 64}
    for task in ROLES:
        network = build_network(task, {**sizes, "n_head": 1, "n_layers": 1, "residual": "frames"})
        before, after = evaluate_task(network, [5], 4)
        assert before != after
    before, _ = evaluate_task(network, [5], 4, DegradeOptions())
    assert before.psnr == 100
    assert before.pixels == 0
