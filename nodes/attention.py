"""Cross-attention of ComfyUI's video UNet with less work: the same numbers from the same weights.

ComfyUI copies a window's tokens for each pixel before the temporal cross-attention computes keys and values of them,
and attends to tokens that are all zero. Where the user has attached something that looks at these, all is computed as
ComfyUI does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy.ldm.modules.attention import BasicTransformerBlock, CrossAttention, SpatialVideoTransformer
from torch import Tensor, nn

_WINDOW_TOKENS = "svfr_window_tokens"
"""Under this name a transformer's options carry each window's tokens (B,T,c) to its temporal blocks."""


def lighten(network: nn.Module) -> None:
    """Let the video transformers of a UNetModel compute as those below do; its weights stay as they are."""
    for part in network.modules():
        if isinstance(part, SpatialVideoTransformer):
            part.__class__ = _VideoTransformer
            part.use_spatial_context = False  # it would copy the tokens for each pixel
            for block in (*part.transformer_blocks, *part.time_stack):
                block.attn2.__class__ = _SharedTokensAttention
            for block in part.time_stack:
                block.__class__ = _TemporalBlock


def needs_tokens(transformer_options: Mapping[str, Any]) -> bool:
    """Whether something is attached that a call without tokens would leave out: patches of attn2, another attention."""
    patches = transformer_options.get("patches", {})
    return (
        "optimized_attention_override" in transformer_options
        or _replaced(transformer_options)
        or any(name.startswith("attn2") for name in patches)
    )


def _replaced(transformer_options: Mapping[str, Any]) -> bool:
    return bool(transformer_options.get("patches_replace", {}).get("attn2"))


class _VideoTransformer(SpatialVideoTransformer):
    """Hands each window's tokens to the temporal blocks once."""

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        time_context: Tensor | None = None,
        timesteps: int = 1,
        image_only_indicator: Tensor | None = None,
        transformer_options: dict[str, Any] | None = None,
    ) -> Any:
        """From x (B*F,C,h,w) and tokens (B*F,T,c), F being timesteps."""
        options = {} if transformer_options is None else transformer_options
        shared = context if time_context is None else time_context
        options[_WINDOW_TOKENS] = shared[::timesteps]
        made = super().forward(x, context, None, timesteps, image_only_indicator, options)
        del options[_WINDOW_TOKENS]
        return made


class _TemporalBlock(BasicTransformerBlock):
    """Attends over time, with x (B*pixels,F,C) and one set of tokens for all pixels of a window."""

    def forward(
        self, x: Tensor, context: Tensor | None = None, transformer_options: dict[str, Any] | None = None
    ) -> Any:
        """Patches of the cross-attention are given the tokens as ComfyUI would: once for each pixel."""
        options = {} if transformer_options is None else transformer_options
        tokens = options.get(_WINDOW_TOKENS, context)
        if tokens is not None and (_replaced(options) or "attn2_patch" in options.get("patches", {})):
            pixels = len(x) // len(tokens)
            tokens = tokens[:, None].expand(-1, pixels, -1, -1).flatten(0, 1)
        return super().forward(x, context=tokens, transformer_options=options)


class _SharedTokensAttention(CrossAttention):
    """Cross-attention to tokens that many rows share, or to none."""

    def forward(self, x: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Attend from x (B,S,C) to context (b,T,c), b a divisor of B; row i serves those from i * B / b on.

        Without tokens, T = 0, the result is (1,1,C): what the output projection, with any LoRA on it, makes of nothing.
        Zero tokens would give just that, to the bit, as keys and values have no bias.
        """
        if not context.shape[1]:
            return self.to_out(x.new_zeros(1, 1, self.heads * self.dim_head))
        if len(context) == len(x):
            return super().forward(x, context, *args, **kwargs)
        folded = x.reshape(len(context), -1, x.shape[-1])
        return super().forward(folded, context, *args, **kwargs).view_as(x)
