"""BFVR-STC's discriminator: light heads on a frozen DINOv2 ViT-S/14.

Source: the paper, 3.2 and eq. 2; docs/reference/stc-training.md#stage-1.

Only what it takes of DINOv2 (Oquab et al. 2023, arXiv 2304.07193) is here: one pass to the normalised class token.
Names of parameters are those of the published `dinov2_vits14_pretrain.pth`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..base.errors import WeightsError

WIDTH, DEPTH, HEADS, PATCH = 384, 12, 6, 14
TRAINED_SIDE = 518
"""Side in pixels of the pictures that the published position embedding is for."""
SIDE = 224
"""Side in pixels that frames are resized to (code: by nearest neighbour, without ImageNet's normalisation)."""
HEAD_OUTPUTS = (1, 2, 4)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (three heads d) -> three b heads n d", three=3, heads=self.heads)
        seen = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(rearrange(seen, "b heads n d -> b n (heads d)"))
        return out


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Scale(nn.Module):
    """A factor per channel on what a branch adds."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn, self.mlp = _Attention(width, heads), _Mlp(width)
        self.ls1, self.ls2 = _Scale(width), _Scale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class _Patches(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=PATCH)

    def forward(self, frames: Tensor) -> Tensor:
        patches: Tensor = self.proj(frames)
        return patches


class DinoV2(nn.Module):
    """ViT-S/14; frames (N,3,H,W), sides multiples of 14, to class tokens (N,384)."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH, heads: int = HEADS) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, (TRAINED_SIDE // PATCH) ** 2 + 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, width))  # in the file, and not used
        self.patch_embed = _Patches(width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, frames: Tensor) -> Tensor:
        """Class tokens, with gradients to the frames."""
        patches = self.patch_embed(frames)
        tokens = rearrange(patches, "n c h w -> n (h w) c")
        x = torch.cat([self.cls_token.expand(len(frames), -1, -1), tokens], dim=1) + self._positions(patches)
        for block in self.blocks:
            x = block(x)
        classes: Tensor = self.norm(x)[:, 0]
        return classes

    def _positions(self, patches: Tensor) -> Tensor:
        """The position embedding for as many patches, by bicubic interpolation of the published one."""
        side = TRAINED_SIDE // PATCH
        grid = rearrange(self.pos_embed[:, 1:], "1 (h w) c -> 1 c h w", h=side)
        if patches.shape[2:] != grid.shape[2:]:
            grid = F.interpolate(grid, patches.shape[2:], mode="bicubic", antialias=False)
        return torch.cat([self.pos_embed[:, :1], rearrange(grid, "1 c h w -> 1 (h w) c")], dim=1)


def load_dino(path: Path | str) -> DinoV2:
    """DINOv2 ViT-S/14 from its published file, frozen. Raises WeightsError for another file."""
    path = Path(path)
    try:
        stored = torch.load(path, weights_only=True, map_location="cpu")
        network = DinoV2()
        network.load_state_dict(stored, strict=True)
    except (OSError, RuntimeError, ValueError, TypeError, EOFError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not DINOv2's ViT-S/14 ({error}). Give the file dinov2_vits14_pretrain.pth of "
            "github.com/facebookresearch/dinov2 (Apache-2.0), or train without a discriminator."
        ) from error
    return network.requires_grad_(False).eval()


class Discriminator(nn.Module):
    """Frames to how real they look: three linear heads on frozen features, each averaged over its outputs."""

    def __init__(self, features: nn.Module, width: int = WIDTH) -> None:
        super().__init__()
        self.features: nn.Module = features.requires_grad_(False).eval()
        self.heads = nn.ModuleList(nn.Linear(width, count) for count in HEAD_OUTPUTS)

    def forward(self, frames: Tensor, *, frozen: bool = False) -> Tensor:
        """frames (N,3,H,W) in 0..1 to (3N,). frozen: the heads get no gradients, the frames do."""
        seen = self.features(F.interpolate(frames, (SIDE, SIDE), mode="nearest"))
        return torch.cat([_scores(head, seen, frozen=frozen) for head in self.heads])


def _scores(head: nn.Module, seen: Tensor, *, frozen: bool) -> Tensor:
    """The mean of a head's outputs for features (N,c): (N,)."""
    parameters = {name: part.detach() if frozen else part for name, part in head.named_parameters()}
    scores: Tensor = functional_call(head, parameters, (seen,))
    return scores.mean(1)
