"""Weight files: found, read without running anything, loaded strictly, written whole, fetched on consent only."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support import random_networks

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.networks import unet, vae
from svfr_model.networks.identity import (
    PROJECTION_ROLE,
    PUBLISHED_PROJECTION,
    PUBLISHED_RECOGNIZER,
    RECOGNIZER_ROLE,
    build_projection,
    build_recognizer,
)
from svfr_model.networks.unet import build_unet, load_unet
from svfr_model.networks.vae import build_vae, load_vae
from svfr_model.weights import (
    REGISTRY,
    convert,
    embedded_set,
    find,
    load_network,
    load_strict,
    model_config,
    read_state_dict,
    save,
)

NETWORKS = {
    "unet": (lambda path: load_unet(path).network, build_unet),
    "vae": (lambda path: load_vae(path).network, build_vae),
    RECOGNIZER_ROLE: (partial(load_network, role=RECOGNIZER_ROLE, build=build_recognizer), build_recognizer),
    PROJECTION_ROLE: (partial(load_network, role=PROJECTION_ROLE, build=build_projection), build_projection),
}
EVERY_ROLE = pytest.mark.parametrize("role", NETWORKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    random_networks.write_random_weights(folder)
    return folder


def stored(folder, role):
    """The tensors and the metadata of a tiny network's file."""
    path = find(role, [folder])
    with safe_open(path, framework="pt") as file:
        return load_file(path), file.metadata()


def refuses(role, path, *words):
    """The role's loader refuses the file and says which file, why, and where to get the right one."""
    with pytest.raises(WeightsError) as caught:
        NETWORKS[role][0](path)
    message = str(caught.value)
    assert "weights_only" not in message, "torch's advice to switch the checks off"
    for word in (str(path), REGISTRY[role].purpose, REGISTRY[role].url, *words):
        assert word in message



# strict loading


@EVERY_ROLE
def test_a_saved_network_is_built_again_from_its_file(folder, role):
    load, build = NETWORKS[role]
    tensors, metadata = stored(folder, role)
    network = load(find(role, [folder]))
    assert not network.training
    loaded = network.state_dict()
    assert list(loaded) == list(build(model_config(metadata, role, "")).state_dict())
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    assert len(loaded) == len(tensors)


@EVERY_ROLE
def test_weights_are_cast_on_request_and_counters_are_not(folder, role):
    network = load_network(find(role, [folder]), role, NETWORKS[role][1], dtype=torch.float16)
    dtypes = {value.dtype for value in network.state_dict().values()}
    assert dtypes == ({torch.float16, torch.int64} if role == RECOGNIZER_ROLE else {torch.float16})


@EVERY_ROLE
def test_a_missing_an_unexpected_and_a_misshaped_key_are_each_named(folder, tmp_path, role):
    tensors, metadata = stored(folder, role)
    first, *_, last = (key for key, value in tensors.items() if value.ndim)
    missing = {key: value for key, value in tensors.items() if key != last}
    path = tmp_path / "network.safetensors"
    save_file(missing, path, metadata)
    refuses(role, path, f"1 entry is missing: {last}")
    save_file({**tensors, "lora.weight": torch.zeros(1)}, path, metadata)
    refuses(role, path, "1 entry is unexpected: lora.weight")
    wrong = torch.zeros(*tensors[first].shape[:-1], tensors[first].shape[-1] + 1)
    save_file({**tensors, first: wrong}, path, metadata)
    refuses(role, path, f"mis-shaped: {first} is {tuple(wrong.shape)} and should be {tuple(tensors[first].shape)}")


@EVERY_ROLE
def test_without_metadata_the_published_size_is_demanded(folder, tmp_path, role):
    tensors, _ = stored(folder, role)
    for suffix, write in ((".safetensors", save_file), (".pth", torch.save)):
        path = tmp_path / f"network{suffix}"
        write(tensors, path)
        refuses(role, path, "mis-shaped")


@EVERY_ROLE
def test_a_file_of_another_role_is_refused_by_name(folder, role):
    other = next(name for name in NETWORKS if name != role)
    refuses(role, find(other, [folder]), repr(other))


def test_many_faults_are_counted(folder):
    tensors, _ = stored(folder, "unet")
    with pytest.raises(WeightsError, match=r"\d+ entries are missing: conv_in.weight, .* and \d+ more"):
        load_strict(build_unet(random_networks.RANDOM_UNET), {}, "empty.pth", "unet")
    counters = {**tensors, "conv_in.bias": torch.zeros(32, dtype=torch.int8)}
    with pytest.raises(WeightsError, match=r"wrong kind of number: conv_in.bias holds torch.int8"):
        load_strict(build_unet(random_networks.RANDOM_UNET), counters, "counters.pth", "unet")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "not of the form"),
        ('{"role": "unet"}', "not of the form"),
        ('{"role": "unet", "config": {"in_channels": 12}}', "num_attention_heads"),
        (json.dumps({"role": ["unet"] * 99, "config": {}}), "says that it is a ['unet', 'unet'"),
    ],
)
def test_malformed_metadata_is_refused(tmp_path, text, reason):
    path = tmp_path / "unet.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"svfr_config": text})
    refuses("unet", path, "svfr_config", reason)


HOSTILE_ARGUMENTS = {
    "unet": (
        {"layers_per_block": 3000},
        {"layers_per_block": 10**9},
        {"layers_per_block": [1] * 3},
        {
            "layers_per_block": 4,
            "transformer_layers_per_block": 4,
            "block_out_channels": [32] * 3,
            "num_attention_heads": 1,
            "down_block_types": ["CrossAttnDownBlockSpatioTemporal"] * 3,
            "up_block_types": ["CrossAttnUpBlockSpatioTemporal"] * 3,
        },
        {"block_out_channels": [0, 64]},
        {"block_out_channels": [-32, 64]},
        {"block_out_channels": [32, 10**9]},
        {"block_out_channels": [33, 64]},
        {"block_out_channels": "ab"},
        {"block_out_channels": []},
        {"block_out_channels": [[32], [64]]},
        {"block_out_channels": [32] * 10_000},
        {"num_attention_heads": [0, 0]},
        {"num_attention_heads": True},
        {"num_attention_heads": 2.5},
        {"down_block_types": ["__import__", "x"]},
        {"down_block_types": None},
        {"cross_attention_dim": [32, 32]},
        {"no_such_argument": 1},
    ),
    "vae": (
        {"layers_per_block": 10**9},
        {"scaling_factor": float("nan")},
        {"scaling_factor": 0},
        {"force_upcast": "yes"},
        {"latent_channels": {}},
    ),
    RECOGNIZER_ROLE: ({"layers": [10**9, 1, 1, 1]}, {"layers": [1]}, {"widths": [8, 16, 16, 0]}, {"layers": 4}),
    PROJECTION_ROLE: ({"in_channels": 0}, {"out_channels": 1 << 40}, {"in_channels": "16"}),
}


@pytest.mark.parametrize(
    ("role", "changes"),
    [(role, changes) for role, every in HOSTILE_ARGUMENTS.items() for changes in every],
    ids=lambda value: value if isinstance(value, str) else str(value)[:50],
)
def test_hostile_arguments_are_refused_by_name_before_anything_is_built(folder, tmp_path, monkeypatch, role, changes):
    tensors, metadata = stored(folder, role)
    config = json.loads(metadata["svfr_config"])["config"]
    path = tmp_path / "network.safetensors"
    save_file(tensors, path, {"svfr_config": json.dumps({"role": role, "config": {**config, **changes}})})
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *_: pytest.fail("a module was built"))
    name = next(iter(changes))
    refuses(role, path, "svfr_config", "no usable network", "blocks" if len(changes) > 1 else name)


@pytest.mark.parametrize("text", ["[" * 2_000_000, "[" * 60_000, '{"role":"unet","config":{"a":' + "9" * 60_000 + "}}"])
def test_metadata_made_to_hang_the_reader_is_refused(tmp_path, text):
    path = tmp_path / "unet.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"svfr_config": text})
    refuses("unet", path, "svfr_config")


def test_every_shipped_and_published_size_is_within_the_bounds(folder):
    files = [*embedded_set("svfr-tiny").items(), *((role, find(role, [folder])) for role in NETWORKS)]
    for role, path in files:
        with safe_open(path, framework="pt") as file:
            assert model_config(file.metadata(), role, path)
    published = {
        "unet": unet.PUBLISHED_CONFIG,
        "vae": vae.PUBLISHED_CONFIG,
        RECOGNIZER_ROLE: PUBLISHED_RECOGNIZER,
        PROJECTION_ROLE: PUBLISHED_PROJECTION,
    }
    for role, config in published.items():
        assert model_config({"svfr_config": json.dumps({"role": role, "config": config})}, role, "") == config


# damaged and hostile files


@EVERY_ROLE
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9, 0.999])
def test_a_truncated_file_is_refused(folder, tmp_path, role, suffix, kept):
    path = tmp_path / f"network{suffix}"
    if suffix == ".safetensors":
        path.write_bytes(find(role, [folder]).read_bytes())
    else:
        torch.save(stored(folder, role)[0], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    refuses(role, path)


def header(length, content=b"", more=b""):
    return struct.pack("<Q", length) + content + more


def entry(first, last, count=1):
    """The header of one tensor that claims the bytes from first to last."""
    content = json.dumps({"a": {"dtype": "F32", "shape": [count], "data_offsets": [first, last]}}).encode()
    return header(len(content), content, bytes(4))


@pytest.mark.parametrize(
    "content",
    [
        header(1 << 62, b"{}"),
        header(200 << 20, b"{}"),
        header(60_000, b"[" * 60_000),
        entry(0, 1 << 40, 1 << 38),
        entry(1 << 40, (1 << 40) + 4),
        entry(4, 0),
        entry(0, 4, 1 << 30),
        entry(-4, 0),
    ],
    ids=["endless", "past the end", "brackets", "huge", "beyond", "backwards", "too few bytes", "negative"],
)
def test_a_hostile_header_is_refused(tmp_path, content):
    path = tmp_path / "unet.safetensors"
    path.write_bytes(content)
    refuses("unet", path, "truncated or corrupt")


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1 << 22)}, tmp_path / "plain.pth")
    path = tmp_path / "unet.pth"
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    assert path.stat().st_size < 100_000
    refuses("unet", path, "compressed")


@pytest.mark.parametrize(
    ("tensor", "word"),
    [
        (torch.zeros(1).expand(1 << 40), "claim 4096 GiB"),
        (torch.zeros(4, device="meta"), "'conv_in.weight' is not a plain tensor"),
        (torch.eye(3).to_sparse(), "'conv_in.weight' is not a plain tensor"),
    ],
    ids=["expanded", "meta", "sparse"],
)
def test_a_tensor_that_is_not_in_the_file_is_refused(tmp_path, tensor, word):
    path = tmp_path / "unet.pth"
    torch.save({"conv_in.weight": tensor}, path)
    refuses("unet", path, word)


@EVERY_ROLE
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_named(folder, tmp_path, role, value):
    tensors, metadata = stored(folder, role)
    name = next(key for key, tensor in tensors.items() if tensor.ndim > 1)
    tensors[name].view(-1)[-1] = value
    path = tmp_path / "network.safetensors"
    save_file(tensors, path, metadata)
    refuses(role, path, f"1 entry is spoiled by NaN or infinite values: {name}")


NOT_CHECKPOINTS = {
    "page.pth": b"<!doctype html><title>Sign in</title>",
    "page.safetensors": b"<!doctype html><title>Sign in</title>",
    "noise.pth": b"\x80\x02" + bytes(range(256)) * 8,
    "empty.safetensors": struct.pack("<Q", 2) + b"[]",
    "pickle.pth": pickle.dumps({"a": 1}),
    "archive.pth": b"PK\x05\x06" + bytes(18),
    "unet.ckpt": b"",
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", NOT_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(NOT_CHECKPOINTS[name])
    refuses("unet", path)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ({"state_dict": {"conv_in.weight": torch.zeros(1)}}, "'state_dict'"),
        ([torch.zeros(1)], "list"),
        ({0: torch.zeros(1)}, "entry 0"),
    ],
)
def test_a_wrapped_state_dict_is_refused_not_unwrapped(tmp_path, content, word):
    path = tmp_path / "unet.pth"
    torch.save(content, path)
    refuses("unet", path, word)


def test_a_missing_path_is_refused(tmp_path):
    refuses("unet", tmp_path / "nowhere.pth", "does not exist")


class Hostile:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.mark),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("form", ["archive", "legacy", "bare"])
def test_a_malicious_pickle_is_refused_and_runs_nothing(tmp_path, form, suffix):
    mark, path = tmp_path / "it_ran", tmp_path / f"network{suffix}"
    if form == "bare":
        path.write_bytes(pickle.dumps({"conv_in.weight": Hostile(mark)}))
    else:
        torch.save({"conv_in.weight": Hostile(mark)}, path, _use_new_zipfile_serialization=form == "archive")
    refuses("unet", path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Hostile(mark)))
    assert mark.exists(), "the test's pickle does nothing anywhere"


def test_an_old_style_checkpoint_is_read(tmp_path):
    path = tmp_path / "id_linear.pth"
    weights = build_projection().state_dict()
    torch.save(weights, path, _use_new_zipfile_serialization=False)
    tensors, metadata = read_state_dict(path, PROJECTION_ROLE)
    assert metadata == {}
    assert list(tensors) == list(weights)
    assert all(torch.equal(tensors[key], weights[key]) for key in weights)


# writing


def test_converting_keeps_numbers_and_metadata(folder, tmp_path):
    tensors, metadata = stored(folder, RECOGNIZER_ROLE)
    torch.save(tensors, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors", RECOGNIZER_ROLE)
    converted, none = read_state_dict(tmp_path / "a.safetensors", RECOGNIZER_ROLE)
    assert none == {}
    assert set(converted) == set(tensors)
    assert all(torch.equal(converted[key], tensors[key]) for key in tensors)

    source = find(RECOGNIZER_ROLE, [folder])
    convert(source, tmp_path / "half.safetensors", RECOGNIZER_ROLE, torch.float16)
    converted, kept = read_state_dict(tmp_path / "half.safetensors", RECOGNIZER_ROLE)
    assert kept == metadata
    assert converted["bn1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(converted["fc.weight"], tensors["fc.weight"].half())
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * source.stat().st_size


def test_converting_refuses_another_ending_and_a_broken_source(folder, tmp_path):
    with pytest.raises(InputError, match=r"\.safetensors"):
        convert(find("unet", [folder]), tmp_path / "unet.pth", "unet")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(WeightsError, match="truncated"):
        convert(tmp_path / "broken.pth", tmp_path / "unet.safetensors", "unet")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pth"]


def test_a_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    def fail(tensors, path, metadata):
        Path(path).write_bytes(b"half of it")
        raise OSError("no space left")

    network, path = build_projection(random_networks.RANDOM_PROJECTION), tmp_path / "new" / "id_linear.safetensors"
    save(network, path, PROJECTION_ROLE, random_networks.RANDOM_PROJECTION)
    before, mode = path.read_bytes(), path.stat().st_mode
    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(InputError, match="no space"):
        save(network, path, PROJECTION_ROLE, random_networks.RANDOM_PROJECTION)
    assert path.read_bytes() == before
    plain = tmp_path / "plain"
    plain.touch()
    assert mode == plain.stat().st_mode
    assert list(path.parent.iterdir()) == [path]
