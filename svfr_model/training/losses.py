"""SVFR's training losses: L = L_noise + lambda1 L_ULR + lambda2 L_prior, lambda1 = 0.01, lambda2 = 0.1 (SVFR paper).

What the paper leaves open (docs/reference/training.md#svfr) is chosen here and named as ours: the widths of both
modules, how frames are joined, the contrastive loss's form and temperature, and the distance between landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange, repeat
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
    count: int,
    generator: torch.Generator,
    *,
    mean: float = 0.7,
    spread: float = 1.6,
    wide: float = 0.2,
    span: tuple[float, float] = (SIGMA_MIN, SIGMA_MAX),
) -> Tensor:
    """Noise levels (count,) float32 for training.

    Log-normal as in Karras et al. 2022 (EDM), with the mean and spread that Stable Video Diffusion was trained with.
    A share `wide` is uniform in log sigma over `span` instead, by default the sampler's whole range: our choice,
    because SVFR starts at 700, where the log-normal has hardly any samples.
    """
    normal = (mean + spread * torch.randn(count, generator=generator)).exp()
    low, high = (torch.tensor(level).log() for level in span)
    uniform = (low + (high - low) * torch.rand(count, generator=generator)).exp()
    chosen = torch.rand(count, generator=generator) < wide
    return torch.where(chosen, uniform, normal).clamp(SIGMA_MIN, SIGMA_MAX)


@dataclass(frozen=True)
class DenoisingBatch:
    """B rows of F frames that the UNet is trained to denoise.

    clean (B,F,4,h,w), scaled; degraded (B,F,4,h,w), unscaled; noise (B,F,4,h,w); sigma (B,); reference (B,4,h,w),
    unscaled, zeros where there is none; tokens (B,T,c); task (B,3).
    """

    clean: Tensor
    sigma: Tensor
    noise: Tensor
    degraded: Tensor
    reference: Tensor
    tokens: Tensor
    task: Tensor


def velocity_loss(network: nn.Module, batch: DenoisingBatch) -> Tensor:
    """The denoising loss, a scalar: EDM's weighted squared error of the denoised estimate.

    With v-prediction and data of standard deviation 1 the weight (sigma^2+1)/sigma^2 of Karras et al. 2022 cancels
    the preconditioning of `svfr_model.networks.unet`. What remains is the plain squared error of v, whose target is
    (noise - sigma clean) / sqrt(sigma^2+1).
    """
    clean, noise = batch.clean, batch.noise
    level = rearrange(batch.sigma, "b -> b 1 1 1 1")
    spread = (level**2 + 1).sqrt()
    held = repeat(batch.reference, "b c h w -> b f c h w", f=clean.shape[1])
    sample = torch.cat([(clean + level * noise) / spread, batch.degraded, held], dim=2)
    steps = 0.25 * batch.sigma.log()
    v = network(sample, steps, batch.tokens, added_time_ids=batch.task, return_dict=False)[0]
    target = (noise - level * clean) / spread
    return F.mse_loss(v.float(), target)


class MiddleTap:
    """Reads the output of a UNet's middle block, (B*F,C,h,w), during each forward call. Remove it when done."""

    def __init__(self, network: UNetSpatioTemporalConditionModel) -> None:
        self._features: Tensor | None = None
        self._handle: RemovableHandle = network.mid_block.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG002
        self._features = output

    def take(self, batch: int) -> Tensor:
        """The features of the last forward call as (B,F,C,h,w), once; InputError if there was none."""
        if self._features is None:
            raise InputError("The middle block has not run since its features were last taken: run the UNet first.")
        features, self._features = self._features, None
        rows: Tensor = rearrange(features, "(b f) c h w -> b f c h w", b=batch)
        return rows

    def remove(self) -> None:
        """Take the hook off the network."""
        self._handle.remove()


class LatentTransformer(nn.Module):
    """Middle-block features to one point per clip in the common space of unified latent regularization.

    Features are flattened over height and width (SVFR paper). Our choices: a linear map to `width`, two transformer
    layers with a summary token per frame, the mean over the frames, a linear map to `space`, and length 1.
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
        batch = len(features)
        tokens = self.enter(rearrange(features, "b f c h w -> (b f) (h w) c"))
        tokens = torch.cat([self.summary.expand(len(tokens), -1, -1).to(tokens), tokens], dim=1)
        summary = rearrange(self.layers(tokens)[:, 0], "(b f) c -> b f c", b=batch).mean(dim=1)
        return F.normalize(self.leave(summary).float(), dim=1)


def unified_latent_loss(
    first: Tensor, second: Tensor, others: Tensor | None = None, same: Tensor | None = None, temperature: float = 0.1
) -> Tensor:
    """The contrastive loss of unified latent regularization, a scalar.

    first, second (B,d), length 1: B clips in one degradation and the same clips in another. Positives are the two views
    of a clip, negatives the views of all other clips (SVFR paper), in the batch and among others (M,d), which get no
    gradient; same (B,M) bool: which of those show the clip itself and count as neither. Our choice: the symmetric cross
    entropy over cosines divided by the temperature (InfoNCE, van den Oord et al. 2018). Without negatives it is 0.
    """
    views = torch.cat([first, second])
    cosines = views @ views.T / temperature
    cosines = cosines.masked_fill(torch.eye(len(views), dtype=torch.bool, device=views.device), float("-inf"))
    if others is not None and same is not None:
        against = (views @ others.T / temperature).masked_fill(same.repeat(2, 1), float("-inf"))
        cosines = torch.cat([cosines, against], dim=1)
    count = len(first)
    partner = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(cosines, partner)


class Negatives(nn.Module):
    """Views of other clips to contrast with: those of the other processes, and of steps before. Our own choice.

    With them unified latent regularization works with one clip a step. The queue is the one of He et al. 2020 (MoCo)
    without a second encoder: it is short, so that what it holds was computed by nearly the same weights. Every process
    has the same queue, and it is checkpointed. Only the very first step of a single process finds it empty.
    """

    views: Tensor
    clips: Tensor

    def __init__(self, space: int = 64, size: int = 128) -> None:
        """size: views kept. An empty place has the clip -1."""
        super().__init__()
        self.register_buffer("views", torch.zeros(size, space))
        self.register_buffer("clips", torch.full((size,), -1))

    def others(self, views: Tensor, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Views (M,d), without gradients, and which of them are no negatives of which clip, (len(clips) / 2, M) bool.

        views (2B,d) and clips (2B,), the numbers of the clips that they show: the process's own. They are kept for
        later steps with those of all other processes, which must call this too.
        """
        known, known_clips = self.views.clone(), self.clips.clone()
        rank, all_views, all_clips = _gathered(views.detach().float(), clips)
        self._keep(torch.cat(all_views), torch.cat(all_clips))
        known = torch.cat([known, *all_views[:rank], *all_views[rank + 1 :]])
        known_clips = torch.cat([known_clips, *all_clips[:rank], *all_clips[rank + 1 :]])
        asked = clips[: len(clips) // 2]
        return known, (known_clips == asked[:, None]) | (known_clips < 0)

    def _keep(self, views: Tensor, clips: Tensor) -> None:
        size = len(self.clips)
        self.views.copy_(torch.cat([views, self.views])[:size])
        self.clips.copy_(torch.cat([clips, self.clips])[:size])


def _gathered(views: Tensor, clips: Tensor) -> tuple[int, list[Tensor], list[Tensor]]:
    """This process's number, and the views and clips of every process."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, [views], [clips]
    count = torch.distributed.get_world_size()
    all_views, all_clips = ([torch.empty_like(given) for _ in range(count)] for given in (views, clips))
    torch.distributed.all_gather(all_views, views.contiguous())
    torch.distributed.all_gather(all_clips, clips.contiguous())
    return torch.distributed.get_rank(), all_views, all_clips


class LandmarkPredictor(nn.Module):
    """Middle-block features to 68 landmarks: average pooling and five linear layers (SVFR paper).

    Our choices: the pooling leaves `grid` x `grid` places, because a single mean over the picture would lose all
    positions; hidden width `width`, GELU between the layers.
    """

    def __init__(self, channels: int, width: int = 256, grid: int = 4) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(grid)
        widths = [channels * grid**2, width, width, width, width]
        hidden = [nn.Linear(before, after) for before, after in pairwise(widths)]
        last = nn.Linear(width, 2 * LANDMARKS)
        self.layers = nn.Sequential(*(part for layer in hidden for part in (layer, nn.GELU())), last)
        for layer in hidden:  # with torch's own initial weights, hardly anything would pass through five layers
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.constant_(last.bias, 0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(B,F,C,h,w) to (B,F,68,2), as fractions of the picture's width and height."""
        pooled = self.pool(rearrange(features, "b f c h w -> (b f) c h w"))
        points = self.layers(rearrange(pooled, "n c h w -> n (c h w)")).float()
        landmarks: Tensor = rearrange(points, "(b f) (k xy) -> b f k xy", b=len(features), xy=2)
        return landmarks


def facial_prior_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of landmarks (B,F,68,2) in fractions of the picture, a scalar. Our own choice."""
    return (predicted - target).pow(2).sum(-1).add(1e-12).sqrt().mean()


class SVFRObjective(nn.Module):
    """The UNet with the two auxiliary heads, as one forward call from a batch to its losses.

    A weight of 0 leaves a loss out of the sum; it is still reported. The heads are not part of the trained files.
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
        self.negatives = Negatives()
        self.weight_ulr, self.weight_prior = weight_ulr, weight_prior
        self._tap = MiddleTap(unet)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses by name of a batch of 2B rows: B clips in one degradation, then the same clips in another.

        batch: the tensors of DenoisingBatch, but instead of tokens grid (2B,C,7,7), the recogniser's map, and
        use_identity (2B,), 0 or 1; also landmarks (2B,F,68,2) in fractions of the picture, and clip (2B,) int64, the
        clips' numbers.
        """
        tokens = self.projection(batch["grid"]) * rearrange(batch["use_identity"], "b -> b 1 1")
        rows = len(tokens)
        names = ("clean", "sigma", "noise", "degraded", "reference", "task")
        noise = velocity_loss(self.unet, DenoisingBatch(tokens=tokens, **{name: batch[name] for name in names}))
        features = self._tap.take(rows)
        prior = facial_prior_loss(self.landmarks(features), batch["landmarks"])
        views = self.latent_transformer(features)
        others, same = self.negatives.others(views, batch["clip"])
        ulr = unified_latent_loss(views[: rows // 2], views[rows // 2 :], others, same)
        total = noise + self.weight_ulr * ulr + self.weight_prior * prior
        return {"loss": total, "noise": noise.detach(), "ulr": ulr.detach(), "prior": prior.detach()}


def zero_start(unet: nn.Module) -> None:
    """Make every residual branch and the output of a fresh UNet start at zero, so that it learns sooner.

    As in Goyal et al. 2017 (arXiv 1706.02677) for residual networks. Not for networks that are to be fine-tuned.
    """
    for name, module in unet.named_modules():
        if name.endswith((".conv2", ".proj_out")) or name == "conv_out":
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
