"""A way for gradients through BFVR-STC's networks, over the same parameters as inference.

The layers of `svfr_model.stc.blocks` overwrite their inputs and work on pieces, so they cannot train
(docs/reference/stc-training.md#prerequisite). Here each is plain convolutions and attention, for any number of clips,
with activations that are computed again in the backward pass where that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..stc.blocks import (
    Conv,
    DownSpace,
    DownSpaceTime,
    Residual,
    SpaceTimeAttention,
    TemporalAttention,
    Up,
)
from ..stc.network import AutoEncoder3D, Blocks, Codebooks, CodeFormer3D, motion, residual_tokens, tokens_of


@dataclass(frozen=True)
class Quantised:
    """Clips in codes.

    spatial, temporal (B,c,T',h,w): what was looked up in the books. entries of both books (B,c,T',h,w): what was found
    there, without a gradient to z. codes (B,T',h*w) of both books. use (K,) of both books: how often each entry is
    near, as eq. 6 has it; sums to 1 and has gradients.
    """

    spatial: Tensor
    temporal: Tensor
    entries_s: Tensor
    entries_t: Tensor
    codes_s: Tensor
    codes_t: Tensor
    use_s: Tensor
    use_t: Tensor

    @property
    def latent(self) -> Tensor:
        """The sum of both books' entries, (B,c,T',h,w): eq. 5."""
        return self.entries_s + self.entries_t


def encode(network: AutoEncoder3D, clips: Tensor, *, recompute: bool = False) -> Tensor:
    """Clips (B,3,T,H,W) in 0..1 to latents (B,c,T',h,w)."""
    return run(network.encoder, clips, recompute=recompute)


def decode(network: AutoEncoder3D, latents: Tensor, *, recompute: bool = False) -> Tensor:
    """Quantised latents (B,c,T',h,w) to clips (B,3,T,H,W) in 0..1."""
    return torch.sigmoid(run(network.generator, latents, recompute=recompute))


def run(blocks: Blocks, x: Tensor, *, recompute: bool = False) -> Tensor:
    """All layers, one after the other; recompute: keep only what goes in between them for the backward pass."""
    for block in blocks.blocks:
        forward = _forward(block)
        x = checkpoint(forward, x, use_reentrant=False) if recompute and torch.is_grad_enabled() else forward(x)
    return x


def quantise(books: Codebooks, z: Tensor) -> Quantised:
    """The nearest entries of both books to latents (B,c,T',h,w): eqs. 3 to 6 of the paper.

    The temporal book is asked for the temporal attention of z plus what changed since the frame before. All in single
    precision, whatever is trained in: half of it would mistake neighbouring entries for each other.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.float()
        moved = temporal_attention(books.SA, z) + motion(z)
        codes_s, use_s = _nearest(z, books.embedding_s.weight)
        codes_t, use_t = _nearest(moved, books.embedding_t.weight)
        found_s, found_t = entries(books.embedding_s, codes_s, z.shape), entries(books.embedding_t, codes_t, z.shape)
    return Quantised(z, moved, found_s, found_t, codes_s, codes_t, use_s, use_t)


def entries(book: nn.Embedding, codes: Tensor, shape: torch.Size) -> Tensor:
    """Codes (B,T',h*w) to a book's entries, (B,c,T',h,w), of that shape."""
    found: Tensor = rearrange(book(codes), "b t (h w) c -> b c t h w", h=shape[3])
    return found


def straight_through(z: Tensor, latent: Tensor) -> Tensor:
    """The quantised latent, whose gradient goes to z as if nothing had been quantised."""
    return z + (latent - z).detach()


def _nearest(latent: Tensor, book: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (B,T',h*w) of the entries (K,c) that are nearest to a latent (B,c,T',h,w), and the book's use (K,)."""
    places = rearrange(latent, "b c t h w -> (b t h w) c")
    distances = places.square().sum(1, keepdim=True) + book.square().sum(1) - 2 * places @ book.T
    inverse = 1 / distances.clamp_min(1e-12)
    use = (inverse / inverse.sum(1, keepdim=True)).mean(0)
    batch, _, frames, _, _ = latent.shape
    return rearrange(distances.argmin(1), "(b t n) -> b t n", b=batch, t=frames), use


def predict(network: CodeFormer3D, z: Tensor) -> tuple[Tensor, Tensor]:
    """Latents (B,c,T',h,w) to logits (B,T',h*w,K) of both codes."""
    moved = tokens_of(temporal_attention(network.quantize.SA, z)) + residual_tokens(z, network.residual)
    frames = z.shape[2]
    logits = network.predict_s(tokens_of(z)), network.predict_t(moved)
    logits_s, logits_t = (rearrange(one, "(b t) n k -> b t n k", t=frames) for one in logits)
    return logits_s, logits_t


def temporal_attention(attention: TemporalAttention, z: Tensor) -> Tensor:
    """(B,c,T',h,w) to the same shape: attention over the frames of each place."""
    batch, _, _, height, width = z.shape
    y = attention.norm(z)
    q, k, v = (
        rearrange(layer(y), "b c t h w -> (b h w) 1 t c") for layer in (attention.q, attention.k, attention.v)
    )
    seen = F.scaled_dot_product_attention(q, k, v)
    out: Tensor = attention.proj_out(rearrange(seen, "(b h w) 1 t c -> b c t h w", b=batch, h=height, w=width))
    return out


def _convolution(layer: nn.Conv3d) -> Callable[[Tensor], Tensor]:
    return lambda x: F.conv3d(x, layer.weight, layer.bias, padding=1)


def _residual(block: Residual) -> Callable[[Tensor], Tensor]:
    first, second = _convolution(block.conv1), _convolution(block.conv2)

    def forward(x: Tensor) -> Tensor:
        y = second(F.silu(block.norm2(first(F.silu(block.norm1(x))))))
        return y + (block.conv_out(x) if hasattr(block, "conv_out") else x)

    return forward


def _attention(block: SpaceTimeAttention) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        _, _, frames, height, _ = x.shape
        y = block.norm(x)
        q, k, v = (rearrange(layer(y), "b c t h w -> b 1 (t h w) c") for layer in (block.q, block.k, block.v))
        seen = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = x + block.proj_out(rearrange(seen, "b 1 (t h w) c -> b c t h w", t=frames, h=height))
        return out

    return forward


def _down(block: DownSpaceTime) -> Callable[[Tensor], Tensor]:
    return lambda x: block.conv(F.pad(x, (0, 1, 0, 1, 0, 1)))


def _up(block: Up) -> Callable[[Tensor], Tensor]:
    convolution = _convolution(block.conv)
    return lambda x: convolution(F.interpolate(x, scale_factor=block.grow, mode="nearest"))


_FORWARD: dict[type[nn.Module], Callable[[Any], Callable[[Tensor], Tensor]]] = {
    Conv: _convolution,
    Residual: _residual,
    SpaceTimeAttention: _attention,
    DownSpaceTime: _down,
    DownSpace: lambda block: block.conv,
    Up: _up,
    nn.GroupNorm: lambda block: block,
}


def _forward(block: nn.Module) -> Callable[[Tensor], Tensor]:
    return _FORWARD[type(block)](block)
