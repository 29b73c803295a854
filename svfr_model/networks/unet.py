"""SVFR's UNet as diffusers builds it, and the denoiser backend that runs it.

The network is `diffusers.UNetSpatioTemporalConditionModel` with twelve input channels (noisy, degraded,
reference latents), identity tokens as encoder hidden states and the task vector as added ids
(docs/reference/svfr.md#unet).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import repeat

from ..base.errors import InputError
from ..weights import load_network

if TYPE_CHECKING:
    from diffusers import UNetSpatioTemporalConditionModel

ROLE = "unet"

PUBLISHED_CONFIG: dict[str, Any] = {
    "sample_size": 96,
    "in_channels": 12,
    "out_channels": 4,
    "down_block_types": [
        "CrossAttnDownBlockSpatioTemporal",
        "CrossAttnDownBlockSpatioTemporal",
        "CrossAttnDownBlockSpatioTemporal",
        "DownBlockSpatioTemporal",
    ],
    "up_block_types": [
        "UpBlockSpatioTemporal",
        "CrossAttnUpBlockSpatioTemporal",
        "CrossAttnUpBlockSpatioTemporal",
        "CrossAttnUpBlockSpatioTemporal",
    ],
    "block_out_channels": [320, 640, 1280, 1280],
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "transformer_layers_per_block": 1,
    "num_attention_heads": [5, 10, 20, 20],
    "num_frames": 25,
}
"""Constructor arguments of the published checkpoint."""

PUBLISHED_HEAD_CHANNELS = 64
TASK_BITS = 3


def build_unet(config: Mapping[str, Any] | None = None) -> UNetSpatioTemporalConditionModel:
    """A randomly initialised UNet; under `torch.device("meta")` it takes no memory and waits for its weights.

    config holds diffusers' constructor arguments, by default those of the published checkpoint. The head
    counts must be among them: they change no tensor's shape, so a wrong default would load and compute
    something else.

    Raises InputError for a config that does not describe an SVFR UNet.
    """
    from diffusers import UNetSpatioTemporalConditionModel

    from .inference import lighten

    config = dict(PUBLISHED_CONFIG if config is None else config)
    check_config(config)
    try:
        network = UNetSpatioTemporalConditionModel(**config)
    except (TypeError, ValueError) as error:
        raise InputError(f"No UNet can be built from this config: {error}") from error
    lighten(network)
    return network.eval()


def load_unet(
    path: Path | str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    compile: bool = False,
) -> DiffusersBackend:
    """The denoiser backend of a checkpoint, of the published architecture or the one its metadata describes.

    compile runs the network through `torch.compile`, which pays off after a few minutes at one frame size, and window
    by window, so that it is not compiled for one and for two.
    Raises WeightsError for a file that is missing, damaged or of another architecture.
    """
    network = load_network(path, ROLE, build_unet, device=device, dtype=dtype)
    return DiffusersBackend(network, compile=compile)


class DiffusersBackend:
    """The narrow interface between the clip's maths and the network: windows and conditions in, estimate out.

    The network keeps its device and dtype.
    """

    def __init__(self, network: UNetSpatioTemporalConditionModel, *, compile: bool = False) -> None:
        self.network = network
        self._run = torch.compile(network) if compile else network
        self._compiled = compile

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.conv_in.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        dtype: torch.dtype = self.network.conv_in.weight.dtype
        return dtype

    @property
    def token_width(self) -> int:
        """Channels of one identity token: 1024 at full size."""
        width = self.network.config.cross_attention_dim
        return int(width if isinstance(width, int) else width[0])

    @property
    def size_multiple_factor(self) -> int:
        """Latent height and width are multiples of this, the network's own downsampling: 8 at full size."""
        levels = len(self.network.config.block_out_channels)
        return 1 << (levels - 1)

    @torch.no_grad()
    def __call__(
        self,
        x: torch.Tensor,
        sigma: float,
        degraded: torch.Tensor,
        reference: torch.Tensor | None,
        tokens: torch.Tensor | None,
        task: torch.Tensor,
    ) -> torch.Tensor:
        """The denoised estimate of B windows of F frames at noise level sigma.

        Args:
            x: (B,F,4,h,w) float32, noisy latents, scaled.
            sigma: the noise level, a float32 value above 0.
            degraded: (B,F,4,h,w), latents of the degraded frames, unscaled.
            reference: (B,4,h,w), latents of the reference frame, unscaled, or None, which the network sees as zeros.
            tokens: (B,T,token_width), identity tokens, or None, the same as zeros but with less work.
            task: (3,), the task vector of zeros and ones.

        Returns:
            (B,F,4,h,w) float32: the clean latents, scaled, by Karras et al. 2022 (EDM) with v-prediction as
            in Stable Video Diffusion (docs/reference/svfr.md#steps).

        Raises InputError where h or w is no multiple of `size_multiple_factor`: diffusers would resize
        inside, which the reference does not.
        """
        batch, frames, _, height, width = x.shape
        factor = self.size_multiple_factor
        if height % factor or width % factor:
            raise InputError(f"Latents of {height}x{width} were given; both sides must be multiples of {factor}.")
        noise = torch.full((), sigma, dtype=torch.float32, device=x.device)  # filled there: a copy would wait for it
        spread = (noise**2 + 1) ** 0.5
        held = torch.zeros_like(x) if reference is None else repeat(reference.to(x), "b c h w -> b f c h w", f=frames)
        tokens = x.new_empty(batch, 0, self.token_width) if tokens is None else tokens
        sample = torch.cat([x / spread, degraded.to(x), held], dim=2)
        level = (0.25 * noise.log()).to(self.device)  # float32 up to the sinusoids, whatever the dtype
        v = self._rows(sample.to(self.device, self.dtype), level, tokens.to(self.device, self.dtype), task)
        return v.to(x.device, torch.float32) * (-noise / spread) + x / (noise**2 + 1)

    def _rows(
        self, sample: torch.Tensor, level: torch.Tensor, tokens: torch.Tensor, task: torch.Tensor
    ) -> torch.Tensor:
        """The network's answer, at once or row by row."""
        ids = task.to(self.device, torch.float32).expand(1, TASK_BITS)
        size = 1 if self._compiled else len(sample)
        parts: list[torch.Tensor] = [
            self._run(part, level, seen, added_time_ids=ids.expand(len(part), -1), return_dict=False)[0]
            for part, seen in zip(torch.split(sample, size), torch.split(tokens, size), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def check_config(config: Mapping[str, Any]) -> None:
    """Refuse a config that diffusers would accept but compute wrongly. Raises InputError."""
    heads, channels = config.get("num_attention_heads"), config.get("block_out_channels")
    if heads is None or channels is None:
        raise InputError(
            "A UNet's config must name num_attention_heads and block_out_channels: head counts change no tensor's "
            "shape, so a default could silently compute something else."
        )
    heads = list(heads) if isinstance(heads, Sequence) else [heads] * len(channels)
    if len(heads) != len(channels) or any(width % count for width, count in zip(channels, heads, strict=False)):
        raise InputError(f"{heads} attention heads do not divide the levels' {list(channels)} channels.")
    if list(channels) == PUBLISHED_CONFIG["block_out_channels"]:
        per_head = [width // count for width, count in zip(channels, heads, strict=True)]
        if set(per_head) != {PUBLISHED_HEAD_CHANNELS}:
            raise InputError(
                f"{heads} heads give {per_head} channels per head; the published network was trained with "
                f"{PUBLISHED_HEAD_CHANNELS} everywhere, that is {PUBLISHED_CONFIG['num_attention_heads']} heads. "
                "Other counts load without an error and compute something else."
            )
    latent = config.get("out_channels", 4)
    if config.get("in_channels") != 3 * latent:
        raise InputError(
            f"in_channels is {config.get('in_channels')}; SVFR needs {3 * latent}, for noisy, degraded and "
            "reference latents."
        )
    added, ids = config.get("addition_time_embed_dim"), config.get("projection_class_embeddings_input_dim")
    if added is None or ids != TASK_BITS * added:
        raise InputError(
            f"projection_class_embeddings_input_dim is {ids}; it must be {TASK_BITS} times addition_time_embed_dim "
            f"({added}): one embedding per task."
        )
