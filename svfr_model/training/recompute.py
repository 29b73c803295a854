"""Gradient checkpointing: blocks whose activations are computed again in the backward pass instead of kept."""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_blocks(network: nn.Module) -> int:
    """Keep only the input of each residual block and of each transformer over space and time. Returns how many.

    diffusers' own checkpointing leaves out what is large: the temporal half of each transformer, and its projections.
    While a transformer is recomputed, its feed-forward layers are recomputed once more, each by itself: they widen every
    token eightfold, and would be the most that is in memory at any time. The blocks change in place; results and
    gradients stay the same.
    """
    from diffusers.models.attention import FeedForward
    from diffusers.models.resnet import SpatioTemporalResBlock
    from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel

    kinds = (SpatioTemporalResBlock, TransformerSpatioTemporalModel, FeedForward)
    blocks = [module for module in network.modules() if isinstance(module, kinds)]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)
