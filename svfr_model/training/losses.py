"""SVFR's training losses: L = L_noise + lambda1 L_ULR + lambda2 L_prior, lambda1 = 0.01, lambda2 = 0.1 (SVFR paper).

What the paper leaves open (docs/reference/training.md#svfr) is chosen here and named as ours: the widths of both
modules, how frames are joined, the contrastive loss's form and temperature, and the distance between landmarks.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..base.errors import InputError
from ..engine.solvers import SIGMA_MAX, SIGMA_MIN

if TYPE_CHECKING:
    from diffusers import UNetSpatioTemporalConditionModel
    from torch.utils.hooks import RemovableHandle

LANDMARKS = 68
WEIGHT_ULR = 0.01
WEIGHT_PRIOR = 0.1


def draw_sigmas(
    count: int, generator: torch.Generator, *, mean: float = 0.7, spread: float = 1.6, wide: float = 0.2
) -> Tensor:
    """Noise levels (count,) float32 for training.

    Log-normal as in Karras et al. 2022 (EDM), with the mean and spread that Stable Video Diffusion was trained with.
    A share `wide` is uniform in log sigma over the sampler's whole range instead: ours, because SVFR starts at 700,
    where the log-normal has next to no samples.
    """
    normal = (mean + spread * torch.randn(count, generator=generator)).exp()
    low, high = torch.tensor(SIGMA_MIN).log(), torch.tensor(SIGMA_MAX).log()
    uniform = (low + (high - low) * torch.rand(count, generator=generator)).exp()
    chosen = torch.rand(count, generator=generator) < wide
    return torch.where(chosen, uniform, normal).clamp(SIGMA_MIN, SIGMA_MAX)


def velocity_loss(
    network: nn.Module,
    clean: Tensor,
    sigma: Tensor,
    noise: Tensor,
    degraded: Tensor,
    reference: Tensor,
    tokens: Tensor,
    task: Tensor,
) -> Tensor:
    """The denoising loss, a scalar: EDM's weighted squared error of the denoised estimate.

    With v-prediction and data of standard deviation 1 the weight (sigma^2+1)/sigma^2 of Karras et al. 2022 cancels
    the preconditioning of `svfr_model.networks.unet`, and what remains is the plain squared error of v, whose target is
    (noise - sigma clean) / sqrt(sigma^2+1).

    clean, noise, degraded (B,F,4,h,w), clean scaled and degraded not; sigma (B,); reference (B,4,h,w), unscaled,
    zeros where there is none; tokens (B,T,c); task (B,3).
    """
    level = sigma.view(-1, 1, 1, 1, 1)
    spread = (level**2 + 1).sqrt()
    held = reference[:, None].expand_as(degraded)
    sample = torch.cat([(clean + level * noise) / spread, degraded, held], dim=2)
    v = network(sample, 0.25 * sigma.log(), tokens, added_time_ids=task, return_dict=False)[0]
    target = (noise - level * clean) / spread
    return F.mse_loss(v.float(), target)


class MiddleTap:
    """Reads the features of a UNet's middle block as they pass: (B*F,C,h,w). Remove it when done."""

    def __init__(self, network: UNetSpatioTemporalConditionModel) -> None:
        self._features: Tensor | None = None
        self._handle: RemovableHandle = network.mid_block.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:  # noqa: ARG002
        self._features = output

    def take(self, batch: int) -> Tensor:
        """The features of the last forward call as (B,F,C,h,w), once; InputError if there was none."""
        if self._features is None:
            raise InputError("No features have passed the middle block since they were last taken: run the UNet first.")
        features, self._features = self._features, None
        return features.view(batch, -1, *features.shape[1:])

    def remove(self) -> None:
        """Take the hook off the network."""
        self._handle.remove()


class LatentTransformer(nn.Module):
    """Middle-block features to one point per clip in the common space of unified latent regularization.

    Features are flattened over height and width (SVFR paper). Ours: a linear map to `width`, two transformer layers
    with a summary token per frame, the mean over the frames, a linear map to `space` and length 1.
    """

    def __init__(self, channels: int, width: int = 128, space: int = 64, layers: int = 2) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, width)
        self.summary = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.leave = nn.Linear(width, space)

    def forward(self, features: Tensor) -> Tensor:
        """(B,F,C,h,w) to (B,space), each of length 1."""
        batch, frames = features.shape[:2]
        tokens = self.enter(features.flatten(0, 1).flatten(2).transpose(1, 2))
        tokens = torch.cat([self.summary.expand(len(tokens), -1, -1).to(tokens), tokens], dim=1)
        summary = self.layers(tokens)[:, 0].view(batch, frames, -1).mean(dim=1)
        return F.normalize(self.leave(summary).float(), dim=1)


def unified_latent_loss(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """The contrastive loss of unified latent regularization, a scalar.

    first, second (B,d), length 1: two degradations of B clips, row by row the same clip. Positives are the two views
    of a clip, negatives the views of all other clips (SVFR paper). Ours: the symmetric cross entropy over cosines
    divided by the temperature (InfoNCE, van den Oord et al. 2018). One clip has no negatives and gives 0.
    """
    views = torch.cat([first, second])
    cosines = views @ views.T / temperature
    cosines = cosines.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    count = len(first)
    partner = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(cosines, partner)


class LandmarkPredictor(nn.Module):
    """Middle-block features to 68 landmarks: average pooling and five linear layers (SVFR paper).

    Ours: the pooling leaves a grid of `grid` x `grid`, because one mean over the picture would forget where things
    are; hidden width `width`, GELU between the layers.
    """

    def __init__(self, channels: int, width: int = 256, grid: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(grid)
        widths = [channels * grid**2, width, width, width, width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(width, 2 * LANDMARKS))
        for layer in self.layers[:-1:2]:  # five layers at torch's own start would pass next to nothing on
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.constant_(self.layers[-1].bias, 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(B,F,C,h,w) to (B,F,68,2), in parts of the picture's width and height."""
        batch, frames = features.shape[:2]
        points = self.layers(self.pool(features.flatten(0, 1)).flatten(1))
        return points.float().view(batch, frames, LANDMARKS, 2)


def facial_prior_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of landmarks, a scalar. Both (B,F,68,2) in parts of the picture. The distance is ours."""
    return (predicted - target).pow(2).sum(-1).add(1e-12).sqrt().mean()


class SVFRObjective(nn.Module):
    """The UNet with the two auxiliary heads, as one forward call from a batch to its losses.

    weight_ulr 0 or weight_prior 0 leaves the loss out of the sum; it is still reported. The heads are not part of
    the restored network.
    """

    def __init__(
        self,
        unet: UNetSpatioTemporalConditionModel,
        projection: nn.Module,
        weight_ulr: float = WEIGHT_ULR,
        weight_prior: float = WEIGHT_PRIOR,
    ) -> None:
        super().__init__()
        channels = unet.config.block_out_channels[-1]
        self.unet, self.projection = unet, projection
        self.latent_transformer = LatentTransformer(channels)
        self.landmarks = LandmarkPredictor(channels)
        self.weight_ulr, self.weight_prior = weight_ulr, weight_prior
        self._tap = MiddleTap(unet)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name of a batch of 2B rows: B clips in one degradation, then the same clips in another.

        batch: what velocity_loss takes, but grid (2B,C,7,7) of the recogniser and use_identity (2B,) of 0 or 1 in
        place of tokens; and landmarks (2B,F,68,2) in parts of the picture.
        """
        tokens = self.projection(batch["grid"]) * batch["use_identity"].view(-1, 1, 1)
        rows = len(tokens)
        names = ("clean", "sigma", "noise", "degraded", "reference")
        noise = velocity_loss(self.unet, *(batch[name] for name in names), tokens, batch["task"])
        features = self._tap.take(rows)
        prior = facial_prior_loss(self.landmarks(features), batch["landmarks"])
        views = self.latent_transformer(features)
        ulr = unified_latent_loss(views[: rows // 2], views[rows // 2 :]) if rows > 2 else views.sum() * 0.0
        total = noise + self.weight_ulr * ulr + self.weight_prior * prior
        return {"loss": total, "noise": noise.detach(), "ulr": ulr.detach(), "prior": prior.detach()}


def zero_start(unet: nn.Module) -> None:
    """Let every residual branch of a fresh UNet add nothing at first, and the output be zero: it learns sooner.

    Goyal et al. 2017 (arXiv 1706.02677) do so for residual networks. Not for networks that are fine-tuned.
    """
    for name, module in unet.named_modules():
        if name.endswith((".conv2", ".proj_out")) or name == "conv_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
