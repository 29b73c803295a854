"""BFVR-STC's networks: a clip to codes of two codebooks and back (docs/reference/stc.md#encoder).

Written from that page alone. Where the published code departs from the paper, this follows the code ("as shipped" in
comments), because the published weights were trained with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import InputError
from .blocks import (
    GROUPS,
    TEMPORAL_GROUPS,
    Conv,
    DownSpace,
    DownSpaceTime,
    Residual,
    SpaceTimeAttention,
    TemporalAttention,
    TransformerLayer,
    Up,
    group_norm,
)

TaskName: TypeAlias = Literal["bfr", "deflicker", "deflicker_sd"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
"""Blind restoration, removal of brightness flicker, removal of the pixel flicker of frame-by-frame diffusion."""


ResidualName: TypeAlias = Literal["published", "frames"]
"""How the restorer's motion residual is read: scrambled as published (Q1), or as the difference of neighbouring frames,
which networks of our own training have (docs/reference/stc-training.md#prerequisite)."""


class Transformers(NamedTuple):
    """The size of a task's two code transformers."""

    heads: int
    layers: int


PUBLISHED: Mapping[TaskName, Transformers] = MappingProxyType(
    {"bfr": Transformers(2, 9), "deflicker": Transformers(4, 6), "deflicker_sd": Transformers(4, 6)}
)
"""The published networks. The number of heads changes no tensor's shape, so a checkpoint does not tell it, and with a
wrong number it would load and compute something else."""

NOMINAL_SIZE = 256
"""The side that attn_resolutions refer to at the first level, whatever img_size is: as shipped."""

FUSION_CHANNELS = MappingProxyType({"32": 256, "64": 256, "128": 128, "256": 128, "512": 64})
"""Channels of the unused fusion layers, by their names in connect_list."""


@dataclass(frozen=True)
class Sizes:
    """The shape of an autoencoder; the defaults are the published one.

    nf: channels of the first level. ch_mult: channels of each level, in multiples of nf. res_blocks: residual blocks
    per level. attn_resolutions: nominal sides, of NOMINAL_SIZE at the first level, of the levels with attention.
    emb_dim: channels of the latent, the codes and the transformers. codebook_size: entries of each codebook. groups: of
    the normalisations; with as many groups as channels, a layer would not see how bright the clip is.

    Raises InputError for sizes that no network can have.
    """

    nf: int = 32
    ch_mult: Sequence[int] = (1, 2, 4, 8)
    res_blocks: int = 2
    attn_resolutions: Sequence[int] = (32,)
    emb_dim: int = 256
    codebook_size: int = 1024
    groups: int = GROUPS

    def __post_init__(self) -> None:
        widths = [self.nf * factor for factor in self.ch_mult]
        if self.groups < 1 or not widths or any(width < 1 or width % self.groups for width in (self.nf, *widths)):
            raise InputError(
                f"The channels of every level must be a multiple of {self.groups}: nf times ch_mult is {widths}."
            )
        if self.emb_dim < 1 or self.emb_dim % TEMPORAL_GROUPS or self.emb_dim % self.groups:
            raise InputError(
                f"emb_dim must be a multiple of {math.lcm(self.groups, TEMPORAL_GROUPS)}, not {self.emb_dim}."
            )
        if self.codebook_size < 1 or self.res_blocks < 1:
            raise InputError(
                f"codebook_size ({self.codebook_size}) and res_blocks ({self.res_blocks}) must be 1 or more."
            )

    @property
    def levels(self) -> int:
        """The number of resolutions; each but the first has half the side of the one before."""
        return len(self.ch_mult)

    @property
    def lowest(self) -> int:
        """Nominal side of the last level."""
        return NOMINAL_SIZE // self.factor

    @property
    def factor(self) -> int:
        """Pixels per latent position along each side: 8 at full size."""
        return 1 << (self.levels - 1)

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame: 2 at full size."""
        return 1 << sum(self.scales_time(level) for level in range(self.levels - 1))

    def scales_time(self, level: int) -> bool:
        """Whether going from a level (0 is the first) to the next halves the number of frames too."""
        return level not in (self.levels - 2, self.levels - 3)


@dataclass(frozen=True)
class RestorerSizes(Sizes):
    """The shape of a restorer; the defaults are the published one.

    img_size: side of the frames, a multiple of the spatial factor (8 with four levels). n_head, n_layers: of each
    transformer; None is the published number for the task. connect_list: names of the fusion layers, which are never
    used but belong to the checkpoint. residual: see `ResidualName`.

    Raises InputError for sizes that no network can have.
    """

    img_size: int = 512
    n_head: int | None = None
    n_layers: int | None = None
    connect_list: Sequence[str] = ("32", "64", "128", "256")
    residual: ResidualName = "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.img_size < self.factor or self.img_size % self.factor:
            raise InputError(f"img_size must be a multiple of {self.factor}, not {self.img_size}.")
        unknown = [name for name in self.connect_list if name not in FUSION_CHANNELS]
        if unknown:
            raise InputError(f"connect_list has unknown names {unknown}: use some of {', '.join(FUSION_CHANNELS)}.")
        if self.residual not in get_args(ResidualName):
            raise InputError(f"residual is {self.residual!r}: use one of {', '.join(get_args(ResidualName))}.")


AnySizes = TypeVar("AnySizes", bound=Sizes)


class Blocks(nn.Module):
    """Layers run one after the other, under the published name `blocks`."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Run all layers. The first one makes a new tensor, so the input is left as it is."""
        for block in self.blocks:
            x = block(x)
        return x


def encoder(sizes: Sizes) -> Blocks:
    """(1,3,T,H,W) in 0..1 to the latent (1,emb_dim,T',h,w) (docs/reference/stc.md#encoder)."""
    blocks: list[nn.Module] = [Conv(3, sizes.nf)]
    width, side = sizes.nf, NOMINAL_SIZE
    for level, factor in enumerate(sizes.ch_mult):
        blocks += _level(width, sizes.nf * factor, side, sizes)
        width = sizes.nf * factor
        if level < sizes.levels - 1:
            blocks.append(DownSpaceTime(width) if sizes.scales_time(level) else DownSpace(width))
            side //= 2
    # As shipped, there is no activation between the norm and the last convolution.
    last = group_norm(width, sizes.groups), Conv(width, sizes.emb_dim)
    return Blocks([*blocks, *_middle(width, sizes.groups), *last])


def generator(sizes: Sizes) -> Blocks:
    """The latent (1,emb_dim,T',h,w) to the clip before the sigmoid, (1,3,T,H,W) (docs/reference/stc.md#generator).

    As shipped, upsampling follows every level but the first one visited, so the two lowest levels run at the latent's
    side, both with attention, and no residual block runs at full size.
    """
    width, side = sizes.nf * sizes.ch_mult[-1], sizes.lowest
    blocks: list[nn.Module] = [Conv(sizes.emb_dim, width), *_middle(width, sizes.groups)]
    for level in reversed(range(sizes.levels)):
        blocks += _level(width, sizes.nf * sizes.ch_mult[level], side, sizes)
        width = sizes.nf * sizes.ch_mult[level]
        if level < sizes.levels - 1:
            blocks.append(Up(width, time=sizes.scales_time(level)))
            side *= 2
    return Blocks([*blocks, group_norm(width, sizes.groups), Conv(width, 3)])


def _level(width: int, out_width: int, side: int, sizes: Sizes) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    for index in range(sizes.res_blocks):
        blocks.append(Residual(out_width if index else width, out_width, sizes.groups))
        if side in sizes.attn_resolutions:
            blocks.append(SpaceTimeAttention(out_width, sizes.groups))
    return blocks


def _middle(width: int, groups: int) -> list[nn.Module]:
    return [Residual(width, width, groups), SpaceTimeAttention(width, groups), Residual(width, width, groups)]


class Codebooks(nn.Module):
    """The spatial and the temporal codebook, and the temporal attention that comes before a lookup in the latter."""

    def __init__(self, codes: int, channels: int) -> None:
        super().__init__()
        self.embedding_s = nn.Embedding(codes, channels)
        self.embedding_t = nn.Embedding(codes, channels)
        self.SA = TemporalAttention(channels)

    def forward(self, codes_s: Tensor, codes_t: Tensor, shape: torch.Size) -> Tensor:
        """Codes (T',h*w) of each book to the quantised latent of shape (1,c,T',h,w): the sum of both entries."""
        entries = self.embedding_t(codes_t) + self.embedding_s(codes_s)
        latent: Tensor = rearrange(entries, "t (h w) c -> 1 c t h w", h=shape[3])
        return latent


class AutoEncoder3D(nn.Module):
    """What both networks share: encoder, codebooks and generator. For inference: no gradients."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = encoder(sizes)
        self.quantize = Codebooks(sizes.codebook_size, sizes.emb_dim)
        self.generator = generator(sizes)

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame. Frames beyond the last multiple of it are lost."""
        return self.sizes.temporal_stride

    @property
    def device(self) -> torch.device:
        """The device that the network is on."""
        return self.quantize.embedding_s.weight.device

    def encode(self, x: Tensor) -> Tensor:
        """(1,3,T,H,W) in 0..1 to the latent (1,c,T',h,w). Raises InputError for another shape or too few frames."""
        if x.ndim != 5 or x.shape[:2] != (1, 3) or x.shape[2] < self.temporal_stride:
            raise InputError(
                f"The network takes one clip of at least {self.temporal_stride} frames, (1,3,T,H,W), "
                f"not {tuple(x.shape)}: run clips one by one, and repeat the frame of a single picture."
            )
        latent: Tensor = self.encoder(x)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        """The quantised latent (1,c,T',h,w) to the clip (1,3,T,H,W) in 0..1."""
        return torch.sigmoid_(self.generator(latent))


class VQAutoEncoder3D(AutoEncoder3D):
    """The stage-1 network: a clip to the nearest entries of both codebooks and back (docs/reference/stc.md#stage-1).

    It reconstructs; the published training used it to make its target codes. Frames may have any size; a side that is
    not a multiple of the spatial factor comes back rounded up to one.
    """

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Reconstruct a clip (1,3,T,H,W) in 0..1.

        Returns the clip (1,3,T,H,W), the codebook loss, 0.1 times the regulariser of how evenly codes are used, and a
        dictionary with min_encoding_indices_s and _t (T',h*w), perplexity_s and _t.
        """
        z = self.encode(x)
        book_s, book_t = self.quantize.embedding_s.weight, self.quantize.embedding_t.weight
        codes_s, spread_s = _nearest(z, book_s)
        codes_t, spread_t = _nearest(self.quantize.SA(z) + motion(z), book_t)
        quantised = self.quantize(codes_s, codes_t, z.shape)
        loss = 1.25 * F.mse_loss(quantised, z)  # codebook and commitment loss, which are equal without gradients
        stats = {
            "min_encoding_indices_s": codes_s,
            "min_encoding_indices_t": codes_t,
            "perplexity_s": _perplexity(codes_s, len(book_s)),
            "perplexity_t": _perplexity(codes_t, len(book_t)),
        }
        # The straight-through estimator adds the difference, which rounds differently from the quantised latent alone.
        return self.decode(z + (quantised - z)), loss, 0.1 * (spread_s + spread_t), stats


def _nearest(latent: Tensor, book: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (T',h*w) nearest to a latent (1,c,T',h,w), and how far their mean use diverges from uniform."""
    places = rearrange(latent, "1 c t h w -> (t h w) c")
    distances = places.square().sum(1, keepdim=True) + book.square().sum(1) - 2 * places @ book.T
    inverse = 1 / distances
    use = (inverse / inverse.sum(1, keepdim=True)).mean(0)
    uniform = 1 / len(use)
    spread = (uniform * (math.log(uniform) - F.log_softmax(use, 0))).mean()
    return rearrange(distances.argmin(1), "(t place) -> t place", t=latent.shape[2]), spread


def _perplexity(codes: Tensor, count: int) -> Tensor:
    share = torch.bincount(codes.flatten(), minlength=count).float() / codes.numel()
    return torch.exp(-(share * torch.log(share + 1e-10)).sum())


class CodeFormer3D(AutoEncoder3D):
    """The restorer: both codes of every latent position are predicted by transformers.

    Source: docs/reference/stc.md#restorer.
    """

    def __init__(self, task: TaskName, sizes: RestorerSizes, transformers: Transformers) -> None:
        super().__init__(sizes)
        self.task = task
        self.img_size = sizes.img_size
        self.residual = sizes.residual
        width, (heads, layers) = sizes.emb_dim, transformers
        places = (sizes.img_size // sizes.factor) ** 2
        self.position_emb_s = nn.Parameter(torch.zeros(places, width))
        self.position_emb_t = nn.Parameter(torch.zeros(places, width))
        # In the checkpoint, but as shipped never used.
        self.s_feat_emb = nn.Linear(width, width)
        self.t_feat_emb = nn.Linear(width, width)
        self.s_ft_layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.t_ft_layers = nn.ModuleList(TransformerLayer(width, heads) for _ in range(layers))
        self.s_idx_pred_layer, self.t_idx_pred_layer = (
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, sizes.codebook_size, bias=False)) for _ in range(2)
        )
        # In the checkpoint, but never used: the video network has no fidelity control.
        self.fuse_convs_dict = nn.ModuleDict({name: _Fusion(FUSION_CHANNELS[name]) for name in sizes.connect_list})

    @torch.no_grad()
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Restore a clip (1,3,T,img_size,img_size), RGB float32 in 0..1, of two frames or more.

        Returns (output, logits_s, logits_t, latent): output (1,3,2T',img_size,img_size) in 0..1 with T' = T//2, so an
        odd T loses a frame; logits (T',h*w,codes); latent (1,c,T',h,w). Clips of 24 frames are what the published
        networks were trained on: the temporal tokens depend on the clip's length (docs/reference/stc.md#q1).

        Raises InputError for another size or for more than one clip, which the shipped code would mix (Q6).
        """
        if x.shape[-2:] != (self.img_size, self.img_size):
            raise InputError(
                f"This network takes frames of {self.img_size}x{self.img_size}, for which its position embedding was "
                f"made, not {tuple(x.shape)}: resize or crop the frames first."
            )
        z = self.encode(x)
        logits_s = self.predict_s(tokens_of(z))
        logits_t = self.predict_t(self.temporal_tokens(z))
        quantised = self.quantize(logits_s.argmax(2), logits_t.argmax(2), z.shape)
        return self.decode(quantised), logits_s, logits_t, z

    def predict_s(self, tokens: Tensor) -> Tensor:
        """Tokens (N,h*w,c) of N latent frames to logits (N,h*w,codes) of the spatial codes.

        As shipped, each latent frame is a sequence of its own; the paper describes one sequence over space and time.
        """
        for layer in self.s_ft_layers:
            tokens = layer(tokens, self.position_emb_s)
        logits: Tensor = self.s_idx_pred_layer(tokens)
        return logits

    def predict_t(self, tokens: Tensor) -> Tensor:
        """Temporal tokens (N,h*w,c) to logits (N,h*w,codes) of the temporal codes."""
        for layer in self.t_ft_layers:
            tokens = layer(tokens, self.position_emb_t)
        logits: Tensor = self.t_idx_pred_layer(tokens)
        return logits

    def temporal_tokens(self, z: Tensor) -> Tensor:
        """The latent (1,c,T',h,w) to temporal tokens (T',h*w,c): temporal attention plus motion residual."""
        return tokens_of(self.quantize.SA(z)) + residual_tokens(z, self.residual)


def motion(z: Tensor) -> Tensor:
    """How each frame of a latent (B,c,T',h,w) differs from the frame before; zero for the first."""
    return torch.diff(z, dim=2, prepend=z[:, :, :1])


def residual_tokens(z: Tensor, kind: ResidualName) -> Tensor:
    """The motion residual of latents (B,c,T',h,w) as tokens (B*T',h*w,c).

    "published": as shipped it is scrambled (Q1). A latent's memory, which runs over channels, frames and places, is
    read as if it ran over frames, places and channels, before neighbouring frames are subtracted.
    """
    if kind == "frames":
        return tokens_of(motion(z))
    batch, channels, frames, height, width = z.shape
    misread = z.reshape(batch, frames, height * width, channels)
    return torch.diff(misread, dim=1, prepend=misread[:, :1]).flatten(0, 1)


def tokens_of(z: Tensor) -> Tensor:
    """Latents (B,c,T',h,w) to tokens (B*T',h*w,c)."""
    tokens: Tensor = rearrange(z, "b c t h w -> (b t) (h w) c")
    return tokens


class _Fusion(nn.Module):
    """The parameters of a published fusion layer, which is never run."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.encode_enc = Residual(2 * channels, channels)
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.LeakyReLU(0.2),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(2)
        )


def build_network(task: TaskName, config: Mapping[str, Any] | None = None) -> CodeFormer3D:
    """A randomly initialised network of a task; under `torch.device("meta")` it waits for its weights.

    task: "bfr", "deflicker" or "deflicker_sd". config: the fields of `RestorerSizes` and `Sizes` that differ from the
    published network's. Raises InputError for an unknown task and for a config that no network can be built from.
    """
    if task not in TASKS:
        raise InputError(f"Unknown BFVR-STC task {task!r}: use one of {', '.join(TASKS)}.")
    sizes = _sizes(RestorerSizes, config)
    published = PUBLISHED[task]
    heads = published.heads if sizes.n_head is None else sizes.n_head
    layers = published.layers if sizes.n_layers is None else sizes.n_layers
    if heads < 1 or sizes.emb_dim % heads or layers < 1:
        raise InputError(f"No transformer has {layers} layers with {heads} heads over {sizes.emb_dim} channels.")
    return CodeFormer3D(task, sizes, Transformers(heads, layers)).eval()


def build_stage1(config: Mapping[str, Any] | None = None) -> VQAutoEncoder3D:
    """The stage-1 network, randomly initialised; any frame size fits it.

    config: the fields of `Sizes` that differ from the published network's. Raises InputError for a config that no
    network can be built from.
    """
    return VQAutoEncoder3D(_sizes(Sizes, config)).eval()


def _sizes(kind: type[AnySizes], config: Mapping[str, Any] | None) -> AnySizes:
    try:
        return kind(**(config or {}))
    except TypeError as error:
        raise InputError(f"No BFVR-STC network can be built from this config: {error}") from error
