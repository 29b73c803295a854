"""Strict loading of BFVR-STC's checkpoints: the published form, reduced ones, and everything that is refused."""

from __future__ import annotations

import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.stc.load import FROZEN, ROLES, load_stc
from svfr_model.stc.network import TASKS, build_network, build_stage1
from svfr_model.weights import REGISTRY, convert, save

REDUCED = {
    "img_size": 64,
    "ch_mult": [1, 1, 1, 2],
    "emb_dim": 32,
    "codebook_size": 32,
    "n_head": 2,
    "n_layers": 1,
    "connect_list": ["512"],
}
NAMES = {"bfr": "ckpt-bfvr.pth", "deflicker": "ckpt-defilcker.pth", "deflicker_sd": "ckpt-deflickersd.pth"}
EVERY_TASK = pytest.mark.parametrize("task", TASKS)


def published(network, prefix=""):
    """A checkpoint in the published form with all of the network's keys, one number each in the file."""
    with torch.device("meta"):
        network = network()
    tensors = {prefix + key: torch.full((), 0.5).expand(value.shape) for key, value in network.state_dict().items()}
    return {"params": {}, "params_ema": tensors}


def write(path, stored):
    torch.save(stored, path)
    return path


def refuses(path, task, *words):
    with pytest.raises(WeightsError) as caught:
        load_stc(path, task)
    message = str(caught.value)
    assert "weights_only" not in message, "torch's advice to switch the checks off"
    for word in (str(path), REGISTRY[ROLES[task]].url, *words):
        assert word in message


@EVERY_TASK
def test_the_registry_knows_every_checkpoint(task):
    entry = REGISTRY[ROLES[task]]
    assert entry.name == NAMES[task]
    assert entry.url == f"https://github.com/Dixin-Lab/BFVR-STC/releases/download/init/{NAMES[task]}"
    assert "none stated" in entry.licence


@EVERY_TASK
@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_published_form_loads(tmp_path, task, prefix):
    path = write(tmp_path / NAMES[task], published(lambda: build_network(task), prefix))
    network = load_stc(path, task)
    assert network.task == task
    assert network.img_size == 512
    assert network.s_ft_layers[0].self_attn.heads == {"bfr": 2, "deflicker": 4, "deflicker_sd": 4}[task]
    assert len(network.t_ft_layers) == {"bfr": 9, "deflicker": 6, "deflicker_sd": 6}[task]
    assert not network.training
    assert all((value == 0.5).all() and value.dtype == torch.float32 for value in network.state_dict().values())


@EVERY_TASK
def test_a_reduced_network_says_what_it_is(tmp_path, task):
    network = build_network(task, REDUCED)
    save(network, tmp_path / "reduced.safetensors", ROLES[task], REDUCED)
    loaded = load_stc(tmp_path / "reduced.safetensors", task)
    clip = torch.rand(1, 3, 4, 64, 64)
    assert loaded.task == task
    assert all(torch.equal(a, b) for a, b in zip(loaded(clip), network(clip), strict=True))
    for other in set(TASKS) - {task}:
        refuses(tmp_path / "reduced.safetensors", other, ROLES[task])


@pytest.mark.parametrize("task", ["deflicker", "deflicker_sd"])
def test_the_wrong_tasks_checkpoint_is_named(tmp_path, task):
    restorer = write(tmp_path / "bfr.pth", published(lambda: build_network("bfr")))
    refuses(restorer, task, "checkpoint of bfr", "9 transformer layers")
    deflicker = write(tmp_path / "deflicker.pth", published(lambda: build_network(task)))
    refuses(deflicker, "bfr", "checkpoint of deflicker or deflicker_sd", "6 transformer layers")


def test_the_two_deflickering_checkpoints_differ_by_name_only(tmp_path):
    stored = published(lambda: build_network("deflicker"))
    refuses(write(tmp_path / NAMES["deflicker_sd"], stored), "deflicker", "name is that of the deflicker_sd")
    refuses(write(tmp_path / NAMES["deflicker"], stored), "deflicker_sd", "name is that of the deflicker checkpoint")
    assert load_stc(write(tmp_path / "renamed.pth", stored), "deflicker_sd").task == "deflicker_sd"


def test_other_networks_are_refused(tmp_path):
    refuses(write(tmp_path / "stage1.pth", published(build_stage1)), "bfr", "300 entries are missing")
    stored = published(lambda: build_network("bfr"))
    del stored["params_ema"]["t_idx_pred_layer.1.weight"]
    stored["params_ema"]["extra"] = torch.zeros(1)
    stored["params_ema"]["encoder.blocks.0.bias"] = torch.zeros(31)
    refuses(
        write(tmp_path / "nearly.pth", stored),
        "bfr",
        "missing: t_idx_pred_layer.1.weight",
        "unexpected: extra",
        "encoder.blocks.0.bias is (31,) and should be (32,)",
    )


def test_files_without_the_averaged_weights_are_refused(tmp_path):
    weights = published(lambda: build_network("bfr"))["params_ema"]
    refuses(write(tmp_path / "params.pth", {"params": weights}), "bfr", "'params'", "no weights under 'params_ema'")
    refuses(write(tmp_path / "flat.pth", weights), "bfr", "no weights under 'params_ema'", "584 more entries")
    refuses(write(tmp_path / "list.pth", [1]), "bfr", "a list")
    refuses(write(tmp_path / "number.pth", {"params_ema": {"a": 1}}), "bfr", "'a' is a int")


def test_a_published_file_converts_to_a_flat_one(tmp_path):
    stored = published(lambda: build_network("bfr"))
    stored["params_ema"] = {f"module.{key}": value for key, value in stored["params_ema"].items()}
    convert(write(tmp_path / "in.pth", stored), tmp_path / "out.safetensors", ROLES["bfr"])
    network = load_stc(tmp_path / "out.safetensors", "bfr")
    for key, value in network.state_dict().items():
        assert torch.equal(value, stored["params_ema"][f"module.{key}"].float())


def test_damaged_files_are_refused(tmp_path):
    whole = write(tmp_path / "whole.pth", published(lambda: build_network("bfr"))).read_bytes()
    for size in (0, 1, 1000, len(whole) // 2, len(whole) - 1):
        path = tmp_path / f"{size}.pth"
        path.write_bytes(whole[:size])
        refuses(path, "bfr", "truncated download" if size > 1 else "not a PyTorch checkpoint")
    (tmp_path / "page.pth").write_text("<html>Not found</html>")
    refuses(tmp_path / "page.pth", "bfr", "not a PyTorch checkpoint")
    (tmp_path / "short.safetensors").write_bytes(b"\x10" * 20)
    refuses(tmp_path / "short.safetensors", "bfr", "safetensors")
    refuses(tmp_path / "absent.pth", "bfr", "does not exist")
    (tmp_path / "weights.ckpt").touch()
    refuses(tmp_path / "weights.ckpt", "bfr", ".ckpt")


class Malicious:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("protocol", ["zip", "legacy", "plain"])
def test_malicious_pickles_are_not_run(tmp_path, protocol):
    path = tmp_path / "malicious.pth"
    stored = {"params_ema": {"position_emb_s": Malicious()}}
    if protocol == "plain":
        path.write_bytes(pickle.dumps(stored, protocol=2))
    else:
        torch.save(stored, path, _use_new_zipfile_serialization=protocol == "zip")
    refuses(path, "bfr", "never unpickled")


@pytest.mark.parametrize("config", [{"heads": 2}, {"nf": "wide"}, {"emb_dim": 33}, {"ch_mult": 4}], ids=str)
def test_metadata_that_describes_no_network_is_refused(tmp_path, config):
    save({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", ROLES["bfr"], config)
    refuses(tmp_path / "odd.safetensors", "bfr", "describes no usable network")


def test_a_flat_safetensors_file_without_metadata_must_be_full_size(tmp_path):
    network = build_network("bfr", REDUCED)
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    refuses(tmp_path / "small.safetensors", "bfr", "missing", "mis-shaped")


def test_unknown_tasks_are_refused(tmp_path):
    with pytest.raises(InputError, match="bfr, deflicker, deflicker_sd"):
        load_stc(tmp_path / "x.pth", "face")


def test_a_file_may_leave_to_its_neighbour_what_both_share(tmp_path):
    whole = build_network("bfr", REDUCED)
    save(whole, tmp_path / "ckpt-bfvr.safetensors", "stc_bfr", REDUCED)
    other = build_network("deflicker", REDUCED)
    own = {key: value for key, value in other.state_dict().items() if not key.startswith(FROZEN)}
    path = tmp_path / "ckpt-defilcker.safetensors"
    save(own, path, "stc_deflicker", {**REDUCED, "shares": "bfr"})
    loaded = load_stc(path, "deflicker").state_dict()
    for key, value in loaded.items():
        assert torch.equal(value, (whole if key.startswith(FROZEN) else other).state_dict()[key])
    (tmp_path / "alone").mkdir()
    alone = shutil.copy(path, tmp_path / "alone")
    with pytest.raises(WeightsError, match=r"codebooks are in ckpt-bfvr\.safetensors, which is not beside"):
        load_stc(alone, "deflicker")
