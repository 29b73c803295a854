"""State-dict keys as diffusers and as ComfyUI name them, for the UNet and the VAE.

Both programs build the same two networks and name their parts differently. The tables below pair the names of every
part of a network whose layout is deduced from its keys, so any number of levels and layers works; a key is renamed
by its longest known part, and a key with no known part is an error. Source of the pairs:
docs/reference/comfyui.md#keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor

from ..base.errors import WeightsError

Pairs = Iterator[tuple[str, str]]

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_TRANSFORMER = (
    ("norm", "norm"),
    ("proj_in", "proj_in"),
    ("proj_out", "proj_out"),
    ("transformer_blocks", "transformer_blocks"),
    ("temporal_transformer_blocks", "time_stack"),
    ("time_pos_embed.linear_1", "time_pos_embed.0"),
    ("time_pos_embed.linear_2", "time_pos_embed.2"),
    ("time_mixer", "time_mixer"),
)
_UNET_ENDS = (
    ("conv_in", "input_blocks.0.0"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
)
_VAE_RESNET = (
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("conv_shortcut", "nin_shortcut"),
)
_VAE_ATTENTION = (
    ("group_norm", "norm"),
    ("to_q", "q"),
    ("to_k", "k"),
    ("to_v", "v"),
    ("to_out.0", "proj_out"),
)
_VAE_ENDS = (
    ("encoder.conv_in", "encoder.conv_in"),
    ("encoder.conv_norm_out", "encoder.norm_out"),
    ("encoder.conv_out", "encoder.conv_out"),
    ("quant_conv", "quant_conv"),
    ("decoder.conv_in", "decoder.conv_in"),
    ("decoder.conv_norm_out", "decoder.norm_out"),
    ("decoder.conv_out", "decoder.conv_out"),
    ("decoder.time_conv_out", "decoder.conv_out.time_mix_conv"),
)


@dataclass(frozen=True)
class _Level:
    """One resolution of one side of a network."""

    layers: int
    attends: bool
    resizes: bool


def unet_to_comfy(keys: Iterable[str]) -> dict[str, str]:
    """ComfyUI's name of each key of a whole diffusers UNet. Raises WeightsError for a key that has none."""
    keys = list(keys)
    pairs = _unet_pairs(_diffusers_levels(keys, "down_blocks"), _diffusers_levels(keys, "up_blocks"))
    return _rename(keys, dict(pairs), "diffusers UNet")


def vae_to_comfy(keys: Iterable[str]) -> dict[str, str]:
    """ComfyUI's name of each key of a whole diffusers VAE with temporal decoder.

    quant_conv keeps its name: ComfyUI has no such layer, `convert_vae` folds it away. Raises WeightsError for a key
    that has no counterpart.
    """
    keys = list(keys)
    pairs = _vae_pairs(_diffusers_levels(keys, "encoder.down_blocks"), _diffusers_levels(keys, "decoder.up_blocks"))
    return _rename(keys, dict(pairs), "diffusers VAE")


def convert_unet(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers UNet's state dict under ComfyUI's names; the tensors are shared, not copied."""
    return {name: state_dict[key] for key, name in unet_to_comfy(state_dict).items()}


def convert_vae(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A diffusers VAE's state dict as ComfyUI has it.

    Attention weights (c,c) become 1x1 convolutions (c,c,1,1), and quant_conv, a 1x1 convolution after the encoder's
    last one, is folded into that. Other tensors are shared, not copied.
    """
    converted = {name: state_dict[key] for key, name in vae_to_comfy(state_dict).items()}
    for name, value in converted.items():
        if ".mid.attn_1." in name and value.ndim == 2:
            converted[name] = rearrange(value, "o i -> o i 1 1")
    _fold_quantisation(converted)
    return converted


def _fold_quantisation(vae: dict[str, Tensor]) -> None:
    """Replace conv_out and the 1x1 quant_conv after it by one convolution: W' = Q W, b' = Q b + q."""
    try:
        q_weight, q_bias = vae.pop("quant_conv.weight"), vae.pop("quant_conv.bias")
        weight, bias = vae["encoder.conv_out.weight"], vae["encoder.conv_out.bias"]
    except KeyError as error:
        raise WeightsError(f"The VAE lacks {error.args[0]}: it is not a whole diffusers VAE.") from error
    mix = q_weight[:, :, 0, 0].double()  # in double, so that half-precision weights are rounded only once
    vae["encoder.conv_out.weight"] = (mix @ weight.double().flatten(1)).view_as(weight).to(weight.dtype)
    vae["encoder.conv_out.bias"] = (mix @ bias.double() + q_bias.double()).to(bias.dtype)


def _rename(keys: Iterable[str], parts: Mapping[str, str], network: str) -> dict[str, str]:
    """Each key with its longest known leading part replaced."""
    renamed = {}
    for key in keys:
        part = key
        while part and part not in parts:
            part = part.rpartition(".")[0]
        if not part:
            raise WeightsError(
                f"{key} is not a key of a {network}: the file belongs to another model or is damaged. Names such as "
                f"{', '.join(list(parts)[:2])} were expected."
            )
        renamed[key] = parts[part] + key[len(part) :]
    return renamed


def _unet_pairs(down: list[_Level], up: list[_Level]) -> Pairs:
    """(diffusers, ComfyUI) names of every part of a UNet.

    ComfyUI numbers blocks through: block 0 holds the first convolution, then each layer is a block and each
    downsampler one more; on the way up, an upsampler belongs to the last block of its level.
    """
    yield from _UNET_ENDS
    block = 1
    for level, shape in enumerate(down):
        for layer in range(shape.layers):
            yield from _unet_layer(f"down_blocks.{level}", layer, f"input_blocks.{block}", shape.attends)
            block += 1
        if shape.resizes:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{block}.0.op"
            block += 1
    yield from _unet_resnet("mid_block.resnets.0", "middle_block.0")
    yield from _under("mid_block.attentions.0", "middle_block.1", _TRANSFORMER)
    yield from _unet_resnet("mid_block.resnets.1", "middle_block.2")
    block = 0
    for level, shape in enumerate(up):
        for layer in range(shape.layers):
            yield from _unet_layer(f"up_blocks.{level}", layer, f"output_blocks.{block}", shape.attends)
            block += 1
        if shape.resizes:
            place = 2 if shape.attends else 1
            yield f"up_blocks.{level}.upsamplers.0.conv", f"output_blocks.{block - 1}.{place}.conv"


def _unet_layer(level: str, layer: int, block: str, attends: bool) -> Pairs:
    yield from _unet_resnet(f"{level}.resnets.{layer}", f"{block}.0")
    if attends:
        yield from _under(f"{level}.attentions.{layer}", f"{block}.1", _TRANSFORMER)


def _unet_resnet(ours: str, theirs: str) -> Pairs:
    yield from _under(f"{ours}.spatial_res_block", theirs, _RESNET)
    yield from _under(f"{ours}.temporal_res_block", f"{theirs}.time_stack", _RESNET)
    yield f"{ours}.time_mixer", f"{theirs}.time_mixer"


def _vae_pairs(down: list[_Level], up: list[_Level]) -> Pairs:
    """(diffusers, ComfyUI) names of every part of a VAE; ComfyUI counts the decoder's levels from the finest."""
    yield from _VAE_ENDS
    for level, shape in enumerate(down):
        for layer in range(shape.layers):
            yield from _under(
                f"encoder.down_blocks.{level}.resnets.{layer}", f"encoder.down.{level}.block.{layer}", _VAE_RESNET
            )
        yield f"encoder.down_blocks.{level}.downsamplers.0.conv", f"encoder.down.{level}.downsample.conv"
    yield from _vae_middle("encoder", lambda ours, theirs: _under(ours, theirs, _VAE_RESNET))
    yield from _vae_middle("decoder", _vae_temporal_resnet)
    for level, shape in enumerate(up):
        theirs = len(up) - 1 - level
        for layer in range(shape.layers):
            yield from _vae_temporal_resnet(
                f"decoder.up_blocks.{level}.resnets.{layer}", f"decoder.up.{theirs}.block.{layer}"
            )
        yield f"decoder.up_blocks.{level}.upsamplers.0.conv", f"decoder.up.{theirs}.upsample.conv"


def _vae_middle(half: str, resnet: Callable[[str, str], Pairs]) -> Pairs:
    yield from resnet(f"{half}.mid_block.resnets.0", f"{half}.mid.block_1")
    yield from _under(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1", _VAE_ATTENTION)
    # diffusers gives the decoder's middle as many layers as a level has; ComfyUI's has two, like the published one
    yield from resnet(f"{half}.mid_block.resnets.1", f"{half}.mid.block_2")


def _vae_temporal_resnet(ours: str, theirs: str) -> Pairs:
    yield from _under(f"{ours}.spatial_res_block", theirs, _VAE_RESNET)
    yield from _under(f"{ours}.temporal_res_block", f"{theirs}.time_stack", _RESNET)
    yield f"{ours}.time_mixer", theirs


def _under(ours: str, theirs: str, parts: Iterable[tuple[str, str]]) -> Pairs:
    for our_part, their_part in parts:
        yield f"{ours}.{our_part}", f"{theirs}.{their_part}"


def _diffusers_levels(keys: Iterable[str], side: str) -> list[_Level]:
    """The levels of one side of a diffusers network, in order."""
    found: dict[int, dict[str, set[int]]] = {}
    for key in keys:
        match = re.match(rf"{re.escape(side)}\.(\d+)\.(\w+)\.(\d+)\.", key)
        if match:
            level, kind, index = match.groups()
            found.setdefault(int(level), {}).setdefault(kind, set()).add(int(index))
    return [
        _Level(
            layers=len(parts.get("resnets", ())),
            attends="attentions" in parts,
            resizes="downsamplers" in parts or "upsamplers" in parts,
        )
        for _, parts in sorted(found.items())
    ]
