"""What BFVR-STC's trainings start from: stage II from stage I, and stage I from a start of our own."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import WeightsError
from ..stc.blocks import Residual, SpaceTimeAttention, Up
from ..stc.network import AutoEncoder3D, CodeFormer3D, VQAutoEncoder3D
from . import stc_path

BRANCH_ENDS: dict[type[nn.Module], str] = {Residual: "conv2", SpaceTimeAttention: "proj_out"}
"""The last convolution of each kind of residual branch."""
ROUNDS = 10
"""Of k-means."""
HEAD_STEPS, HEAD_TOKENS, HEAD_RATE = 300, 2048, 1e-2
"""How a head is fitted to undamaged clips."""


@torch.no_grad()
def start_frame_by_frame(network: AutoEncoder3D) -> None:
    """Start encoder and generator as a linear map of each frame by itself that keeps what it is given. Ours.

    Residual branches add nothing: their last convolution is zero. All others are orthogonal without biases, which would
    outweigh the picture after a few layers; those over time see only the frame itself.
    """
    for block in [*network.encoder.blocks, *network.generator.blocks]:
        for layer in block.modules():
            if isinstance(layer, nn.Conv3d):
                _start_orthogonal(layer)
        last = BRANCH_ENDS.get(type(block))
        if last is not None:
            nn.init.zeros_(getattr(block, last).weight)
    # What is normalised last needs constants beside the picture, or the clip's brightness would be lost.
    for part in (network.encoder, network.generator):
        layer = next(found for block in reversed(part.blocks[:-1]) if (found := _mixing(block)) is not None)
        constants = layer.weight.new_zeros(layer.out_channels)
        constants[1::4], constants[3::4] = 1.0, -1.0
        layer.bias = nn.Parameter(constants)


def _start_orthogonal(layer: nn.Conv3d) -> None:
    kernel = torch.zeros_like(layer.weight)
    middle = kernel[:, :, kernel.shape[2] // 2]
    middle.copy_(nn.init.orthogonal_(torch.empty_like(middle)))
    layer.weight.copy_(kernel)
    layer.bias = nn.Parameter(kernel.new_zeros(layer.out_channels))


def _mixing(block: nn.Module) -> nn.Conv3d | None:
    """The convolution that the picture itself goes through in a block, if it goes through one."""
    if isinstance(block, nn.Conv3d):
        return block
    found: nn.Conv3d | None = block.conv if isinstance(block, Up) else getattr(block, "conv_out", None)
    return found


@torch.no_grad()
def start_books(network: AutoEncoder3D, clips: Tensor) -> None:
    """Start both books' entries at centres of what is looked up in them for clips (B,3,T,H,W) in 0..1. Ours."""
    books = network.quantize
    found = stc_path.quantise(books, stc_path.encode(network, clips))
    for looked_up, book in ((found.spatial, books.embedding_s), (found.temporal, books.embedding_t)):
        places = rearrange(looked_up, "b c t h w -> (b t h w) c")
        book.weight.copy_(centres(places, book.num_embeddings))


def centres(places: Tensor, count: int) -> Tensor:
    """`count` centres (count,c) of at least as many vectors (N,c): k-means from a fixed draw; empty ones stay."""
    chosen = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:count]
    found = places[chosen.to(places.device)].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(places, found).argmin(1)
        sums = torch.zeros_like(found).index_add_(0, nearest, places)
        sizes = torch.bincount(nearest, minlength=count)[:, None]
        found = torch.where(sizes > 0, sums / sizes.clamp_min(1), found)
    return found


def start_from(network: CodeFormer3D, books: VQAutoEncoder3D) -> None:
    """Give a restorer what stage I trained; its transformers keep their own start, and positions are zero.

    Raises WeightsError where the two do not fit.
    """
    missing, unexpected = network.load_state_dict(books.state_dict(), strict=False)
    own = ("position_emb", "s_feat_emb", "t_feat_emb", "s_ft_layers", "t_ft_layers", "s_idx_pred", "t_idx_pred")
    strange = [*unexpected, *(key for key in missing if not key.startswith(own))]
    if strange:
        raise WeightsError(f"The codebooks do not fit the restorer: {', '.join(strange[:5])}.")



def start_heads(network: CodeFormer3D, clips: Tensor) -> None:
    """Start the prediction of codes as that of undamaged clips (B,3,T,S,S) in 0..1, at which stage I is at home. Ours.

    The transformers pass their tokens on, and each head learns by itself which entry is nearest.
    """
    books = network.quantize
    layers = [*network.s_ft_layers, *network.t_ft_layers]
    for part in (part for layer in layers for part in (layer.self_attn.out_proj, layer.linear2)):
        nn.init.zeros_(part.weight)
        nn.init.zeros_(part.bias)
    with torch.no_grad():
        found = stc_path.quantise(books, stc_path.encode(network, clips))
    _fit(network.s_idx_pred_layer, found.spatial, found.codes_s)
    _fit(network.t_idx_pred_layer, found.temporal, found.codes_t)


def _fit(head: nn.Module, latents: Tensor, codes: Tensor) -> None:
    """Train a head on what was looked up, (B,c,T',h,w), and the codes found there, (B,T',h*w)."""
    tokens, wanted = rearrange(latents, "b c t h w -> (b t h w) c"), codes.flatten()
    draws = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), HEAD_RATE)
    for _ in range(HEAD_STEPS):
        chosen = torch.randint(len(tokens), (HEAD_TOKENS,), generator=draws).to(tokens.device)
        loss = F.cross_entropy(head(tokens[chosen]), wanted[chosen])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
