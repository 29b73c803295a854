"""What the metadata of a weight file may ask for; checked before anything is built from it.

A file may come from anyone, and its metadata are the arguments of a network's constructor. So each argument has a kind
and a range here: wide enough for any network that a person would train, and narrow enough that building it (without
memory for its weights) takes seconds.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ..base.errors import InputError

Rule: TypeAlias = Callable[[Any], str]
"""From a value to what is needed in its place; "" if the value is fine."""

MOST_LEVELS = 8
MOST_BLOCKS = 32
"""In all levels together: layers times transformers of each. The published UNet has 8."""


def check_arguments(role: str, arguments: Mapping[str, Any]) -> None:
    """Raise InputError, naming the argument, its value and what is needed, for what no network of a role takes."""
    rules = RULES[role]
    for name, value in arguments.items():
        if name not in rules:
            raise InputError(
                f"{reprlib.repr(name)} is not an argument of this network; the known ones are {', '.join(rules)}"
            )
        needed = rules[name](value)
        if needed:
            raise InputError(f"{name} is {reprlib.repr(value)}; it must be {needed}")
    lengths = {name: len(arguments[name]) for name in PER_LEVEL if isinstance(arguments.get(name), list)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"the lists of its levels must have the same length: {told}")
    blocks = _blocks(arguments, max(lengths.values(), default=1))
    if blocks > MOST_BLOCKS:
        raise InputError(
            f"its levels have {blocks} blocks (layers times transformers); at most {MOST_BLOCKS} are allowed"
        )


def _blocks(arguments: Mapping[str, Any], levels: int) -> int:
    """Layers times transformers, summed over the levels of a UNet or VAE."""
    counts = [arguments.get(name, 1) for name in ("layers_per_block", "transformer_layers_per_block")]
    layers, depths = (count if isinstance(count, list) else [count] * levels for count in counts)
    return sum(layer * depth for layer, depth in zip(layers, depths, strict=True))


def _whole(low: int, high: int, multiple: int = 1) -> Rule:
    needed = f"a whole number from {low} to {high}" + (f", a multiple of {multiple}" if multiple > 1 else "")

    def rule(value: Any) -> str:
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high and not value % multiple
        return "" if fits else needed

    return rule


def _levels(rule: Rule, low: int = 1, high: int = MOST_LEVELS) -> Rule:
    counted = f"{low} to {high}" if low < high else f"{low}"

    def each(value: Any) -> str:
        if not isinstance(value, list) or not low <= len(value) <= high:
            return f"a list of {counted} entries"
        return next((f"a list of {counted} entries, each {needed}" for needed in map(rule, value) if needed), "")

    return each


def _either(one: Rule, many: Rule) -> Rule:
    return lambda value: many(value) if isinstance(value, list) else one(value)


def _word(*words: str) -> Rule:
    return lambda value: "" if isinstance(value, str) and value in words else f"one of {', '.join(words)}"


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _factor(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return "" if number and math.isfinite(value) and 1e-4 <= value <= 1e4 else "a number from 0.0001 to 10000"


_WIDTH = _whole(1, 16384)
_GROUPED = _whole(32, 16384, 32)
"""Channels of a level whose normalisation has 32 groups."""
_SIDE = _whole(1, 16384)
_LAYERS = _whole(1, 4)
_LATENT = _whole(1, 64)

PER_LEVEL = (
    "block_out_channels",
    "down_block_types",
    "up_block_types",
    "num_attention_heads",
    "layers_per_block",
    "transformer_layers_per_block",
)
"""Arguments that are lists with one entry for each level; some may also be one value for all."""

_UNET: Mapping[str, Rule] = {
    "sample_size": lambda value: "" if value is None else _SIDE(value),  # diffusers stores null where none was given
    "in_channels": _whole(1, 256),
    "out_channels": _LATENT,
    "down_block_types": _levels(_word("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal")),
    "up_block_types": _levels(_word("CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal")),
    "block_out_channels": _levels(_GROUPED),
    "addition_time_embed_dim": _whole(2, 16384, 2),
    "projection_class_embeddings_input_dim": _whole(1, 65536),
    "layers_per_block": _either(_LAYERS, _levels(_LAYERS)),
    "cross_attention_dim": _WIDTH,
    "transformer_layers_per_block": _either(_LAYERS, _levels(_LAYERS)),
    "num_attention_heads": _either(_whole(1, 1024), _levels(_whole(1, 1024))),
    "num_frames": _whole(1, 4096),
}
_VAE: Mapping[str, Rule] = {
    "in_channels": _LATENT,
    "out_channels": _LATENT,
    "down_block_types": _levels(_word("DownEncoderBlock2D")),
    "block_out_channels": _levels(_GROUPED),
    "layers_per_block": _LAYERS,
    "latent_channels": _LATENT,
    "sample_size": _SIDE,
    "scaling_factor": _factor,
    "force_upcast": _flag,
}
_RECOGNIZER: Mapping[str, Rule] = {
    "layers": _levels(_whole(1, 256), 4, 4),
    "widths": _levels(_whole(1, 4096), 4, 4),
    "embedding_width": _WIDTH,
}
_PROJECTION: Mapping[str, Rule] = {"in_channels": _WIDTH, "out_channels": _WIDTH}
_STC: Mapping[str, Rule] = {
    "img_size": _whole(8, 4096),
    "nf": _whole(1, 2048),
    "ch_mult": _levels(_whole(1, 64)),
    "res_blocks": _LAYERS,
    "attn_resolutions": _levels(_SIDE, 0),
    "emb_dim": _WIDTH,
    "codebook_size": _whole(1, 1 << 20),
    "groups": _whole(1, 2048),
    "n_head": _whole(1, 1024),
    "n_layers": _whole(1, 64),
    "residual": _word("published", "frames"),
    "shares": _word("bfr", "deflicker", "deflicker_sd"),
    "connect_list": _levels(_word("32", "64", "128", "256", "512"), 0),
}

RULES: Mapping[str, Mapping[str, Rule]] = {
    "unet": _UNET,
    "vae": _VAE,
    "insightface_glint360k": _RECOGNIZER,
    "id_linear": _PROJECTION,
    "stc_bfr": _STC,
    "stc_deflicker": _STC,
    "stc_deflicker_sd": _STC,
}
"""The arguments of each role's network that can be stored in a file."""
