"""Stable Video Diffusion's VAE as ComfyUI's own VAE, and any such VAE as the library's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL, AutoencodingEngine
from comfy.ldm.modules.temporal_ae import VideoDecoder
from torch import Tensor, nn
from torch.nn import functional as F

from ..svfr_model.base.errors import InputError, WeightsError
from ..svfr_model.networks.comfy_keys import convert_vae
from ..svfr_model.networks.memory import decoding_memory
from ..svfr_model.networks.streaming import Framewise, Stage, StreamedDecoder, TemporalBlock, decode_streamed
from ..svfr_model.networks.vae import PUBLISHED_CONFIG, ROLE
from ..svfr_model.weights import load_strict, model_config, read_state_dict, weight_file
from .memory import ALLOWANCE, HalvingBatch, is_out_of_memory
from .multiples import multiples

logger = logging.getLogger(__name__)

DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
}
"""What the weights are kept in and pictures are decoded in."""

_AUTO = (torch.float16, torch.bfloat16, torch.float32)
"""In this order, if the device is good at it: fp16 is what the file holds and what the reference decodes in."""

_CHECKPOINT_PREFIX = "first_stage_model."
"""Of the VAE's entries in a whole Stable Video Diffusion checkpoint."""

_FOLDED = ("quant_conv.", "encoder.conv_out.")
"""ComfyUI has these two layers of diffusers' as one."""

_DECODED = 7.1
_ENCODED = 3.1
"""Numbers held per pixel and channel of the first level while a clip is decoded, and a picture encoded (measured by
running the published network on the meta device)."""


def load_vae(path: Path | str, dtype: str = "auto") -> comfy.sd.VAE:
    """The VAE in a file of diffusers, in a Stable Video Diffusion checkpoint, or in a VAE file saved by ComfyUI.

    It has the published architecture, or the one that the file's metadata describes. dtype is a key of DTYPES. Raises
    WeightsError for a file that is missing, damaged or of another architecture.
    """
    state_dict, metadata = read_state_dict(path, ROLE)
    config = model_config(metadata, ROLE, path)
    arguments = _network_arguments(config or PUBLISHED_CONFIG, path)
    weights = _comfy_names(state_dict, path)
    with torch.device("meta"):
        load_strict(_network(arguments), weights, path, ROLE)
    kept = DTYPES[dtype] or comfy.model_management.vae_dtype(comfy.model_management.vae_device(), list(_AUTO))
    vae = comfy.sd.VAE(sd=weights, dtype=kept) if config is None else _reduced(arguments, weights, kept)
    vae.patcher.cached_patcher_init = (_load_patcher, (path, dtype))
    return vae


def _load_patcher(
    path: Path | str,
    dtype: str,
    disable_dynamic: bool = False,  # noqa: ARG001 - ComfyUI's VAE decides that itself
) -> comfy.model_patcher.ModelPatcher:
    """What ComfyUI calls for a fresh copy of a VAE's patcher."""
    return load_vae(path, dtype).patcher


class ComfyVAE:
    """A VAE of Stable Video Diffusion as `svfr_model.engine.conditioning.VAE`. Loads itself when called.

    Works on the VAE's own network: `VAE.decode` takes as many frames at once as the card has room for and falls back
    to tiles, so that its temporal result would change with the card.
    """

    scaling_factor: float = comfy.latent_formats.SD15().scale_factor
    """Of Stable Video Diffusion's latents, wherever the VAE comes from."""

    def __init__(self, vae: comfy.sd.VAE) -> None:
        """Raises InputError for a VAE without temporal decoder."""
        if not isinstance(getattr(vae.first_stage_model, "decoder", None), VideoDecoder):
            raise InputError(
                "This VAE has no temporal decoder: use the one from Load SVFR VAE, or from a Stable Video Diffusion "
                "checkpoint."
            )
        self.vae = vae
        self._encoding = HalvingBatch()

    @property
    def network(self) -> AutoencodingEngine:
        """ComfyUI's network."""
        return self.vae.first_stage_model

    @property
    def factor(self) -> int:
        """Pixels per latent along each side: 8 at full size."""
        levels: int = self.network.decoder.num_resolutions
        return 1 << (levels - 1)

    @torch.no_grad()
    def encode(self, pixels: Tensor, *, full_precision: bool = False) -> Tensor:
        """The posterior mode of each picture (B,3,H,W) in [-1,1], unscaled, (B,4,H/factor,W/factor) float32.

        full_precision computes in float32 whatever the weights are kept in. As many pictures as fit are encoded at
        once; that changes no number but rounding. Raises InputError where not even one fits.
        """
        dtype = torch.float32 if full_precision else self.vae.vae_dtype
        height, width = pixels.shape[-2:]
        picture = self._activations(_ENCODED, self.network.encoder.ch, height, width, dtype)
        self._load(picture)
        free = self._free_memory()

        def encoded(rows: slice) -> Tensor:
            comfy.model_management.throw_exception_if_processing_interrupted()
            moments: Tensor = self.network.encoder(pixels[rows].to(self.vae.device, dtype))
            return moments.chunk(2, dim=1)[0].float()

        with _computing_in(self.network.encoder, dtype, self.vae.vae_dtype):
            return self._encoding.run(
                encoded, len(pixels), "Not even one picture can be encoded: take smaller crops.", int(free / picture)
            )

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """The frames of one clip: unscaled latents (F,4,h,w) to (F,3,H,W) float32 around [-1,1], not clamped.

        The temporal decoder sees exactly the frames of this call. Where they do not fit at once they are decoded frame
        by frame, which changes no more than rounding. Raises InputError where that does not fit either: decoding them
        in parts would give another result.
        """
        count, _, height, width = latents.shape
        size = height * self.factor, width * self.factor
        at_once = count * self._activations(_DECODED, self.network.decoder.ch, *size, self.vae.vae_dtype)
        least = decoding_memory(count, size, self.network.decoder.ch, self.vae.vae_dtype, streamed=True)
        self._load(at_once, min(at_once, least))
        given = latents.to(self.vae.device, self.vae.vae_dtype)
        if at_once <= self._free_memory():
            try:
                comfy.model_management.throw_exception_if_processing_interrupted()
                frames: Tensor = self.network.decode(given)
                return frames.float()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            logger.warning("Out of memory with %d frames decoded at once: they are decoded frame by frame.", count)
            comfy.model_management.soft_empty_cache()
        streamed = _taken_apart(self.network.decoder)
        return HalvingBatch().run(
            lambda _: decode_streamed(streamed, given).float(),
            1,
            f"{count} frames cannot be decoded together: lower the decode chunk, or take smaller crops.",
        )

    def _free_memory(self) -> float:
        """Bytes that are left on the VAE's device."""
        free = getattr(self.vae.patcher, "get_free_memory", comfy.model_management.get_free_memory)
        return float(free(self.vae.device))

    def _load(self, memory: float, least: float | None = None) -> None:
        """Load the VAE with room for memory bytes, or whole as long as least bytes are left."""
        comfy.model_management.load_models_gpu(
            [self.vae.patcher], memory_required=memory, minimum_memory_required=memory if least is None else least
        )

    @staticmethod
    def _activations(held: float, channels: int, height: int, width: int, dtype: torch.dtype) -> float:
        """Bytes for one picture of that size."""
        return ALLOWANCE * held * channels * height * width * dtype.itemsize


def _taken_apart(decoder: VideoDecoder) -> StreamedDecoder:
    """ComfyUI's temporal decoder as `decode_streamed` takes it."""
    stages: list[Stage] = []
    before: list[Framewise] = [decoder.conv_in]
    levels = [level for level in reversed(decoder.up)]
    for blocks, after in (
        ([decoder.mid.block_1], [decoder.mid.attn_1]),
        ([decoder.mid.block_2], []),
        *((level.block, [level.upsample] if hasattr(level, "upsample") else []) for level in levels),
    ):
        for block in blocks:
            stages.append(Stage([*before, partial(block, temb=None, skip_video=True)], _temporal(block)))
            before = []
        before = after
    ending = [decoder.norm_out, F.silu, partial(decoder.conv_out, skip_video=True)]
    return StreamedDecoder(stages, ending, decoder.conv_out.time_mix_conv, comfy.ops.cast_bias_weight)


def _temporal(block: Any) -> TemporalBlock:
    """The half of ComfyUI's VideoResBlock that works over time."""
    inner, last = block.time_stack.in_layers, block.time_stack.out_layers
    return TemporalBlock((inner[0], last[0]), (inner[2], last[3]), block.mix_factor)


@contextmanager
def _computing_in(network: nn.Module, dtype: torch.dtype, kept: torch.dtype) -> Iterator[None]:
    """Within this ComfyUI's layers cast their weights to what they are given; those stay as and where they are."""
    modules = network.modules() if dtype != kept else ()
    layers: list[Any] = [layer for layer in modules if hasattr(layer, "comfy_cast_weights")]
    before = [layer.comfy_cast_weights for layer in layers]
    try:
        for layer in layers:
            layer.comfy_cast_weights = True
        yield
    finally:
        for layer, casts in zip(layers, before, strict=True):
            layer.comfy_cast_weights = casts


def _comfy_names(state_dict: Mapping[str, Tensor], path: Path | str) -> dict[str, Tensor]:
    """The VAE's tensors under ComfyUI's names, out of whichever kind of file."""
    prefix = _CHECKPOINT_PREFIX if any(key.startswith(_CHECKPOINT_PREFIX) for key in state_dict) else ""
    weights = {key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)}
    if any(key.startswith("decoder.mid.") for key in weights):
        return weights
    # in float32, because folding quant_conv makes new numbers, and half precision would round them
    folded = {key: value.float() for key, value in weights.items() if key.startswith(_FOLDED)}
    try:
        return convert_vae({**weights, **folded})
    except WeightsError as error:
        raise WeightsError(f"{path}: {error} {weight_file(ROLE).source}") from error


def _network_arguments(config: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """ComfyUI's constructor arguments of encoder and decoder from diffusers' of the whole."""
    config = {**PUBLISHED_CONFIG, **config}
    if config["layers_per_block"] != 2 or config["scaling_factor"] != ComfyVAE.scaling_factor:
        raise WeightsError(
            f"{path} describes a VAE with {config['layers_per_block']} layers per block and a scaling factor of "
            f"{config['scaling_factor']}; ComfyUI's has 2 and {ComfyVAE.scaling_factor}."
        )
    channels = config["block_out_channels"]
    return {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": channels[0],
        "ch_mult": multiples(channels),
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }


def _network(arguments: Mapping[str, Any]) -> AutoencodingEngine:
    """ComfyUI's network for Stable Video Diffusion's VAE, of any size."""
    temporal = {**arguments, "video_kernel_size": [3, 1, 1], "alpha": 0.0}
    return AutoencodingEngine(
        encoder_config={"target": "comfy.ldm.modules.diffusionmodules.model.Encoder", "params": arguments},
        decoder_config={"target": "comfy.ldm.modules.temporal_ae.VideoDecoder", "params": temporal},
        regularizer_config={"target": "comfy.ldm.models.autoencoder.DiagonalGaussianRegularizer"},
    )


def _reduced(arguments: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: torch.dtype) -> comfy.sd.VAE:
    """A VAE of another size than the published one.

    comfy.sd.VAE builds the temporal network at one size only, so it is made around a picture VAE of the smallest size
    and given the network afterwards.
    """
    stand_in = {"ddconfig": {**arguments, "ch": 32, "ch_mult": [1], "num_res_blocks": 1}, "embed_dim": 4}
    vae = comfy.sd.VAE(sd=AutoencoderKL(**stand_in).state_dict(), config={"params": stand_in}, dtype=dtype)
    vae.first_stage_model = _network(arguments).eval().to(dtype)
    vae.first_stage_model.load_state_dict(weights)
    vae.patcher = comfy.model_patcher.ModelPatcher(
        vae.first_stage_model,
        load_device=vae.device,
        offload_device=comfy.model_management.vae_offload_device(),
    )
    vae.latent_channels = arguments["z_channels"]
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(arguments["ch_mult"]) - 1)
    vae.size = None
    return vae
