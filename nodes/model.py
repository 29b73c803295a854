"""SVFR's UNet as ComfyUI's own MODEL, and that MODEL as the library's denoiser backend.

ComfyUI's video UNet and the published checkpoint are the same network under other names
(docs/reference/comfyui.md#model), so loading, casting, offloading, LoRA and attention patches are ComfyUI's and not
ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sampler_helpers
import comfy.supported_models
import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep, UNetModel, VideoResBlock
from einops import rearrange
from torch import Tensor, nn

from ..svfr_model.base.errors import InputError, WeightsError
from ..svfr_model.networks.comfy_keys import convert_unet
from ..svfr_model.networks.unet import PUBLISHED_CONFIG, ROLE, TASK_BITS, check_config
from ..svfr_model.weights import load_strict, model_config, read_state_dict, weight_file
from .accelerators import is_compiled, refuse_step_caches
from .attention import lighten, needs_tokens
from .memory import ALLOWANCE, HalvingBatch
from .multiples import multiples

DTYPES: dict[str, torch.dtype | None] = {
    "auto": None,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp32": torch.float32,
    "fp8_e4m3fn": torch.float8_e4m3fn,
}
"""What the weights can be kept in; auto leaves it to ComfyUI. What the device cannot compute in is cast when used.

fp8 is without scales, as in ComfyUI's own loader: it costs accuracy."""

TASK_KEY = "svfr_task"
"""Under this name a conditioning carries its task vector, (3,) of 0 or 1."""

OWNER_KEY = "svfr_owner"
"""Under this name a conditioning carries a `ForSVFROnly`."""

NORM_EPS = 1e-6
"""Of the residual blocks that diffusers gives another value than ComfyUI does."""

TRAINED_SIZE, REDUCED_SIZE = 512, 64
"""Pixels of the crops that the published network and reduced ones were trained on."""

_HELD = 27.3
"""Numbers held per frame, latent place and channel of the first level at the network's peak (measured by running the
published network on the meta device; 27.1 to 27.6 for one to four rows of 4 to 25 frames). A patch of the
cross-attention, which is given the tokens for each pixel, takes up to 36% more with 16 frames."""

_TOKENS = 49
_WINDOW = 16
"""Frames per window, where ComfyUI's samplers ask for an estimate without saying."""

_CONDITIONING_NEEDED = "This conditioning lacks {}: an SVFR MODEL is sampled with the outputs of SVFR Conditioning."


def load_model(
    path: Path | str, dtype: str = "auto", disable_dynamic: bool = False
) -> comfy.model_patcher.ModelPatcher:
    """The MODEL in an SVFR checkpoint: of the published architecture, or of the one its metadata describes.

    dtype is a key of DTYPES. disable_dynamic keeps ComfyUI's dynamic VRAM out of it; ComfyUI asks for that itself when
    it needs such a copy. Raises WeightsError for a file that is missing, damaged or of another architecture.
    """
    state_dict, metadata = read_state_dict(path, ROLE)
    config = _SVFRConfig(_network_arguments(model_config(metadata, ROLE, path), path))
    weights = _renamed(state_dict, path)
    load_strict(_plain_network(config.unet_config), weights, path, ROLE)
    device, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    kept = DTYPES[dtype] or comfy.model_management.unet_dtype(
        model_params=comfy.utils.calculate_parameters(weights),
        supported_dtypes=config.supported_inference_dtypes,
        weight_dtype=comfy.utils.weight_dtype(weights),
    )
    cast = comfy.model_management.unet_manual_cast(kept, device, config.supported_inference_dtypes)
    config.set_inference_dtype(kept, cast)
    model = SVFRModel(config).to(offload)
    patcher = _patcher_class(disable_dynamic)(model, load_device=device, offload_device=offload)
    model.load_model_weights(weights, "", **({"assign": True} if is_dynamic(patcher) else {}))
    patcher.cached_patcher_init = (load_model, (path, dtype))
    return patcher


def is_dynamic(patcher: comfy.model_patcher.ModelPatcher) -> bool:
    """Whether ComfyUI streams this model's weights (DynamicVRAM, since ComfyUI 0.12)."""
    return hasattr(patcher, "is_dynamic") and patcher.is_dynamic()


class ForSVFROnly(comfy.conds.CONDRegular):
    """Stops a MODEL of another kind, which would ignore what it does not know and sample something else.

    Every MODEL prepares what lies in a conditioning's model_conds; SVFR's puts something harmless in this one's place.
    """

    def __init__(self) -> None:
        super().__init__(None)

    def process_cond(self, **_: Any) -> None:
        """Raise InputError."""
        raise InputError(
            "This conditioning comes from SVFR Conditioning, but the sampler's MODEL is not SVFR's: wire Load SVFR "
            "Model to the sampler."
        )


class SVFRModel(comfy.model_base.SVD_img2vid):
    """Stable Video Diffusion's model with SVFR's conditioning: task bits, two more latents, identity tokens.

    For ComfyUI's own samplers a conditioning holds cross_attn, the identity tokens (1,T,c); concat_latent_image
    (N,8,h,w), the unscaled latents of the degraded frames and of the reference picture; and under TASK_KEY the task.
    """

    def __init__(self, model_config: _SVFRConfig, device: torch.device | None = None) -> None:
        super().__init__(model_config, device=device)
        self.embedder = Timestep(model_config.unet_config["adm_in_channels"] // TASK_BITS)
        _set_norm_eps(self.diffusion_model)
        lighten(self.diffusion_model)

    @property
    def trained_size(self) -> int:
        """Side in pixels of the crops it was trained on: 512 as published; reduced networks saw svfr-tiny's 64."""
        published = self.model_config.unet_config["model_channels"] == PUBLISHED_CONFIG["block_out_channels"][0]
        return TRAINED_SIZE if published else REDUCED_SIZE

    def embed_task(self, task: Tensor) -> Tensor:
        """A task vector (3,) as the network takes it, (1,3*width) float32: sinusoids of each bit, one by one."""
        embedded: Tensor = self.embedder(task.float())
        return embedded.flatten()[None]

    def activation_memory(self, rows: int, frames: int, height: int, width: int) -> float:
        """Bytes of activations for one call with rows windows of frames latents (height,width)."""
        config = self.model_config.unet_config
        held = frames * _HELD * config["model_channels"]
        dtype: torch.dtype = self.manual_cast_dtype or self.get_dtype()
        return float(ALLOWANCE * rows * height * width * held * dtype.itemsize)

    def memory_required(self, input_shape: Sequence[int], **_: Any) -> float:
        """The estimate that ComfyUI's samplers ask for, of a call with latents of input_shape."""
        count, _channels, height, width = input_shape
        return self.activation_memory(max(1, count // _WINDOW), min(count, _WINDOW), height, width)

    def encode_adm(self, **kwargs: Any) -> Tensor:
        """The embedded task of a conditioning."""
        if TASK_KEY not in kwargs:
            raise InputError(_CONDITIONING_NEEDED.format("a task"))
        return self.embed_task(torch.tensor(kwargs[TASK_KEY]))

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """What the network is given besides the noisy latents (F,4,h,w), by the names of `apply_model`."""
        latents, tokens = kwargs.get("concat_latent_image"), kwargs.get("cross_attn")
        if latents is None or tokens is None:
            raise InputError(_CONDITIONING_NEEDED.format("latents" if latents is None else "identity tokens"))
        noise: Tensor = kwargs["noise"]
        needed = (noise.shape[0], 2 * noise.shape[1], *noise.shape[2:])
        if tuple(latents.shape) != needed:
            raise InputError(
                f"The conditioning's latents are {tuple(latents.shape)}, but the latent to be sampled needs {needed}: "
                "take the latent from the same SVFR Conditioning."
            )
        return {
            "y": comfy.conds.CONDRegular(self.encode_adm(**kwargs)),
            "c_concat": comfy.conds.CONDNoiseShape(latents),
            "c_crossattn": comfy.conds.CONDCrossAttn(tokens),
            "num_video_frames": comfy.conds.CONDConstant(noise.shape[0]),
            OWNER_KEY: comfy.conds.CONDConstant(None),
        }


class ComfyBackend:
    """An SVFR MODEL as the network of `ClipDenoiser`. Use it within `load`.

    Everything attached to the MODEL takes part, as in ComfyUI's samplers: LoRA, attention patches, compiled networks,
    wrappers around the network. Guidance is not the MODEL's here, so patches of it do not.
    """

    def __init__(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        """Raises InputError for a MODEL of another kind, or with something attached that cannot work."""
        if not isinstance(patcher.model, SVFRModel):
            raise InputError(
                f"This MODEL is a {type(patcher.model).__name__}, not SVFR's: load one with Load SVFR Model."
            )
        refuse_step_caches(patcher.model_options)
        self.patcher = patcher
        self._batch = HalvingBatch()
        self._options: dict[str, Any] | None = None

    @property
    def device(self) -> torch.device:
        """Where the network computes, wherever its weights lie."""
        device: torch.device = self.patcher.load_device
        return device

    @property
    def token_width(self) -> int:
        """Channels of one identity token: 1024 at full size."""
        return int(self.patcher.model.model_config.unet_config["context_dim"])

    @property
    def size_multiple_factor(self) -> int:
        """Latent height and width are multiples of this, the network's own downsampling: 8 at full size."""
        levels = len(self.patcher.model.model_config.unet_config["channel_mult"])
        return 1 << (levels - 1)

    def estimate_memory(self, frames: int, height: int, width: int, rows: int = 2) -> float:
        """Bytes of activations for one call with rows windows of frames latents (height,width)."""
        model: SVFRModel = self.patcher.model
        return model.activation_memory(rows, frames, height, width)

    @contextmanager
    def load(self, frames: int, height: int, width: int, rows: int = 2) -> Iterator[None]:
        """Within this the model is loaded, with room for calls of the size given as for `estimate_memory`."""
        comfy.model_management.load_models_gpu(
            [self.patcher, *self.patcher.get_nested_additional_models()],
            memory_required=self.estimate_memory(frames, height, width, rows),
            minimum_memory_required=self.estimate_memory(frames, height, width, 1),
        )
        options = comfy.model_patcher.create_model_options_clone(self.patcher.model_options)
        # puts the MODEL's wrappers, such as a compiled network, where the network looks for them
        comfy.sampler_helpers.prepare_model_patcher(self.patcher, {}, options)
        self.patcher.pre_run()
        self._options = options
        try:
            yield
        finally:
            self._options = None
            self.patcher.cleanup()

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        sigma: float,
        degraded: Tensor,
        reference: Tensor | None,
        tokens: Tensor | None,
        task: Tensor,
    ) -> Tensor:
        """The denoised estimate, see `DenoiserBackend`. Rows that do not fit together are run in parts.

        Raises InputError for latents of an unfit size, and where one row alone does not fit into memory.
        """
        height, width = x.shape[-2:]
        factor = self.size_multiple_factor
        if height % factor or width % factor:
            raise InputError(f"Latents of {height}x{width} were given; both sides must be multiples of {factor}.")
        latents = torch.cat([degraded, _held(reference, degraded)], dim=2)
        # what ComfyUI tells patches of each part of a batch: 0 is the guided half, 1 the other
        half = int(reference is None and tokens is None)
        context = self._context(len(x), tokens)
        return self._batch.run(
            lambda rows: self._denoise(x[rows], sigma, latents[rows], context[rows], task, half),
            x.shape[0],
            f"A window of {x.shape[1]} frames does not fit: choose a shorter window or smaller crops.",
            1 if is_compiled(self.patcher.model_options) else None,  # else it is compiled for one row and for two
        )

    def _context(self, rows: int, tokens: Tensor | None) -> Tensor:
        """What the network attends to, (B,T,c): the tokens, none, or zeros if something attached wants to see some."""
        if tokens is not None:
            return tokens.to(self.device)
        count = _TOKENS if self._options and needs_tokens(self._options["transformer_options"]) else 0
        return torch.zeros(rows, count, self.token_width, device=self.device)

    def _denoise(self, x: Tensor, sigma: float, latents: Tensor, tokens: Tensor, task: Tensor, half: int) -> Tensor:
        """One call: x (B,F,4,h,w), latents (B,F,8,h,w), tokens (B,T,c); half is 1 without reference and tokens."""
        if self._options is None:
            raise RuntimeError("The backend was called outside its load().")
        comfy.model_management.throw_exception_if_processing_interrupted()
        model, frames = self.patcher.model, x.shape[1]
        noisy, latents = (value.flatten(0, 1).to(self.device) for value in (x, latents))
        context = tokens[:, None].expand(-1, frames, -1, -1).flatten(0, 1)
        level = torch.full((len(noisy),), sigma, device=self.device)
        halves = [half] * len(x)
        given = {
            "c_concat": latents,
            "c_crossattn": context,
            "y": model.embed_task(task.to(self.device)).expand(len(noisy), -1),
            "num_video_frames": frames,
            "transformer_options": {
                **self._options["transformer_options"],
                "cond_or_uncond": halves,
                "sigmas": level[:1],
            },
        }
        wrapper = self._options.get("model_function_wrapper")
        if wrapper is None:
            estimate: Tensor = model.apply_model(noisy, level, **given)
        else:
            arguments = {"input": noisy, "timestep": level, "c": given, "cond_or_uncond": halves}
            estimate = wrapper(model.apply_model, arguments)
        return rearrange(estimate.float(), "(b f) c h w -> b f c h w", b=x.shape[0])


def _held(reference: Tensor | None, degraded: Tensor) -> Tensor:
    """The reference's latents beside each frame, (B,F,4,h,w); zeros without one."""
    return torch.zeros_like(degraded) if reference is None else reference[:, None].expand_as(degraded)


class _SVFRConfig(comfy.supported_models.SVD_img2vid):
    """ComfyUI's description of the model, from a config: stock ones guess from keys, which do not tell the heads."""

    unet_extra_config: ClassVar[dict[str, Any]] = {}


def _network_arguments(config: Mapping[str, Any] | None, path: Path | str) -> dict[str, Any]:
    """ComfyUI's constructor arguments of the UNet that diffusers builds from config; None is the published one."""
    try:
        check_config(PUBLISHED_CONFIG if config is None else config)
        config = {**PUBLISHED_CONFIG, **(config or {})}
        head_width = _head_width(config)
    except InputError as error:
        raise WeightsError(f"{path} describes no usable network in its metadata: {error}") from error
    channels = config["block_out_channels"]
    layers = _per_level(config["layers_per_block"], channels)
    depths = _per_level(config["transformer_layers_per_block"], channels)
    down = [depth if "Attn" in kind else 0 for kind, depth in zip(config["down_block_types"], depths, strict=True)]
    # diffusers lists the way up from the coarsest level; ComfyUI, like the way down, from the finest
    kinds = config["up_block_types"][::-1]
    up = [depth if "Attn" in kind else 0 for kind, depth in zip(kinds, depths, strict=True)]
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "channel_mult": multiples(channels),
        "num_res_blocks": layers,
        "transformer_depth": [depth for depth, count in zip(down, layers, strict=True) for _ in range(count)],
        "transformer_depth_middle": depths[-1],
        "transformer_depth_output": [depth for depth, count in zip(up, layers, strict=True) for _ in range(count + 1)],
        "num_heads": -1,
        "num_head_channels": head_width,
        "context_dim": config["cross_attention_dim"],
        "num_classes": "sequential",
        "adm_in_channels": config["projection_class_embeddings_input_dim"],
        "use_checkpoint": False,
        "use_spatial_transformer": True,
        "legacy": False,
        **_VIDEO,
    }


_VIDEO: dict[str, Any] = {
    "use_linear_in_transformer": True,
    "use_temporal_resblock": True,
    "use_temporal_attention": True,
    "disable_temporal_crossattention": False,
    "use_spatial_context": True,
    "extra_ff_mix_layer": True,
    "merge_strategy": "learned_with_images",
    "merge_factor": 0.0,
    "video_kernel_size": [3, 1, 1],
    "attn_precision": torch.float32,
}
"""What makes ComfyUI's UNet the one of Stable Video Diffusion.

attn_precision is for half precision and the sub-quadratic and split kernels, whose error it lowers from 5.6e-3 to
3.7e-4 (4096 tokens of 64 channels, logits of deviation 9), that of torch's own kernel, which accumulates so anyway.
"""


def _head_width(config: Mapping[str, Any]) -> int:
    """Channels of one attention head, the same at every level: ComfyUI's network knows no other."""
    channels = config["block_out_channels"]
    heads = _per_level(config["num_attention_heads"], channels)
    widths = [width // count for width, count in zip(channels, heads, strict=True)]
    if len(set(widths)) != 1:
        raise InputError(
            f"{heads} attention heads give {widths} channels per head at its levels; ComfyUI's network needs the same "
            "number at each."
        )
    return int(widths[0])


def _per_level(value: int | Sequence[int], channels: Sequence[int]) -> list[int]:
    return [value] * len(channels) if isinstance(value, int) else list(value)


class _PlainLayers:
    """torch's own layers as ComfyUI's networks ask for them.

    ComfyUI's Linear holds no weight before it is loaded where DynamicVRAM is on, so it cannot say what shape it needs.
    """

    Linear, LayerNorm, GroupNorm = nn.Linear, nn.LayerNorm, nn.GroupNorm
    Conv2d, Conv3d = nn.Conv2d, nn.Conv3d

    @classmethod
    def conv_nd(cls, dims: int, *args: Any, **kwargs: Any) -> nn.Module:
        """A convolution over 2 or 3 dimensions."""
        return (cls.Conv2d if dims == 2 else cls.Conv3d)(*args, **kwargs)


def _plain_network(arguments: Mapping[str, Any]) -> UNetModel:
    """The network without memory for weights, to check a checkpoint against."""
    return UNetModel(**arguments, device=torch.device("meta"), operations=_PlainLayers)


def _renamed(state_dict: Mapping[str, Tensor], path: Path | str) -> dict[str, Tensor]:
    try:
        return convert_unet(state_dict)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error} {weight_file(ROLE).source}") from error


def _set_norm_eps(network: UNetModel) -> None:
    """Give GroupNorms the eps that diffusers gives them by the kind of block; ComfyUI has 1e-5 in all.

    1e-6 in blocks with attention on the way down and in all on the way up (docs/reference/svfr.md#unet).
    """
    down = [block for block in network.input_blocks if len(block) > 1]
    for block in (*down, *network.output_blocks):
        for part in block:
            if isinstance(part, VideoResBlock):
                for half in (part, part.time_stack):
                    half.in_layers[0].eps = half.out_layers[0].eps = NORM_EPS


def _patcher_class(disable_dynamic: bool) -> type[comfy.model_patcher.ModelPatcher]:
    """The class ComfyUI loads models with at this moment; main.py exchanges it when DynamicVRAM is on."""
    plain = comfy.model_patcher.ModelPatcher
    chosen: type[comfy.model_patcher.ModelPatcher] = getattr(comfy.model_patcher, "CoreModelPatcher", plain)
    return plain if disable_dynamic else chosen
