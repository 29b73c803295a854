"""Who is in the picture: a face recognition network, and its projection to SVFR's identity tokens.

The recogniser is iresnet100, the residual network of ArcFace (Deng et al. 2019) as InsightFace publishes it; SVFR
reads the map before its last normalisation and projects each of the 49 places to one token
(docs/reference/svfr.md#recognizer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from ..base.errors import InputError, WeightsError
from ..weights import load_network

RECOGNIZER_ROLE = "insightface_glint360k"
PROJECTION_ROLE = "id_linear"

FACE_SIZE = 112
"""Side of an aligned face in pixels, that of ArcFace's template."""

PUBLISHED_RECOGNIZER: dict[str, Any] = {
    "layers": [3, 13, 30, 3],
    "widths": [64, 128, 256, 512],
    "embedding_width": 512,
}
"""Constructor arguments of iresnet100."""

PUBLISHED_PROJECTION: dict[str, Any] = {"in_channels": 512, "out_channels": 1024}
"""Constructor arguments of the published projection."""

_BATCHNORM_EPS = 1e-5

Network = TypeVar("Network", bound=nn.Module)


class IResNet(nn.Module):
    """The recogniser: four stages of residual blocks, each halving the side, and a linear embedding.

    layers is the number of blocks of each stage, widths its channels; the stem has the first stage's width.
    """

    def __init__(self, layers: Sequence[int], widths: Sequence[int], embedding_width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps=_BATCHNORM_EPS)
        self.prelu = nn.PReLU(widths[0])
        before = (widths[0], *widths[:3])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(*(_Block(start if i == 0 else width, width, halve=i == 0) for i in range(count)))
            for start, width, count in zip(before, widths, layers, strict=True)
        )
        self.bn2 = nn.BatchNorm2d(widths[3], eps=_BATCHNORM_EPS)
        self.fc = nn.Linear(widths[3] * (FACE_SIZE // 16) ** 2, embedding_width)
        self.features = nn.BatchNorm1d(embedding_width, eps=_BATCHNORM_EPS)

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,3,112,112) RGB in [-1,1] to the last stage's map (B,512,7,7), not normalised, and embeddings (B,512)."""
        x = self.prelu(self.bn1(self.conv1(faces)))
        grid = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return grid, self.features(self.fc(self.bn2(grid).flatten(1)))


class _Block(nn.Module):
    """Normalise first, two convolutions, and a shortcut that is projected where the block halves the side."""

    def __init__(self, before: int, width: int, *, halve: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before, eps=_BATCHNORM_EPS)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=_BATCHNORM_EPS)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2 if halve else 1, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width, eps=_BATCHNORM_EPS)
        self.downsample: nn.Module = nn.Identity()
        if halve:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, width, 1, stride=2, bias=False), nn.BatchNorm2d(width, eps=_BATCHNORM_EPS)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B,before,h,w) to (B,width,h,w), or half the side."""
        y = self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x)))))
        total: torch.Tensor = self.bn3(y) + self.downsample(x)
        return total


class IdentityProjection(nn.Module):
    """One token for each place of the recogniser's map."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.project1024 = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.final_norm = nn.LayerNorm(out_channels)

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        """(B,in_channels,h,w) to (B,h*w,out_channels), row by row."""
        tokens: torch.Tensor = self.final_norm(rearrange(self.project1024(grid), "b c h w -> b (h w) c"))
        return tokens


@dataclass(frozen=True)
class Identity:
    """One person as SVFR sees them. Both tensors are float32 on the CPU.

    tokens: (49,c), c being 1024 at full size. embedding: (512,), the recogniser's embedding scaled to length 1, so
    that the dot product of two is their cosine similarity.
    """

    tokens: torch.Tensor
    embedding: torch.Tensor


class IdentityEncoder:
    """Turns aligned faces into an Identity. The networks keep their device and dtype.

    Raises WeightsError if the projection does not fit the recogniser's map.
    """

    def __init__(self, recognizer: IResNet, projection: IdentityProjection) -> None:
        given, needed = recognizer.bn2.num_features, projection.project1024.in_channels
        if given != needed:
            raise WeightsError(
                f"The recogniser's map has {given} channels and the projection takes {needed}: the two files belong "
                "to different models."
            )
        self.recognizer = recognizer
        self.projection = projection

    @property
    def token_width(self) -> int:
        """Channels of one token: the denoiser's must be the same."""
        return self.projection.project1024.out_channels

    def encode(self, faces: torch.Tensor) -> Identity:
        """The identity of one person in B aligned pictures (B,3,112,112), RGB in [-1,1].

        Several pictures are averaged: their tokens as they are, their embeddings after scaling each to length 1.
        Raises InputError for pictures of another shape.
        """
        grid, embeddings = self._recognize(faces)
        tokens = self._project(grid).mean(dim=0)
        return Identity(tokens, F.normalize(embeddings.mean(dim=0), dim=0))

    def embed(self, faces: torch.Tensor) -> torch.Tensor:
        """(B,3,112,112) RGB in [-1,1] to embeddings of length 1, (B,512) float32 on the CPU."""
        return self._recognize(faces)[1]

    @torch.no_grad()
    def _recognize(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if faces.ndim != 4 or faces.shape[1:] != (3, FACE_SIZE, FACE_SIZE) or not len(faces):
            raise InputError(
                f"Aligned faces of shape (B,3,{FACE_SIZE},{FACE_SIZE}) are needed, not {tuple(faces.shape)}."
            )
        grid, embeddings = self.recognizer(faces.to(self.recognizer.conv1.weight))
        return grid, F.normalize(embeddings.float().cpu(), dim=1)

    @torch.no_grad()
    def _project(self, grid: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.projection(grid.to(self.projection.project1024.weight))
        return tokens.float().cpu()


def similarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of embeddings, in [-1,1]: (...,512) and (...,512), broadcast, to (...)."""
    return F.cosine_similarity(a, b, dim=-1)


def build_recognizer(config: Mapping[str, Any] | None = None) -> IResNet:
    """A randomly initialised recogniser, by default iresnet100. Raises InputError for a config that does not fit it."""
    return _build(IResNet, PUBLISHED_RECOGNIZER if config is None else config)


def build_projection(config: Mapping[str, Any] | None = None) -> IdentityProjection:
    """A randomly initialised projection, by default the published 512 to 1024. Raises InputError as well."""
    return _build(IdentityProjection, PUBLISHED_PROJECTION if config is None else config)


def load_identity_encoder(
    recognizer_path: Path | str,
    projection_path: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> IdentityEncoder:
    """Both networks from their checkpoints: the published ones, or those that the metadata describe.

    Raises WeightsError for a file that is missing, damaged or of another architecture.
    """
    return IdentityEncoder(
        load_network(recognizer_path, RECOGNIZER_ROLE, build_recognizer, device=device, dtype=dtype),
        load_network(projection_path, PROJECTION_ROLE, build_projection, device=device, dtype=dtype),
    )


def _build(network: type[Network], config: Mapping[str, Any]) -> Network:
    try:
        return network(**config).eval()
    except (TypeError, ValueError) as error:
        raise InputError(f"No {network.__name__} can be built from this config: {error}") from error
