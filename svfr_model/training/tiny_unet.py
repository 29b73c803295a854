"""Training svfr-tiny's UNet and identity projection on encoded synthetic clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..identity import build_projection
from ..progress import Callback
from ..unet import build_unet
from .latents import DrawOptions, LatentClips, draw_batch
from .loop import Loop, LoopOptions, Losses
from .losses import WEIGHT_PRIOR, WEIGHT_ULR, SVFRObjective, zero_start

TINY_UNET: dict[str, Any] = {
    "in_channels": 12,
    "out_channels": 4,
    "down_block_types": ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"],
    "up_block_types": ["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"],
    "block_out_channels": [64, 96],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 3],
    "num_frames": 16,
}
"""Attention at the lower level only, as its cost at the upper one is out of proportion on a CPU."""

TINY_PROJECTION: dict[str, Any] = {"in_channels": 64, "out_channels": 64}


def make_objective(
    scaling: float,
    seed: int,
    weight_ulr: float = WEIGHT_ULR,
    weight_prior: float = WEIGHT_PRIOR,
    config: Mapping[str, Any] = TINY_UNET,
) -> SVFRObjective:
    """A fresh UNet and projection with the losses' heads; the same seed gives the same start.

    The degraded and the reference latents come unscaled, 1/scaling times as large as the noisy ones: the first
    layer's weights for them start that much smaller.
    """
    torch.manual_seed(seed)
    unet, projection = build_unet(config).train(), build_projection(TINY_PROJECTION).train()
    zero_start(unet)
    with torch.no_grad():
        unet.conv_in.weight[:, 4:] *= scaling
    return SVFRObjective(unet, projection, weight_ulr, weight_prior)


def train_unet(
    data: LatentClips,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    draw: DrawOptions | None = None,
    weight_ulr: float = WEIGHT_ULR,
    weight_prior: float = WEIGHT_PRIOR,
) -> tuple[nn.Module, nn.Module]:
    """The UNet and the projection, with averaged weights, trained on all seven task combinations."""
    draw = draw or DrawOptions()

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:  # noqa: ARG001
        return modules["objective"](draw_batch(data, draw, seed))

    objective = make_objective(data.scaling, options.seed, weight_ulr, weight_prior)
    loop = Loop({"objective": objective}, step, options, folder)
    loop.run(callback)
    loop.averaged()
    return objective.unet.eval(), objective.projection.eval()
