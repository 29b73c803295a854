"""Gradient checkpointing: blocks whose activations are computed again in the backward pass instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(network: nn.Module) -> int:
    """Keep only the input of each residual block and of each transformer over space and time. Returns how many.

    diffusers' own checkpointing leaves out what is large: the temporal half of each transformer, and its projections.
    Here whole blocks are recomputed, and row by row: windows do not see each other, so that no more than one window's
    activations of one block are in memory. The blocks change in place; results and gradients stay the same.
    """
    from diffusers.models.resnet import SpatioTemporalResBlock
    from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel

    kinds = (SpatioTemporalResBlock, TransformerSpatioTemporalModel)
    blocks = [module for module in network.modules() if isinstance(module, kinds)]
    for block in blocks:
        block.forward = partial(_row_by_row, block.forward)
    return len(blocks)


def _row_by_row(forward: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """A block's forward pass for B windows of F frames, each recomputed by itself.

    Of both kinds of block the first argument is (B*F,C,h,w) and image_only_indicator (B,F); the other tensors have B*F
    rows. Returns a tensor, or a tuple of one.
    """
    arguments = signature(forward).bind(*given, **named).arguments
    rows = len(arguments["image_only_indicator"])
    made = []
    for row in range(rows):
        first, *others = ((name, _row(value, row, rows)) for name, value in arguments.items())
        made.append(checkpoint(forward, first[1], use_reentrant=False, **dict(others)))
    if isinstance(made[0], tuple):
        return (torch.cat([part[0] for part in made]),)
    return torch.cat(made)


def _row(value: Any, row: int, rows: int) -> Any:
    return value.chunk(rows)[row] if isinstance(value, Tensor) else value
