"""Training from a configuration: small networks, a few steps, and files that the loaders take."""

import pytest
import torch
from safetensors.torch import load_file
from support.random_networks import write_random_weights

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.networks.unet import load_unet
from svfr_model.networks.vae import load_vae
from svfr_model.training.config import parse_config
from svfr_model.training.loop import read_losses
from svfr_model.training.train import OnlineBatches, SyntheticClips, train, train_from_file
from svfr_model.weights import find

pytest.importorskip("accelerate", reason="training needs accelerate: pip install -r requirements-train.txt")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    write_random_weights(folder, 3)
    return folder


def config(weights, output, steps=2, **changes):
    loop = {"steps": steps, "rate": 1e-3, "warmup": 0, "ema": 0.0, "save_every": 2, **changes.pop("loop", {})}
    base = {"output": str(output), "weights": str(weights), "window": 4, "clips": 2, "synthetic_clips": 4}
    return parse_config({**base, **changes, "loop": loop})


def unet_of(folder):
    return load_file(find("unet", [folder]))


def test_a_training_leaves_networks_that_load(weights, tmp_path):
    folder = train(config(weights, tmp_path / "out"))
    network = load_unet(find("unet", [folder])).network
    assert network.config.block_out_channels == load_unet(find("unet", [weights])).network.config.block_out_channels
    before, after = unet_of(weights), unet_of(folder)
    assert before.keys() == after.keys()
    assert all(value.dtype == torch.float16 for value in after.values())
    assert not torch.allclose(before["conv_in.weight"].half(), after["conv_in.weight"])
    changed = load_file(find("id_linear", [folder]))["project1024.weight"]
    assert not torch.allclose(changed, load_file(find("id_linear", [weights]))["project1024.weight"].half())
    assert (folder / "losses.png").is_file()


def test_resuming_a_training_reproduces_its_losses(weights, tmp_path):
    train(config(weights, tmp_path / "whole", steps=4))
    halves = config(weights, tmp_path / "halves", steps=4)

    class Stop(Exception):
        pass

    def stop(stage, done, total, preview):
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(halves, stop)
    train(halves)
    losses = [[(row["step"], row["loss"]) for row in read_losses(tmp_path / name)] for name in ("whole", "halves")]
    assert losses[0] == losses[1]
    assert torch.equal(*(unet_of(tmp_path / name)["conv_in.weight"] for name in ("whole", "halves")))


def test_lora_changes_the_attention_only(weights, tmp_path):
    pytest.importorskip("peft", reason="LoRA needs peft")
    folder = train(config(weights, tmp_path / "out", steps=3, lora_rank=2, loop={"rate": 1e-2}))
    before, after = unet_of(weights), unet_of(folder)
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key].half(), after[key])}
    assert changed
    assert all(any(part in key for part in (".to_q.", ".to_k.", ".to_v.", ".to_out.0.")) for key in changed)


def test_a_fresh_network_forgets_its_file(weights, tmp_path):
    folder = train(config(weights, tmp_path / "out", steps=1, fresh=True))
    assert not torch.allclose(unet_of(weights)["conv_in.weight"].half(), unet_of(folder)["conv_in.weight"], atol=1e-2)


def test_gradient_checkpointing_changes_nothing(weights, tmp_path):
    for name, on in (("with", True), ("without", False)):
        train(config(weights, tmp_path / name, gradient_checkpointing=on))
    losses = [[row["loss"] for row in read_losses(tmp_path / name)] for name in ("with", "without")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_batches_hold_what_the_objective_needs(weights, tmp_path):
    made = config(weights, tmp_path, drop_both=0.0, drop_one=0.0)
    from support.random_networks import RANDOM_RECOGNIZER

    from svfr_model.networks.identity import build_recognizer

    vae = load_vae(find("vae", [weights]))
    batch = OnlineBatches(SyntheticClips(4, 64), vae, build_recognizer(RANDOM_RECOGNIZER), made).draw(5)
    assert batch["clean"].shape == batch["degraded"].shape == (4, 4, 4, 8, 8)
    assert batch["reference"].shape == (4, 4, 8, 8)
    assert batch["grid"].shape == (4, 16, 7, 7)
    assert batch["landmarks"].shape == (4, 4, 68, 2)
    assert 0.1 < batch["landmarks"].mean() < 0.9
    assert torch.equal(*batch["clean"].chunk(2))
    assert set(batch["task"].unique().tolist()) <= {0.0, 1.0}
    assert (batch["task"].sum(dim=1) > 0).all()


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(WeightsError, match="unet"):
        train(config(tmp_path, tmp_path / "out"))


def test_an_empty_folder_of_videos_is_named(weights, tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match="holds no videos"):
        train(config(weights, tmp_path / "out", videos=str(tmp_path / "videos"), weight_prior=0))


def test_a_configuration_file_is_trained(weights, tmp_path):
    import json

    path = tmp_path / "c.json"
    values = {"output": str(tmp_path / "out"), "weights": str(weights), "window": 4, "clips": 2, "synthetic_clips": 2}
    path.write_text(json.dumps({**values, "loop": {"steps": 1, "warmup": 0}}))
    assert (train_from_file(path) / "unet.safetensors").is_file()
