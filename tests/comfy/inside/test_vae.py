"""Stable Video Diffusion's VAE as ComfyUI's VAE: diffusers' numbers from every kind of file, and strict loading."""

from __future__ import annotations

import comfy.sd
import pytest
import torch
from near import assert_near
from random_networks import RANDOM_VAE
from safetensors.torch import save_file
from svfr_pack.nodes.vae import ComfyVAE, load_vae
from svfr_pack.svfr_model.base.errors import InputError, WeightsError
from svfr_pack.svfr_model.engine.conditioning import encode_clip
from svfr_pack.svfr_model.networks.comfy_keys import convert_vae
from svfr_pack.svfr_model.networks.vae import DiffusersVAE, build_vae
from svfr_pack.svfr_model.weights import save

pytest.importorskip(
    "diffusers", reason="diffusers, whose numbers are the measure here, is not in ComfyUI's environment"
)


def random_vae(config):
    """diffusers' network with weights that fp16 holds exactly, and blend factors that differ."""
    torch.manual_seed(0)
    network = build_vae(config)
    for name, weight in network.named_parameters():
        if name.endswith("mix_factor"):
            weight.data.normal_()
        weight.data = weight.data.half().float()
    return network


@pytest.fixture(scope="module")
def tiny():
    return random_vae(RANDOM_VAE)


@pytest.fixture(scope="module")
def tiny_file(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("vae") / "vae.safetensors"
    save(tiny, path, "vae", RANDOM_VAE)
    return path


@pytest.fixture(scope="module")
def full():
    return random_vae(None)


@pytest.fixture(scope="module")
def full_file(full, tmp_path_factory):
    """As it is published: fp16, without metadata."""
    path = tmp_path_factory.mktemp("vae") / "diffusion_pytorch_model.fp16.safetensors"
    save_file({key: value.half() for key, value in full.state_dict().items()}, path)
    return path


def pictures(count, height, width):
    return torch.rand(count, 3, height, width) * 2 - 1


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_numbers_are_those_of_diffusers(size, request):
    network, path = request.getfixturevalue(size), request.getfixturevalue(f"{size}_file")
    ours, theirs = ComfyVAE(load_vae(path, "fp32")), DiffusersVAE(network)
    pixels, latents = pictures(3, 32, 48), torch.randn(3, 4, 4, 6)
    assert ours.factor == theirs.factor == 8
    assert ours.scaling_factor == theirs.scaling_factor
    encoded, decoded = ours.encode(pixels), ours.decode(latents)
    assert encoded.shape == (3, 4, 4, 6)
    assert decoded.shape == (3, 3, 32, 48)
    assert_near(encoded, theirs.encode(pixels), 1e-4, "encoded")
    assert_near(decoded, theirs.decode(latents), 1e-4, "decoded")


def test_decoded_values_are_not_clamped(tiny_file):
    vae, latents = ComfyVAE(load_vae(tiny_file, "fp32")), torch.randn(2, 4, 4, 4)
    before = vae.decode(latents)
    vae.network.decoder.conv_out.time_mix_conv.bias.data += 3
    assert_near(vae.decode(latents), before + 3, 1e-5)


def test_frames_of_a_call_are_one_clip(tiny_file):
    vae = ComfyVAE(load_vae(tiny_file, "fp32"))
    latents = torch.randn(6, 4, 8, 8)
    together = vae.decode(latents)
    assert (together[:3] - vae.decode(latents[:3])).abs().max() > 1e-3


def test_full_precision_encodes_as_float32_from_half_weights(tiny, tiny_file):
    """The reference encodes the degraded frames so (docs/reference/svfr.md#encoding), but not the reference picture."""
    vae, exact = ComfyVAE(load_vae(tiny_file, "fp16")), DiffusersVAE(tiny)
    pixels = pictures(2, 64, 64)
    expected = exact.encode(pixels)
    # not exact, because ComfyUI has the last two layers as one, and in half precision their product is rounded
    assert_near(vae.encode(pixels, full_precision=True), expected, 4e-4, "full precision")
    half = vae.encode(pixels)
    assert_near(half, expected, 1e-2, "half precision")
    assert (half - expected).abs().max() > 1e-3 * expected.abs().max()
    assert {weight.dtype for weight in vae.network.parameters()} == {torch.float16}
    assert not any(getattr(layer, "comfy_cast_weights", False) for layer in vae.network.modules())


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp16", 1.25e-2), ("bf16", 1e-1)])
def test_half_precision_decodes_near_float32(tiny, tiny_file, dtype, tolerance):
    latents = torch.randn(3, 4, 4, 4)
    expected = DiffusersVAE(tiny).decode(latents)
    ours = ComfyVAE(load_vae(tiny_file, dtype)).decode(latents)
    assert ours.dtype == torch.float32
    assert_near(ours, expected, tolerance, dtype)


def test_encoding_in_parts_changes_nothing(tiny_file, monkeypatch):
    vae = ComfyVAE(load_vae(tiny_file, "fp32"))
    pixels = pictures(5, 32, 32)
    together = vae.encode(pixels)
    calls = []
    vae.network.encoder.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    monkeypatch.setattr(vae.vae.patcher, "get_free_memory", lambda device: 0.0, raising=False)
    assert_near(vae.encode(pixels), together, 1e-5)
    assert calls == [1] * 5


def test_the_librarys_encoding_of_a_clip_runs_on_it(tiny, tiny_file):
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    ours = encode_clip(ComfyVAE(load_vae(tiny_file, "fp32")), pixels, frozenset())
    theirs = encode_clip(DiffusersVAE(tiny), pixels, frozenset())
    assert_near(ours.degraded, theirs.degraded, 1e-4)


def test_comfyuis_own_decode_node_works_on_it(tiny, tiny_file):
    """It clamps, and where everything fits it sees all frames at once, too."""
    latents = torch.randn(3, 4, 8, 8)
    frames = load_vae(tiny_file, "fp32").decode(latents)
    expected = DiffusersVAE(tiny).decode(latents).clamp(-1, 1) / 2 + 0.5
    assert_near(frames.movedim(-1, 1), expected, 1e-4)


@pytest.mark.parametrize("prefix", ["first_stage_model.", ""])
def test_a_whole_checkpoint_and_a_comfyui_file_give_the_same_vae(prefix, full, full_file, tmp_path):
    weights = {prefix + key: value.half() for key, value in convert_vae(full.state_dict()).items()}
    if prefix:
        weights["model.diffusion_model.out.2.bias"] = torch.zeros(4)
    path = tmp_path / "svd_xt.safetensors"
    save_file({key: value.contiguous() for key, value in weights.items()}, path)
    latents = torch.randn(2, 4, 4, 4)
    ours, theirs = (ComfyVAE(load_vae(file, "fp32")).decode(latents) for file in (path, full_file))
    assert torch.equal(ours, theirs)


def test_a_copy_is_made_from_the_file(tiny_file):
    vae = load_vae(tiny_file, "fp16")
    make, arguments = vae.patcher.cached_patcher_init
    copy = make(*arguments, disable_dynamic=True)
    assert copy.model is not vae.first_stage_model
    weights = vae.first_stage_model.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in copy.model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: {k: v for k, v in w.items() if k != "decoder.conv_in.bias"},
            "1 entry is missing: decoder.conv_in.b",
        ),
        (lambda w: {**w, "decoder.conv_in.bias": torch.zeros(7)}, r"is \(7,\) and should be \(32,\)"),
        (lambda w: {**w, "post_quant_conv.bias": torch.zeros(4)}, "post_quant_conv.bias is not a key"),
        (lambda w: {k: v for k, v in w.items() if "quant" not in k}, "lacks quant_conv.weight"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(change, message, tiny, tmp_path):
    path = tmp_path / "vae.safetensors"
    save(change(tiny.state_dict()), path, "vae", RANDOM_VAE)
    with pytest.raises(WeightsError, match=message) as raised:
        load_vae(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("change", [{"layers_per_block": 1}, {"scaling_factor": 0.13025}])
def test_a_config_that_comfyui_cannot_build_is_refused(change, tiny, tmp_path):
    path = tmp_path / "vae.safetensors"
    save(tiny, path, "vae", {**RANDOM_VAE, **change})
    with pytest.raises(WeightsError, match=r"describes a VAE with .* ComfyUI's has 2 and 0.18215"):
        load_vae(path)


def test_without_metadata_the_published_architecture_is_demanded(tiny, tmp_path):
    path = tmp_path / "vae.safetensors"
    save_file(tiny.state_dict(), path)
    with pytest.raises(WeightsError, match=r"encoder.conv_in.weight is \(32, 3, 3, 3\) and should be \(128, 3, 3, 3\)"):
        load_vae(path)


def test_a_vae_without_temporal_decoder_is_refused():
    parameters = {
        "ddconfig": {
            "double_z": True,
            "z_channels": 4,
            "resolution": 32,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
        "embed_dim": 4,
    }
    picture_vae = comfy.sd.VAE(sd=comfy.sd.AutoencoderKL(**parameters).state_dict(), config={"params": parameters})
    with pytest.raises(InputError, match="no temporal decoder"):
        ComfyVAE(picture_vae)
