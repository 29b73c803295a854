"""Key maps between diffusers and ComfyUI, against the names that real ComfyUI 0.30 gives its modules."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from support.random_networks import RANDOM_UNET, RANDOM_VAE
from torch import nn

from svfr_model.base.errors import WeightsError
from svfr_model.networks.comfy_keys import convert_unet, convert_vae, unet_to_comfy, vae_to_comfy
from svfr_model.networks.unet import build_unet
from svfr_model.networks.vae import build_vae

KEYS = Path(__file__).parents[1] / "golden" / "keys"


def read_keys(name):
    return json.loads(gzip.decompress((KEYS / name).read_bytes()))


PUBLISHED = read_keys("published.json.gz")
COMFYUI = read_keys("comfyui_0.30.json.gz")


def test_every_unet_key_gets_the_name_and_shape_that_comfyui_has():
    names = unet_to_comfy(PUBLISHED["unet"])
    assert len(names) == len(set(names.values())) == 1428
    assert {names[key]: shape for key, shape in PUBLISHED["unet"].items()} == COMFYUI["unet"]


def test_every_vae_key_gets_the_name_that_comfyui_has():
    names = vae_to_comfy(PUBLISHED["vae"])
    assert len(names) == len(set(names.values())) == 374
    assert set(names.values()) - set(COMFYUI["vae"]) == {"quant_conv.weight", "quant_conv.bias"}


def test_converted_vae_has_comfyuis_keys_and_shapes():
    converted = convert_vae({key: torch.empty(shape, device="meta") for key, shape in PUBLISHED["vae"].items()})
    assert {key: list(value.shape) for key, value in converted.items()} == COMFYUI["vae"]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        # pairs of one shape, which the comparison of shapes could not tell apart
        ("down_blocks.0.resnets.0.spatial_res_block.conv1.weight", "input_blocks.1.0.in_layers.2.weight"),
        ("down_blocks.0.resnets.0.spatial_res_block.conv2.weight", "input_blocks.1.0.out_layers.3.weight"),
        ("down_blocks.1.resnets.1.temporal_res_block.norm2.bias", "input_blocks.5.0.time_stack.out_layers.0.bias"),
        ("down_blocks.1.downsamplers.0.conv.bias", "input_blocks.6.0.op.bias"),
        (
            "down_blocks.2.attentions.0.temporal_transformer_blocks.0.attn1.to_q.weight",
            "input_blocks.7.1.time_stack.0.attn1.to_q.weight",
        ),
        ("mid_block.resnets.1.spatial_res_block.norm1.weight", "middle_block.2.in_layers.0.weight"),
        ("up_blocks.0.upsamplers.0.conv.weight", "output_blocks.2.1.conv.weight"),
        ("up_blocks.1.upsamplers.0.conv.weight", "output_blocks.5.2.conv.weight"),
        ("up_blocks.3.attentions.2.time_mixer.mix_factor", "output_blocks.11.1.time_mixer.mix_factor"),
        ("add_embedding.linear_2.weight", "label_emb.0.2.weight"),
    ],
)
def test_unet_pairs_that_shapes_cannot_tell(ours, theirs):
    assert unet_to_comfy(PUBLISHED["unet"])[ours] == theirs


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.down_blocks.2.resnets.0.conv_shortcut.bias", "encoder.down.2.block.0.nin_shortcut.bias"),
        ("encoder.mid_block.attentions.0.to_k.weight", "encoder.mid.attn_1.k.weight"),
        ("decoder.mid_block.resnets.1.time_mixer.mix_factor", "decoder.mid.block_2.mix_factor"),
        ("decoder.up_blocks.0.resnets.1.spatial_res_block.conv2.bias", "decoder.up.3.block.1.conv2.bias"),
        (
            "decoder.up_blocks.3.resnets.2.temporal_res_block.conv1.bias",
            "decoder.up.0.block.2.time_stack.in_layers.2.bias",
        ),
        ("decoder.time_conv_out.weight", "decoder.conv_out.time_mix_conv.weight"),
    ],
)
def test_vae_pairs_that_shapes_cannot_tell(ours, theirs):
    assert vae_to_comfy(PUBLISHED["vae"])[ours] == theirs


def unet_of_three_levels():
    attending, plain = "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"
    return {
        **RANDOM_UNET,
        "block_out_channels": [32, 32, 64],
        "num_attention_heads": [2, 2, 4],
        "layers_per_block": 3,
        "down_block_types": [attending, plain, attending],
        "up_block_types": ["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"],
    }


@pytest.mark.parametrize("config", [None, RANDOM_UNET, unet_of_three_levels()], ids=["published", "tiny", "odd"])
def test_no_two_parts_of_a_unet_get_one_name(config):
    with torch.device("meta"):
        keys = list(build_unet(config).state_dict())
    assert len(set(unet_to_comfy(keys).values())) == len(keys)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("down_blocks.0.attentions.2.norm.weight", "input_blocks.3.1.norm.weight"),
        ("down_blocks.0.downsamplers.0.conv.bias", "input_blocks.4.0.op.bias"),
        ("down_blocks.1.resnets.0.time_mixer.mix_factor", "input_blocks.5.0.time_mixer.mix_factor"),
        ("down_blocks.1.downsamplers.0.conv.bias", "input_blocks.8.0.op.bias"),
        ("down_blocks.2.attentions.2.norm.weight", "input_blocks.11.1.norm.weight"),
        ("up_blocks.0.upsamplers.0.conv.bias", "output_blocks.3.2.conv.bias"),
        ("up_blocks.1.resnets.0.temporal_res_block.conv1.bias", "output_blocks.4.0.time_stack.in_layers.2.bias"),
        ("up_blocks.1.upsamplers.0.conv.bias", "output_blocks.7.1.conv.bias"),
        ("up_blocks.2.attentions.3.norm.weight", "output_blocks.11.1.norm.weight"),
    ],
)
def test_blocks_are_numbered_through_the_levels(ours, theirs):
    """Three levels of three layers on the way down, of four on the way up; the middle one has no attention."""
    with torch.device("meta"):
        keys = list(build_unet(unet_of_three_levels()).state_dict())
    assert unet_to_comfy(keys)[ours] == theirs


def test_converted_unet_shares_its_tensors():
    with torch.device("meta"):
        state_dict = build_unet(RANDOM_UNET).state_dict()
    converted = convert_unet(state_dict)
    assert len(converted) == len(state_dict)
    assert converted["input_blocks.0.0.weight"] is state_dict["conv_in.weight"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 2e-3)], ids=["float32", "float16"]
)
def test_folded_quant_conv_computes_what_both_layers_compute(dtype, tolerance):
    vae = build_vae(RANDOM_VAE)
    state_dict = {key: value.to(dtype) for key, value in vae.state_dict().items()}
    features = torch.randn(2, 32, 6, 5)
    first, second = vae.encoder.conv_out, vae.quant_conv
    folded = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1)
    converted = convert_vae(state_dict)
    with torch.no_grad():
        expected = second(first(features))
        folded.weight.copy_(converted["encoder.conv_out.weight"])
        folded.bias.copy_(converted["encoder.conv_out.bias"])
        found = folded(features)
    assert converted["encoder.conv_out.weight"].dtype == dtype
    assert not any(key.startswith("quant_conv") for key in converted)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    assert (first(features) - expected).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("convert", "keys", "stranger"),
    [
        (unet_to_comfy, PUBLISHED["unet"], "down_blocks.0.resnets.0.spatial_res_block.conv3.weight"),
        (unet_to_comfy, PUBLISHED["unet"], "down_blocks.0.attentions.0.ip_adapter.weight"),
        (vae_to_comfy, PUBLISHED["vae"], "post_quant_conv.weight"),
    ],
    ids=["unet layer", "unet adapter", "vae"],
)
def test_an_unknown_key_is_named(convert, keys, stranger):
    with pytest.raises(WeightsError, match=stranger):
        convert([*keys, stranger])


def test_a_vae_without_quant_conv_is_refused():
    keys = {key: torch.empty(shape, device="meta") for key, shape in PUBLISHED["vae"].items()}
    del keys["quant_conv.weight"]
    with pytest.raises(WeightsError, match=r"quant_conv\.weight"):
        convert_vae(keys)
