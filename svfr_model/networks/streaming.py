"""Decoding many frames as one clip, in the memory of two of the decoder's activations instead of eight.

The decoder of Stable Video Diffusion's VAE alternates layers that see one picture with residual blocks over time
(docs/reference/svfr.md#vae). The former run picture by picture. Of the latter only the statistics of their GroupNorms
span the clip, and those are gathered as the pictures come; their convolutions see a picture and its neighbours. So
this computes what the decoder computes in one call, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Framewise: TypeAlias = Callable[[Tensor], Tensor]
"""A layer that sees one picture, (1,c,h,w), and gives another, which is no view of it."""

Parameters: TypeAlias = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]
"""(layer, x): the layer's weight and bias where x is and in its dtype."""


@dataclass(frozen=True)
class TemporalBlock:
    """A residual block over time and its share in what it is blended with.

    norms: GroupNorm over a group's channels in all frames. convs: Conv3d with a kernel of (k,1,1), k odd, padded so
    that the length stays. Each norm is followed by SiLU and its convolution. mix: one number, of which
    the sigmoid is the share.
    """

    norms: tuple[nn.GroupNorm, nn.GroupNorm]
    convs: tuple[nn.Conv3d, nn.Conv3d]
    mix: Tensor


@dataclass(frozen=True)
class Stage:
    """Layers that see one picture, in turn, and a block over time after them."""

    framewise: Sequence[Framewise]
    temporal: TemporalBlock


@dataclass(frozen=True)
class StreamedDecoder:
    """A temporal decoder taken apart.

    ending: the layers that see one picture after the last stage. over_time: the last convolution, (1,c,F,H,W) to the
    same shape. parameters: how to get at a layer's weights.
    """

    stages: Sequence[Stage]
    ending: Sequence[Framewise]
    over_time: Callable[[Tensor], Tensor]
    parameters: Parameters


def own_parameters(layer: nn.Module, _: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that lies where it computes."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    return weight, bias


def decode_streamed(decoder: StreamedDecoder, latents: Tensor) -> Tensor:
    """The frames of one clip: latents (F,4,h,w), on the decoder's device and in its dtype, to (F,3,H,W)."""
    frames = [latent[None] for latent in latents]
    for stage in decoder.stages:
        _each(stage.framewise, frames)
        _blend_over_time(stage.temporal, frames, decoder.parameters)
    _each(decoder.ending, frames)
    clip = torch.stack([frame[0] for frame in frames], dim=1)[None]  # (1,c,F,H,W)
    return decoder.over_time(clip)[0].transpose(0, 1)


def _each(layers: Sequence[Framewise], frames: list[Tensor]) -> None:
    """Run every frame through the layers, and let go of what it was before."""
    for index, frame in enumerate(frames):
        for layer in layers:
            frame = layer(frame)
        frames[index] = frame


def _blend_over_time(block: TemporalBlock, frames: list[Tensor], parameters: Parameters) -> None:
    """Frames x become (1 - share) * x + share * (x + change), where change is the block's without its shortcut."""
    share = block.mix.to(frames[0].device).sigmoid().to(frames[0].dtype)
    inner = list(_convolved(frames, block.norms[0], block.convs[0], parameters))
    changes = _convolved(inner, block.norms[1], block.convs[1], parameters)
    for frame in frames:
        frame.addcmul_(next(changes), share)  # without a name, so that it is gone before the next one is made


def _convolved(
    frames: Sequence[Tensor], norm: nn.GroupNorm, conv: nn.Conv3d, parameters: Parameters
) -> Iterator[Tensor]:
    """conv(silu(norm(frames))), frame by frame.

    A kernel of k frames is one convolution of a picture with k times the channels. The k normalised frames lie in a
    ring, so that each is made once and none is moved: it is the weights that turn.
    """
    weight, bias = parameters(conv, frames[0])
    taps = weight[..., 0, 0].transpose(1, 2)  # (out,k,in)
    reach, size = taps.shape[1] // 2, taps.shape[1]
    scale, shift = _affine(frames, norm, parameters)
    ring = frames[0].new_zeros(size, *frames[0].shape[1:])
    for newest in range(len(frames) + reach):
        slot = ring[newest % size]
        if newest < len(frames):
            slot.copy_(F.silu(torch.addcmul(shift, frames[newest][0], scale), inplace=True))
        else:
            slot.zero_()
        first = newest - 2 * reach  # the frame that the first tap sees
        if first >= -reach:
            turned = taps.roll(first, dims=1).flatten(1)[..., None, None]
            yield F.conv2d(ring.flatten(0, 1)[None], turned, bias)


def _affine(frames: Sequence[Tensor], norm: nn.GroupNorm, parameters: Parameters) -> tuple[Tensor, Tensor]:
    """GroupNorm over all frames as x * scale + shift, both (c,1,1) float32.

    Means and variances of the frames, in float32, make those of the clip without sums of squares, which would lose
    digits.
    """
    moments = [torch.var_mean(frame.reshape(norm.num_groups, -1).float(), 1, correction=0) for frame in frames]
    variances, means = (torch.stack(values) for values in zip(*moments, strict=True))
    mean = means.mean(0)
    spread = (variances + (means - mean) ** 2).mean(0).add(norm.eps).rsqrt()
    weight, bias = (value.float().view(norm.num_groups, -1) for value in parameters(norm, frames[0]))
    scale = weight * spread[:, None]
    shift = bias - mean[:, None] * scale
    return scale.view(-1, 1, 1), shift.view(-1, 1, 1)
