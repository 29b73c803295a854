"""BFVR-STC's losses: codebooks with reconstruction (stage I, eqs. 2 to 7), codes (stage II, eq. 8).

Where the paper and its code differ, `mode` chooses; what both leave open is chosen here and named as ours
(docs/reference/stc-training.md#open).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..stc.network import AutoEncoder3D, Blocks, CodeFormer3D
from . import stc_path
from .dino import Discriminator
from .loop import Losses

Mode: TypeAlias = Literal["paper", "code", "ours"]
"""Where paper and published code differ, which to follow. "ours" follows the paper, except that either book has its own
terms and its own straight-through gradient, so that the temporal attention learns from the pixels too."""
Perceptual: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Distance of two batches of frames (N,3,H,W) in [0,1], a scalar."""

COMMITMENT = 0.25
"""Beta of eq. 7. The paper gives no value; the code's 0.25 stands on the codebook's term instead."""
PRIOR_WEIGHT: dict[Mode, float] = {"paper": 1.0, "code": 0.1, "ours": 1.0}
RECONSTRUCTION: dict[Mode, float] = {"paper": 1.0, "code": 1.0, "ours": 10.0}
"""Weight of what is seen against what becomes of latents. Ours: about one by the variance of pixels, as VQ-VAE has it
(van den Oord et al. 2017), where latents, whose scale is free, would otherwise count for more than the picture.
"""
SCALES = 3
"""Halvings at which frames are compared where no perceptual network is given. Ours."""
ADVERSARIAL_WEIGHT = 0.5 * 0.8
FEATURE_WEIGHT = 10.0


def codebook_loss(z: Tensor, latent: Tensor, mode: Mode) -> Tensor:
    """How far latents (B,c,T',h,w) are from their codes, as a scalar: the second and the third term of eq. 7."""
    books, encoder = F.mse_loss(latent, z.detach()), F.mse_loss(z, latent.detach())
    return COMMITMENT * books + encoder if mode == "code" else books + COMMITMENT * encoder


def prior_loss(use: Tensor, mode: Mode) -> Tensor:
    """How unevenly a book's entries are used, a scalar; 0 for even use. use (K,) sums to 1.

    "paper", "ours": KL(use || uniform), eq. 6. "code": what its library call comes to, in which a softmax is taken of
    either once more, so that it hardly ever exceeds 0.
    """
    count = len(use)
    if mode != "code":
        return (use * (use.clamp_min(1e-12) * count).log()).sum()
    return ((-math.log(count) - F.log_softmax(use, 0)) / count).mean()


def scale_distance(made: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of frames (N,3,H,W) at their own size and at three halvings of it. Ours.

    It stands in for the perceptual distance, which needs a network that is downloaded.
    """
    total = F.l1_loss(made, truth)
    for _ in range(SCALES):
        made, truth = F.avg_pool2d(made, 2), F.avg_pool2d(truth, 2)
        total = total + F.l1_loss(made, truth)
    return total / (SCALES + 1)


class CodebooksObjective(nn.Module):
    """Stage I as one forward call from undamaged clips to losses."""

    def __init__(
        self,
        network: AutoEncoder3D,
        mode: Mode,
        prior: float | None = None,
        perceptual: Perceptual = scale_distance,
        discriminator: Discriminator | None = None,
        *,
        recompute: bool = False,
    ) -> None:
        """prior: weight of the marginal prior, None that of the mode. perceptual: LPIPS, or what stands in for it.
        discriminator: None trains without the adversarial term.
        """
        super().__init__()
        self.network, self.discriminator = network, discriminator
        self._mode, self._perceptual, self._recompute = mode, perceptual, recompute
        self._prior = PRIOR_WEIGHT[mode] if prior is None else prior

    def forward(self, clips: Tensor, *, adversarial: bool = False, coded: bool = True) -> Losses:
        """Losses by name of undamaged clips (B,3,T,H,W) in 0..1; adversarial: with the discriminator's; coded: False
        gives the generator what was looked up instead of what was found, an autoencoder without codes.
        """
        z = stc_path.encode(self.network, clips, recompute=self._recompute)
        found = stc_path.quantise(self.network.quantize, z)
        passed, codes = self._passed(found)
        if not coded:
            passed, codes = found.spatial + found.temporal, 0 * codes
        made = stc_path.decode(self.network, passed, recompute=self._recompute).float()
        pixels = F.l1_loss(made, clips)
        perceptual = self._perceptual(_frames(made), _frames(clips))
        prior = prior_loss(found.use_s, self._mode) + prior_loss(found.use_t, self._mode)
        total = RECONSTRUCTION[self._mode] * (pixels + perceptual) + codes + self._prior * prior
        told = {"pixels": pixels, "perceptual": perceptual, "codes": codes, "prior": prior, "mse": _mse(made, clips)}
        if adversarial and self.discriminator is not None:
            fooled, told_apart = adversarial_losses(self.discriminator, _frames(made), _frames(clips))
            total = total + ADVERSARIAL_WEIGHT * fooled + told_apart
            told |= {"fooled": fooled, "told_apart": told_apart}
        return {"loss": total, **{name: value.detach() for name, value in told.items()}}

    def _passed(self, found: stc_path.Quantised) -> tuple[Tensor, Tensor]:
        """What the generator gets (B,c,T',h,w), and how far latents are from their codes."""
        if self._mode != "ours":
            passed = stc_path.straight_through(found.spatial, found.latent)
            return passed, codebook_loss(found.spatial, found.latent, self._mode)
        pairs = ((found.spatial, found.entries_s), (found.temporal, found.entries_t))
        (spatial, temporal), codes = zip(
            *((stc_path.straight_through(*pair), codebook_loss(*pair, self._mode)) for pair in pairs), strict=True
        )
        return spatial + temporal, codes[0] + codes[1]


def adversarial_losses(discriminator: Discriminator, made: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The generator's and the discriminator's hinge loss (eq. 2) of frames (N,3,H,W) in 0..1, two scalars.

    The first has gradients to the frames only, the second to the discriminator's heads only.
    """
    fooled = -discriminator(made, frozen=True).mean()
    real, fake = discriminator(truth), discriminator(made.detach())
    return fooled, 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


class CodesObjective(nn.Module):
    """Stage II as one forward call: predict, from damaged clips, the codes that a teacher gives the undamaged ones.

    Codebooks, temporal attention and generator are the network's own and frozen, as is the teacher's encoder, which
    stays what stage I made of it.
    """

    def __init__(
        self,
        network: CodeFormer3D,
        teacher: Blocks,
        cross_entropy: float,
        *,
        feature: float = FEATURE_WEIGHT,
        recompute: bool = False,
    ) -> None:
        """teacher: stage I's encoder. cross_entropy, feature: weights of the loss's terms."""
        super().__init__()
        self.network = freeze_books(network)
        self.teacher = teacher.requires_grad_(False)
        self._cross_entropy, self._feature, self._recompute = cross_entropy, feature, recompute

    def forward(self, clean: Tensor, damaged: Tensor) -> Losses:
        """Losses by name of pairs of clips (B,3,T,S,S) in 0..1; also how often either code is the teacher's."""
        with torch.no_grad():
            wanted = stc_path.quantise(self.network.quantize, stc_path.run(self.teacher, clean))
        z = stc_path.encode(self.network, damaged, recompute=self._recompute)
        logits_s, logits_t = stc_path.predict(self.network, z)
        feature = F.mse_loss(z, wanted.latent)
        entropy_s, entropy_t = _entropy(logits_s, wanted.codes_s), _entropy(logits_t, wanted.codes_t)
        total = self._feature * feature + self._cross_entropy * (entropy_s + entropy_t)
        told = {
            "feature": feature,
            "entropy_s": entropy_s,
            "entropy_t": entropy_t,
            "right_s": (logits_s.argmax(-1) == wanted.codes_s).float().mean(),
            "right_t": (logits_t.argmax(-1) == wanted.codes_t).float().mean(),
        }
        return {"loss": total, **{name: value.detach() for name, value in told.items()}}


def freeze_books(network: CodeFormer3D) -> CodeFormer3D:
    """Leave to training what stage II trains: the encoder, both transformers, their positions and heads."""
    network.requires_grad_(False)
    trained = (network.encoder, network.s_ft_layers, network.t_ft_layers)
    for part in (*trained, network.s_idx_pred_layer, network.t_idx_pred_layer):
        part.requires_grad_(True)
    network.position_emb_s.requires_grad_(True)
    network.position_emb_t.requires_grad_(True)
    return network


def _entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Cross entropy of logits (B,T',n,K) against codes (B,T',n)."""
    return F.cross_entropy(rearrange(logits, "b t n k -> (b t n) k"), rearrange(codes, "b t n -> (b t n)"))


def _frames(clips: Tensor) -> Tensor:
    frames: Tensor = rearrange(clips, "b c t h w -> (b t) c h w")
    return frames


def _mse(made: Tensor, truth: Tensor) -> Tensor:
    return F.mse_loss(made.detach(), truth)
