"""BFVR-STC's training from a configuration file to a network that loads: both stages, resumed, and what it refuses."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.commands import main
from svfr_model.stc.load import load_stc
from svfr_model.training import stc_train
from svfr_model.training.loop import read_losses
from svfr_model.training.stc_train import CODEBOOKS, PairSource, STCTrainConfig, load_codebooks, train_stc

SIZES = {"nf": 32, "ch_mult": [1, 1, 1, 2], "emb_dim": 32, "codebook_size": 16}
SMALL = {"size": 64, "frames": 4, "synthetic_clips": 4, "sizes": SIZES}


def written(folder, name, **settings):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**SMALL, "output": str(folder / name), **settings}), encoding="utf-8")
    return str(path)


def loop(steps):
    return {"steps": steps, "save_every": 1, "warmup": 0, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stc")
    assert main(["train", written(folder, "books", stage="codebooks", loop=loop(3)), "--quiet"]) == 0
    return folder / "books" / CODEBOOKS


def test_both_stages_give_a_network_that_loads_and_runs(books, tmp_path):
    settings = {"stage": "codes", "start": str(books), "transformers": {"n_head": 2, "n_layers": 1}}
    assert main(["train", written(tmp_path, "codes", loop=loop(2), task="deflicker", **settings), "--quiet"]) == 0
    network = load_stc(tmp_path / "codes" / "stc-deflicker.safetensors", "deflicker")
    assert network.residual == "frames"
    made, *_ = network(torch.rand(1, 3, 4, 64, 64))
    assert made.shape == (1, 3, 4, 64, 64)
    stage1 = load_file(books)
    stored = network.state_dict()
    for key in ("quantize.embedding_s.weight", "generator.blocks.0.weight", "quantize.SA.q.weight"):
        assert torch.equal(stored[key], stage1[key].half().float())
    assert not torch.equal(stored["encoder.blocks.0.weight"], stage1["encoder.blocks.0.weight"].half().float())


def test_a_training_that_was_stopped_goes_on_as_if_it_was_not(books, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, stops in ((whole, [3]), (parts, [1, 3])):
        folder.mkdir()
        for steps in stops:
            given = loop(steps) | {"rate": 1e-3, "final_rate": 1.0}
            main(["train", written(folder, "books", stage="codebooks", loop=given), "--quiet"])
    one, other = (load_file(folder / "books" / CODEBOOKS) for folder in (whole, parts))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert len(read_losses(parts / "books")) == 3


class Counting:
    """Clips whose frames say which clip and which frame they are."""

    def __len__(self):
        return 5

    def draw(self, index, length, rng):
        first = int(rng.integers(8))
        frames = np.zeros((length, 32, 32, 3), np.uint8)
        frames += (20 * index + np.arange(first, first + length, dtype=np.uint8))[:, None, None, None]
        return type("Window", (), {"frames": frames})


@pytest.mark.parametrize("task", ["bfr", "deflicker", "deflicker_sd"])
def test_a_damaged_clip_is_the_twin_of_its_clean_one(task):
    config = STCTrainConfig(stage="codes", output="x", start="y", task=task, frames=6, size=64, clips=2)
    source = PairSource(Counting(), config)
    clean, damaged = source.pair(3, 0)
    assert clean.shape == damaged.shape == (2, 3, 6, 32, 32)
    level = (clean * 255).round().mean((1, 3, 4))
    found = (damaged * 255).mean((1, 3, 4))
    if task == "deflicker":
        ratio = (found / level).clamp(0.4, 1.6)
        assert 0 < (ratio.sub(1).abs() > 0.02).float().mean() < 0.7
        assert ((ratio > 0.48) & (ratio < 1.52)).all()
    else:
        assert (found - level).abs().max() < 4, "the same clip at the same moments"
    again = source.pair(3, 0)
    assert torch.equal(again[0], clean)
    assert torch.equal(again[1], damaged)
    assert not torch.equal(source.pair(4, 0)[0], clean)
    assert torch.equal(source.clean(3), clean)


def test_blind_restoration_begins_without_noise():
    config = STCTrainConfig(stage="codes", output="x", start="y", frames=4, size=64, noiseless=10)
    source = PairSource(Counting(), config)
    rng = np.random.default_rng(0)
    assert source._damage(rng, 9).low_quality.noise == (0.0, 0.0)
    assert source._damage(rng, 10).low_quality.noise == (0.0, 5.0)
    assert source._damage(rng, 10).low_quality.sigma == (2.0, 5.0)


def test_what_is_no_codebooks_is_refused_before_work(tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no")
    config = STCTrainConfig(stage="codes", output=str(tmp_path / "out"), start=str(other))
    with pytest.raises(WeightsError, match=r"other\.safetensors cannot be used as the codebooks.*codebooks\.safetens"):
        train_stc(config)
    assert not list((tmp_path / "out").glob("*.safetensors"))


@pytest.mark.parametrize(("size", "frames"), [(100, 4), (64, 5)])
def test_clips_that_do_not_fit_the_network_are_refused_before_a_step(size, frames, tmp_path):
    settings = {"size": size, "frames": frames, "stage": "codebooks", "loop": loop(1)}
    config = stc_train.load_stc_config(written(tmp_path, "odd", **settings))
    with pytest.raises(InputError, match=rf"{frames} frames of {size}x{size}.*multiple of 8, frames of 2"):
        train_stc(config)
    assert not (tmp_path / "odd" / "losses.jsonl").exists()


def test_footage_of_another_size_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(stc_train, "Footage", lambda folder: type("Of512", (), {"size": 512}))
    config = STCTrainConfig(stage="codebooks", output=str(tmp_path / "out"), videos="prepared", size=64)
    with pytest.raises(InputError, match="512 pixels wide: set size to that, not 64"):
        train_stc(config)


def test_a_configuration_says_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="start"):
        STCTrainConfig(stage="codes", output="x")
    path = tmp_path / "c.json"
    path.write_text(json.dumps({"stage": "codebook", "output": "x"}), encoding="utf-8")
    with pytest.raises(InputError, match="codebooks"):
        stc_train.load_stc_config(path)


def test_codebooks_carry_their_sizes(books):
    network, sizes = load_codebooks(books)
    assert sizes["codebook_size"] == 16 == network.quantize.embedding_t.num_embeddings
