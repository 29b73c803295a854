"""The layers of BFVR-STC's 3-D autoencoder (docs/reference/stc.md#layers), for inference.

At 512x512 a single tensor of 24 frames and 32 channels takes 805 MB. Convolutions therefore work on a few frames at a
time, plus one frame on either side, and normalise these as they read them: the results are the same, without full-size
tensors in between. Attention never builds its score matrix. A block may overwrite its input, so nothing here supports
gradients; the networks call it under `torch.no_grad`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32
TEMPORAL_GROUPS = 16
EPS = 1e-6

PIECE = 2**24
"""How many numbers to process at a time where a tensor is worked on in pieces: two frames of 512x512x32."""

QUERIES = 4096
"""Queries in one attention call. This limits the score matrix on devices that have no fused kernel."""


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """The group normalisation of this network: statistics over the group's channels, all frames and all pixels."""
    return nn.GroupNorm(groups, channels, eps=EPS)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention of (B,heads,n,d) queries over (B,heads,m,d) keys and values.

    The result of a query does not depend on other queries, so it makes no difference that they are taken in runs.
    """
    return torch.cat([F.scaled_dot_product_attention(run, k, v) for run in torch.split(q, QUERIES, dim=2)], dim=2)


def pieces(frames: int, numbers: int) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of runs of frames with about PIECE numbers in all; numbers: how many one frame has."""
    step = max(1, PIECE // numbers)
    for first in range(0, frames, step):
        yield first, min(first + step, frames)


def convolve(
    conv: nn.Conv3d,
    x: Tensor,
    *,
    norm: nn.GroupNorm | None = None,
    grow: tuple[int, int, int] = (1, 1, 1),
    add_to: Tensor | None = None,
) -> Tensor:
    """conv(swish(norm(x))) or conv(upsample(x)), a few frames at a time.

    conv: 3x3x3, stride 1, padded with zeros by one. x: (1,c,T,h,w). norm: applied to x with its statistics over all of
    x, followed by swish; None takes x as it is. grow: nearest upsampling of T, h, w. add_to: where the result is added
    in place, or None for a new tensor. Returns (1,out_channels,T,h,w) times grow.
    """
    affine = None if norm is None else _affine(norm, x)
    frames, height, width = (size * factor for size, factor in zip(x.shape[2:], grow, strict=True))
    out = x.new_empty(1, conv.out_channels, frames, height, width) if add_to is None else add_to
    repeat = grow[0]
    for first, last in pieces(frames, max(conv.in_channels, conv.out_channels) * height * width):
        low, high = max(first - 1, 0), min(last + 1, frames)
        begin = low // repeat
        piece = x[:, :, begin : (high - 1) // repeat + 1]
        if affine is not None:
            piece = F.silu(torch.addcmul(affine[1], piece, affine[0]), inplace=True)
        if grow != (1, 1, 1):
            piece = F.interpolate(piece, scale_factor=grow, mode="nearest")
        piece = piece[:, :, low - begin * repeat : high - begin * repeat]
        # Only the clip's own ends are padded in time; elsewhere the neighbouring frames are there.
        piece = F.pad(piece, (0, 0, 0, 0, int(first == 0), int(last == frames)))
        result = F.conv3d(piece, conv.weight, conv.bias, padding=(0, 1, 1))
        if add_to is None:
            out[:, :, first:last] = result
        else:
            out[:, :, first:last] += result
    return out


def _affine(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Group normalisation as a factor and a summand per channel, each (1,c,1,1,1)."""
    grouped = rearrange(x, "1 (g each) t h w -> 1 g each t h w", g=norm.num_groups)
    variance, mean = torch.var_mean(grouped, dim=(2, 3, 4, 5), correction=0)
    deviation = torch.rsqrt(variance + norm.eps)
    each = grouped.shape[2]
    scale = repeat(deviation, "1 g -> 1 (g each)", each=each) * norm.weight
    shift = norm.bias - repeat(mean, "1 g -> 1 (g each)", each=each) * scale
    return rearrange(scale, "1 c -> 1 c 1 1 1"), rearrange(shift, "1 c -> 1 c 1 1 1")


class Conv(nn.Conv3d):
    """The 3x3x3 convolution, stride 1, zero padding."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(1,channels,T,h,w) to (1,out_channels,T,h,w)."""
        return convolve(self, x)


class Residual(nn.Module):
    """Two normalised convolutions with a shortcut; overwrites its input."""

    def __init__(self, channels: int, out_channels: int, groups: int = GROUPS) -> None:
        super().__init__()
        self.norm1 = group_norm(channels, groups)
        self.conv1 = Conv(channels, out_channels)
        self.norm2 = group_norm(out_channels, groups)
        self.conv2 = Conv(out_channels, out_channels)
        if channels != out_channels:
            self.conv_out = nn.Conv3d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(1,channels,T,h,w) to (1,out_channels,T,h,w)."""
        y = convolve(self.conv1, x, norm=self.norm1)
        if hasattr(self, "conv_out"):
            x = self.conv_out(x)
        return convolve(self.conv2, y, norm=self.norm2, add_to=x)


class _Projections(nn.Module):
    """What the attention layers of the autoencoder share: a norm and four 1x1x1 convolutions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.q = nn.Conv3d(channels, channels, 1)
        self.k = nn.Conv3d(channels, channels, 1)
        self.v = nn.Conv3d(channels, channels, 1)
        self.proj_out = nn.Conv3d(channels, channels, 1)


class SpaceTimeAttention(_Projections):
    """Attention over all positions of all frames together, one head, with a shortcut; overwrites its input."""

    def __init__(self, channels: int, groups: int = GROUPS) -> None:
        super().__init__(channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(1,c,T,h,w) to the same shape."""
        y = self.norm(x)
        q, k, v = (rearrange(layer(y), "1 c t h w -> 1 1 (t h w) c").contiguous() for layer in (self.q, self.k, self.v))
        _, _, frames, height, _ = x.shape
        seen = rearrange(attend(q, k, v), "1 1 (t h w) c -> 1 c t h w", t=frames, h=height)
        return x.add_(self.proj_out(seen))


class TemporalAttention(_Projections):
    """Attention over the frames of each position separately, one head, without a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, TEMPORAL_GROUPS)

    def forward(self, x: Tensor) -> Tensor:
        """(1,c,T,h,w) to the same shape; the norm's statistics are over the whole clip."""
        y = self.norm(x)
        q, k, v = (rearrange(layer(y), "1 c t h w -> (h w) 1 t c").contiguous() for layer in (self.q, self.k, self.v))
        out: Tensor = self.proj_out(rearrange(attend(q, k, v), "(h w) 1 t c -> 1 c t h w", h=x.shape[3]))
        return out


class DownSpaceTime(nn.Module):
    """Halves the number of frames, height and width, with zero padding only at the end of each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(1,c,T,h,w) to (1,c,T//2,h//2,w//2); T is at least 2."""
        _, channels, frames, height, width = x.shape
        out = x.new_empty(1, channels, frames // 2, height // 2, width // 2)
        for first, last in pieces(frames // 2, 2 * channels * height * width):
            piece = x[:, :, 2 * first : 2 * last + 1]
            beyond = 2 * last + 1 - min(2 * last + 1, frames)
            out[:, :, first:last] = self.conv(F.pad(piece, (0, 1, 0, 1, 0, beyond)))
        return out


class DownSpace(nn.Module):
    """Halves height and width, with zero padding on both sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(1,c,T,h,w) to (1,c,T,h/2,w/2)."""
        out: Tensor = self.conv(x)
        return out


class Up(nn.Module):
    """Repeats every pixel, with `time` every frame too, then convolves."""

    def __init__(self, channels: int, *, time: bool) -> None:
        super().__init__()
        self.grow = (2 if time else 1, 2, 2)
        self.conv = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(1,c,T,h,w) to (1,c,T or 2T,2h,2w)."""
        return convolve(self.conv, x, grow=self.grow)


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameter names of `torch.nn.MultiheadAttention`, through `attend`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, value: Tensor) -> Tensor:
        """query (B,n,c), which is the key as well, and value (B,n,c) to (B,n,c)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            rearrange(F.linear(x, weight, bias), "b n (heads d) -> b heads n d", heads=self.heads)
            for x, weight, bias in zip((query, query, value), weights, biases, strict=True)
        )
        out: Tensor = self.out_proj(rearrange(attend(q, k, v), "b heads n d -> b n (heads d)"))
        return out


class TransformerLayer(nn.Module):
    """A pre-norm layer that adds the position embedding to queries and keys only.

    Source: docs/reference/stc.md#transformer.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(channels, heads)
        self.linear1 = nn.Linear(channels, 2 * channels)
        self.linear2 = nn.Linear(2 * channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Tokens (B,n,c) and positions (n,c) to tokens (B,n,c)."""
        y = self.norm1(x)
        x = x + self.self_attn(y + position, y)
        out: Tensor = x + self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return out
