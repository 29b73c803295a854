"""Training svfr-tiny's UNet and identity projection on encoded synthetic clips."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..base.progress import Callback, report
from ..engine.solvers import SIGMA_MAX
from ..networks.identity import build_projection
from ..networks.unet import DiffusersBackend, build_unet
from ..training.latents import DrawOptions, LatentClips, draw_batch
from ..training.loop import Loop, LoopOptions, Losses, placed
from ..training.losses import WEIGHT_PRIOR, WEIGHT_ULR, SVFRObjective, zero_start

if TYPE_CHECKING:
    from diffusers import UNetSpatioTemporalConditionModel

TINY_UNET: dict[str, Any] = {
    "in_channels": 12,
    "out_channels": 4,
    "down_block_types": ["DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"],
    "up_block_types": ["CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal"],
    "block_out_channels": [64, 96],
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 96,
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [2, 3],
    "num_frames": 16,
}
"""Attention at the lower level only: at the upper one it would cost too much on a CPU."""

TINY_PROJECTION: dict[str, Any] = {"in_channels": 64, "out_channels": 64}


COPY_GROUPS = 16
"""How many of the last normalisation's 32 groups carry the copy of the degraded clip at the start."""


def make_objective(
    examples: Tensor,
    scaling: float,
    seed: int,
    weight_ulr: float = WEIGHT_ULR,
    weight_prior: float = WEIGHT_PRIOR,
    config: Mapping[str, Any] = TINY_UNET,
) -> SVFRObjective:
    """A fresh UNet and projection with the losses' heads; the same seed and examples give the same start.

    examples (n,4,h,w): scaled latents of degraded frames, see copy_start. The network gets the degraded and the
    reference latents unscaled, 1/scaling times as large as the noisy ones, so its weights for them start that much
    smaller.
    """
    torch.manual_seed(seed)
    unet, projection = build_unet(config).train(), build_projection(TINY_PROJECTION).train()
    zero_start(unet)
    with torch.no_grad():
        unet.conv_in.weight[:, 4:] *= scaling
    copy_start(unet, examples, scaling)
    return SVFRObjective(unet, projection, weight_ulr, weight_prior)


def copy_start(unet: UNetSpatioTemporalConditionModel, examples: Tensor, scaling: float) -> None:
    """Make a fresh UNet return roughly the degraded clip as its estimate at high noise, and learn the rest. Ours.

    Learning to copy is slow here, because the last normalisation removes mean and scale from every group of two
    channels. What is left of a group (y, -y) is y divided by its root mean square, and silu(u) - silu(-u) = u passes it
    on. Sixteen such groups, y being sums of the latents and a constant, determine the latents to within about 1% of
    their variance; the sums are fitted to the examples. The latents enter in the first layer, go along the outermost
    skip connection and leave with v's sign. Needs zero_start first and 64 channels at the top level.
    """
    first, last = unet.conv_in, unet.up_blocks[-1].resnets[-1].spatial_res_block.conv_shortcut
    skip = last.in_channels - first.out_channels
    mix, shift, out, bias = _fit_copy(examples)
    count = examples.shape[1]
    with torch.no_grad():
        first.weight[:count], first.bias[:count] = 0.0, 0.0
        last.weight[: 2 * COPY_GROUPS] = 0.0
        for k in range(count):
            first.weight[k, count + k, 1, 1] = scaling
        for part, sign in ((0, 1.0), (1, -1.0)):
            rows = slice(part, 2 * COPY_GROUPS, 2)
            last.weight[rows, skip : skip + count, 0, 0] = sign * mix
            last.bias[rows] = sign * shift
            unet.conv_out.weight[:, rows, 1, 1] = -sign * out
        unet.conv_out.bias[:] = -bias


def _fit_copy(examples: Tensor, steps: int = 400, rate: float = 3e-2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums (G,4), constants (G,), weights (4,G) and biases (4,) that turn normalised sums back into the latents."""
    count = examples.shape[1]
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(COPY_GROUPS, count, generator=generator, requires_grad=True)
    shift = torch.randn(COPY_GROUPS, generator=generator, requires_grad=True)
    out = torch.zeros(count, COPY_GROUPS, requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    optimizer = torch.optim.Adam([mix, shift, out, bias], rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps) + 1e-3
        shown = examples[torch.randint(len(examples), (48,), generator=generator)]
        sums = torch.einsum("gk,bkhw->bghw", mix, shown) + shift.view(-1, 1, 1)
        sums = sums / sums.pow(2).mean(dim=(2, 3), keepdim=True).sqrt()
        copied = torch.einsum("kg,bghw->bkhw", out, sums) + bias.view(-1, 1, 1)
        optimizer.zero_grad()
        torch.autograd.backward(F.mse_loss(copied, shown))
        optimizer.step()
    return mix.detach(), shift.detach(), out.detach(), bias.detach()


def train_unet(
    data: LatentClips,
    options: LoopOptions,
    folder: Path | str,
    callback: Callback | None = None,
    *,
    draw: DrawOptions | None = None,
    networks: tuple[UNetSpatioTemporalConditionModel, nn.Module] | None = None,
    weights: tuple[float, float] = (WEIGHT_ULR, WEIGHT_PRIOR),
) -> tuple[UNetSpatioTemporalConditionModel, nn.Module]:
    """The UNet and the projection, with averaged weights, trained on the tasks that the data has.

    networks: a trained UNet and projection to go on with, by default fresh ones. The losses' heads always begin anew.
    weights: of unified latent regularization and of facial prior learning.
    """
    draw = draw or DrawOptions()

    def step(modules: Mapping[str, nn.Module], seed: int, number: int) -> Losses:
        batch = placed(modules["objective"], draw_batch(data, draw, seed, number))
        # torch's fused attention on a CPU takes a third of the step for the many short rows of attention over time
        with sdpa_kernel(SDPBackend.MATH) if batch["clean"].device.type == "cpu" else nullcontext():
            losses: Losses = modules["objective"](batch)
        return losses

    if networks is None:
        examples = data.degraded[:, :, ::8].float().flatten(0, 2) * data.scaling
        objective = make_objective(examples, data.scaling, options.seed, *weights)
    else:
        torch.manual_seed(options.seed)
        objective = SVFRObjective(*networks, *weights).train()
    loop = Loop({"objective": objective}, step, options, folder)
    loop.run(callback)
    loop.averaged()
    return objective.unet.eval(), objective.projection.eval()


@torch.inference_mode()
def estimate_clips(
    unet: UNetSpatioTemporalConditionModel,
    projection: nn.Module,
    data: LatentClips,
    seed: int,
    callback: Callback | None = None,
) -> Tensor:
    """What the UNet makes of each clip in one step from pure noise, (K,N,4,h,w) float16, scaled.

    Each clip in one of its degradations, drawn at random; every other one with its first frame and face as reference
    and identity.
    """
    backend = DiffusersBackend(unet)
    generator = torch.Generator().manual_seed(seed)
    made = torch.empty_like(data.clean)
    for number in range(len(made)):
        view = int(torch.randint(data.degraded.shape[1], (), generator=generator))
        noise = torch.randn(made.shape[1:], generator=generator)
        noisy = data.degraded[number, view].float() * data.scaling + SIGMA_MAX * noise
        shown = number % 2 == 1
        made[number] = backend(
            noisy[None],
            SIGMA_MAX,
            data.degraded[number, view].float()[None],
            data.clean[number, :1].float() / data.scaling if shown else None,
            projection(data.grids[number, :1].float()) if shown else None,
            data.tasks[number, view].float(),
        )[0]
        report(callback, "estimate", number + 1, len(made))
    return made
