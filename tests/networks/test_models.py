"""The networks: published architecture, refused configurations, and what the wrappers do around them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support import random_networks
from support.near import assert_near
from torch import nn

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.networks.identity import (
    IdentityEncoder,
    build_projection,
    build_recognizer,
    load_identity_encoder,
    similarity,
)
from svfr_model.networks.unet import PUBLISHED_CONFIG, DiffusersBackend, build_unet, load_unet
from svfr_model.networks.vae import DiffusersVAE, build_vae, load_vae
from svfr_model.weights import find

PUBLISHED = json.loads(gzip.decompress((Path(__file__).parents[1] / "golden/keys/published.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    random_networks.write_random_weights(folder)
    return folder


# architecture


@pytest.mark.parametrize(
    ("name", "build", "count"),
    [
        ("unet", build_unet, 1428),
        ("vae", build_vae, 374),
        ("iresnet100", build_recognizer, 925),
        ("id_linear", build_projection, 3),
    ],
)
def test_full_size_has_exactly_the_published_keys_and_shapes(name, build, count):
    with torch.device("meta"):
        state_dict = build().state_dict()
    assert len(state_dict) == count
    assert {key: list(value.shape) for key, value in state_dict.items()} == PUBLISHED[name]


def test_full_size_has_64_channels_in_every_head_and_our_attention_everywhere():
    from diffusers.models.attention_processor import Attention

    from svfr_model.networks.inference import SharedTokensAttention

    with torch.device("meta"):
        attentions = [module for module in build_unet().modules() if isinstance(module, Attention)]
    assert len(attentions) == 64
    assert {attention.to_q.out_features / attention.heads for attention in attentions} == {64}
    assert {type(attention.processor) for attention in attentions} == {SharedTokensAttention}


@pytest.mark.parametrize("config", [PUBLISHED_CONFIG, random_networks.RANDOM_UNET], ids=["published", "tiny"])
@pytest.mark.parametrize("missing", ["num_attention_heads", "block_out_channels"])
def test_head_counts_must_be_given(config, missing):
    config = {key: value for key, value in config.items() if key != missing}
    with pytest.raises(InputError, match="num_attention_heads"):
        build_unet(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_attention_heads": [5, 10, 10, 20]}, "64 everywhere"),
        ({"num_attention_heads": 5}, "64 everywhere"),
        ({"num_attention_heads": [5, 10, 20]}, "do not divide"),
        ({"num_attention_heads": [3, 10, 20, 20]}, "do not divide"),
        ({"in_channels": 8}, "needs 12"),
        ({"projection_class_embeddings_input_dim": 512}, "3 times"),
        ({"no_such_argument": 1}, "no_such_argument"),
        ({"down_block_types": ["DownBlockSpatioTemporal"]}, "down_block_types"),
    ],
)
def test_a_config_that_would_compute_something_else_is_refused(changes, reason):
    with torch.device("meta"), pytest.raises(InputError, match=reason):
        build_unet({**PUBLISHED_CONFIG, **changes})


@pytest.mark.parametrize(
    ("build", "config"),
    [
        (build_vae, {**random_networks.RANDOM_VAE, "no_such_argument": 1}),
        (build_recognizer, {**random_networks.RANDOM_RECOGNIZER, "layers": [1, 1]}),
        (build_recognizer, {}),
        (build_projection, {"in_channels": 16}),
    ],
)
def test_other_unusable_configs_are_refused(build, config):
    with pytest.raises(InputError, match="can be built from this config"):
        build(config)


# the denoiser backend


class RecordingNetwork(nn.Module):
    """Stands in for the UNet: keeps what it was given and predicts v = 1."""

    def __init__(self, dtype):
        super().__init__()
        self.conv_in = nn.Conv2d(12, 32, 3, dtype=dtype)
        self.config = SimpleNamespace(cross_attention_dim=[24, 24, 24], block_out_channels=[32, 32, 32])

    def forward(self, sample, timestep, tokens, added_time_ids, return_dict):
        self.given = (sample, timestep, tokens, added_time_ids)
        return (torch.ones_like(sample[:, :, :4]),)


def window_inputs():
    return {
        "x": torch.randn(2, 3, 4, 8, 4) * 50,
        "degraded": torch.randn(2, 3, 4, 8, 4),
        "reference": torch.randn(2, 4, 8, 4),
        "tokens": torch.randn(2, 49, 24),
        "task": torch.tensor([1.0, 0.0, 1.0]),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_backend_gives_the_network_what_svfr_was_trained_with(dtype):
    network, given, sigma = RecordingNetwork(dtype), window_inputs(), 49.99
    DiffusersBackend(network)(**given, sigma=sigma)
    sample, timestep, tokens, ids = network.given
    assert sample.shape == (2, 3, 12, 8, 4)
    assert sample.dtype == tokens.dtype == dtype
    scaled = (given["x"] / (sigma**2 + 1) ** 0.5).to(dtype)
    assert torch.allclose(sample[:, :, :4], scaled, rtol=2 * torch.finfo(dtype).eps)
    assert torch.equal(sample[:, :, 4:8], given["degraded"].to(dtype))
    for frame in range(3):
        assert torch.equal(sample[:, frame, 8:], given["reference"].to(dtype))
    assert torch.equal(tokens, given["tokens"].to(dtype))
    assert timestep.dtype == torch.float32
    assert timestep.item() == pytest.approx(0.9779557, abs=1e-6)  # a quarter of the natural logarithm
    assert ids.tolist() == [[1, 0, 1], [1, 0, 1]]


def test_backend_gives_the_network_zeros_for_no_reference_and_no_tokens_for_none():
    network, given = RecordingNetwork(torch.float32), window_inputs()
    DiffusersBackend(network)(**{**given, "reference": None, "tokens": None}, sigma=3.0)
    sample, _, tokens, _ = network.given
    assert torch.equal(sample[:, :, 4:8], given["degraded"])
    assert not sample[:, :, 8:].any()
    assert tokens.shape == (2, 0, 24)


def test_backend_turns_v_into_the_denoised_estimate():
    given = window_inputs()
    found = DiffusersBackend(RecordingNetwork(torch.float32))(**given, sigma=3.0)
    expected = given["x"] / 10 - 3 / 10**0.5
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6)


def test_backend_reads_its_facts_from_the_network():
    backend = DiffusersBackend(RecordingNetwork(torch.float16))
    facts = (backend.token_width, backend.size_multiple_factor, backend.dtype, backend.device.type)
    assert facts == (24, 4, torch.float16, "cpu")
    full = DiffusersBackend(build_on_meta(build_unet))
    assert (full.token_width, full.size_multiple_factor) == (1024, 8)


def build_on_meta(build):
    with torch.device("meta"):
        return build()


def test_backend_refuses_sizes_that_diffusers_would_resize():
    given = window_inputs()
    given["x"] = given["x"][..., :2]
    with pytest.raises(InputError, match=r"8x2.*multiples of 4"):
        DiffusersBackend(RecordingNetwork(torch.float32))(**given, sigma=1.0)


def test_compiling_is_left_to_torch_and_sees_one_row_at_a_time(folder, monkeypatch):
    """So that calls of one and of two rows are one program."""
    compiled, shapes = [], []

    def fake(network):
        compiled.append(network)
        return lambda sample, *given, **more: shapes.append(sample.shape) or network(sample, *given, **more)

    monkeypatch.setattr(torch, "compile", fake)
    backend = load_unet(folder / "unet.safetensors", compile=True)
    given = {**window_inputs(), "tokens": torch.randn(2, 49, 32)}
    found = backend(**given, sigma=3.0)
    assert compiled == [backend.network]
    assert shapes == [(1, 3, 12, 8, 4)] * 2
    assert_near(found, DiffusersBackend(backend.network)(**given, sigma=3.0), 1e-5)


@pytest.mark.slow  # minutes of tracing
def test_torch_compiles_once_for_calls_of_one_and_two_rows(folder, monkeypatch):
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend=counting))
    backend = load_unet(folder / "unet.safetensors", compile=True)
    given = {**window_inputs(), "tokens": torch.randn(2, 49, 32)}
    both = backend(**given, sigma=3.0)
    count = len(graphs)
    first = {key: value if key == "task" else value[:1] for key, value in given.items()}
    assert_near(backend(**first, sigma=2.0), DiffusersBackend(backend.network)(**first, sigma=2.0), 1e-5)
    assert_near(backend(**given, sigma=3.0), both, 1e-5)
    assert 0 < count == len(graphs)


def test_loaded_unet_depends_on_every_condition(folder):
    backend = load_unet(folder / "unet.safetensors")
    given = {**window_inputs(), "tokens": torch.randn(2, 49, backend.token_width)}
    before = backend(**given, sigma=5.0)
    assert before.isfinite().all()
    for name in ("degraded", "reference", "tokens", "task"):
        changed = {**given, name: torch.zeros_like(given[name])}
        assert (backend(**changed, sigma=5.0) - before).abs().max() > 1e-6, name


# the VAE


def test_vae_reads_its_facts_from_the_network():
    two_levels = {"block_out_channels": [32, 32], "down_block_types": ["DownEncoderBlock2D"] * 2}
    small = DiffusersVAE(build_vae({**random_networks.RANDOM_VAE, **two_levels}))
    assert small.factor == 2
    assert small.encode(torch.zeros(1, 3, 8, 6)).shape == (1, 4, 4, 3)
    full = DiffusersVAE(build_on_meta(build_vae))
    assert (full.factor, full.scaling_factor) == (8, 0.18215)


def test_encoding_is_the_unscaled_mean_of_each_picture(folder):
    vae = load_vae(find("vae", [folder]))
    pixels = torch.rand(3, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        moments = vae.network.quant_conv(vae.network.encoder(pixels))
    found = vae.encode(pixels)
    assert found.dtype == torch.float32
    assert_near(found, moments[:, :4], 1e-6)
    assert_near(found[1:2], vae.encode(pixels[1:2]), 2e-5, "one picture")


def test_decoding_sees_the_frames_of_one_call_as_one_clip(folder):
    vae = load_vae(find("vae", [folder]))
    latents = torch.randn(3, 4, 2, 3)
    together = vae.decode(latents)
    apart = torch.cat([vae.decode(frame[None]) for frame in latents])
    assert together.shape == (3, 3, 16, 24)
    assert together.dtype == torch.float32
    assert (together - apart).abs().max() > 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_full_precision_encodes_in_float32_with_the_stored_weights(folder, dtype):
    half = load_vae(find("vae", [folder]), dtype=dtype)
    before = {key: value.clone() for key, value in half.network.state_dict().items()}
    exact = DiffusersVAE(build_vae(random_networks.RANDOM_VAE))
    exact.network.load_state_dict(before)
    pixels = torch.rand(2, 3, 16, 16) * 2 - 1
    assert torch.equal(half.encode(pixels, full_precision=True), exact.encode(pixels))
    assert not torch.equal(half.encode(pixels), exact.encode(pixels))
    after = half.network.state_dict()
    assert half.dtype == dtype
    assert all(after[key].dtype == dtype and torch.equal(after[key], before[key]) for key in before)


def test_a_clip_that_is_encoded_in_many_calls_casts_the_encoder_once(folder, monkeypatch):
    vae = load_vae(find("vae", [folder]), dtype=torch.float16)
    casts = []
    to = nn.Module.to
    monkeypatch.setattr(nn.Module, "to", lambda module, dtype: casts.append(dtype) or to(module, dtype))
    for _ in range(3):
        vae.encode(torch.zeros(1, 3, 16, 16), full_precision=True)
    with pytest.raises(RuntimeError):
        vae.encode(torch.zeros(1, 5, 16, 16), full_precision=True)
    assert casts == [torch.float32] * 2  # the encoder and the layer after it
    assert vae.dtype == torch.float16
    vae.encode(torch.zeros(1, 3, 16, 16))
    assert {value.dtype for value in vae.network.state_dict().values()} == {torch.float16}


# the identity


@pytest.fixture(scope="module")
def encoder(folder):
    return load_identity_encoder(find("insightface_glint360k", [folder]), find("id_linear", [folder]))


def faces(count):
    return torch.rand(count, 3, 112, 112) * 2 - 1


def test_identity_has_a_token_for_each_place_and_a_unit_embedding(encoder):
    identity = encoder.encode(faces(1))
    assert identity.tokens.shape == (49, encoder.token_width) == (49, 32)
    assert identity.embedding.shape == (512,)
    assert identity.embedding.norm().item() == pytest.approx(1, abs=1e-6)
    assert identity.tokens.dtype == identity.embedding.dtype == torch.float32


def test_tokens_follow_the_map_row_by_row():
    projection = build_projection({"in_channels": 16, "out_channels": 32})
    grid = torch.randn(1, 16, 7, 7)
    with torch.no_grad():
        whole, place = projection(grid), projection(grid[:, :, 2:3, 5:6])
    assert_near(whole[:, 2 * 7 + 5], place[:, 0], 1e-6)


def test_several_pictures_are_averaged(encoder):
    pictures = faces(3)
    apart = [encoder.encode(picture[None]) for picture in pictures]
    together = encoder.encode(pictures)
    mean = torch.stack([one.embedding for one in apart]).mean(0)
    assert_near(together.tokens, torch.stack([one.tokens for one in apart]).mean(0), 1e-5, "tokens")
    assert_near(together.embedding, mean / mean.norm(), 1e-5, "embedding")


def test_similarity_is_the_cosine(encoder):
    a, b = encoder.embed(faces(2))
    assert similarity(a, a).item() == pytest.approx(1, abs=1e-6)
    assert similarity(a, -3 * a).item() == pytest.approx(-1, abs=1e-6)
    assert similarity(a, torch.stack([a, b]))[1].item() == pytest.approx((a @ b).item(), abs=1e-6)


@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (3, 112, 112), (1, 1, 112, 112), (0, 3, 112, 112)])
def test_pictures_of_another_shape_are_refused(encoder, shape):
    with pytest.raises(InputError, match="112"):
        encoder.encode(torch.zeros(shape))


def test_networks_of_different_models_are_refused():
    with pytest.raises(WeightsError, match="16 channels and the projection takes 512"):
        IdentityEncoder(build_recognizer(random_networks.RANDOM_RECOGNIZER), build_projection())


def test_identity_in_half_precision_stays_close(folder, encoder):
    pictures = faces(2)
    half = load_identity_encoder(
        find("insightface_glint360k", [folder]), find("id_linear", [folder]), dtype=torch.bfloat16
    )
    exact, found = encoder.encode(pictures), half.encode(pictures)
    assert found.tokens.dtype == torch.float32
    assert (found.tokens - exact.tokens).abs().max() < 0.1 * exact.tokens.abs().max()
    assert similarity(found.embedding, exact.embedding) > 0.99


# random weights


def test_random_weights_are_the_same_for_one_seed_and_leave_the_random_state_alone(folder, tmp_path):
    state = torch.random.get_rng_state()
    random_networks.write_random_weights(tmp_path / "again")
    random_networks.write_random_weights(tmp_path / "other", seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "id_linear.safetensors",
        "insightface_glint360k.safetensors",
        "svd_vae.safetensors",
        "unet.safetensors",
    ]
    for name in names:
        stored = (folder / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == stored
        assert (tmp_path / "other" / name).read_bytes() != stored
    assert sum(path.stat().st_size for path in folder.iterdir()) < 15e6
