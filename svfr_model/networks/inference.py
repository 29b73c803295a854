"""Parts of diffusers' UNet that compute the same with less work.

Three things that diffusers does are left out: keys and values of the temporal cross-attention are not computed for
every pixel from tokens that all pixels share, there is no cross-attention on no tokens, and, without gradients, nothing
is divided by 1. Training keeps the first: copies of the tokens for every pixel would fill a graphics card.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from einops import rearrange, repeat
from torch import Tensor, nn


def lighten(network: nn.Module) -> None:
    """Let a UNetSpatioTemporalConditionModel's parts compute as those below do; its weights stay as they are."""
    for part in network.modules():
        if isinstance(part, Attention):
            part.set_processor(SharedTokensAttention())
        elif type(part) is TransformerSpatioTemporalModel:
            part.__class__ = SharedTokensTransformer
        elif type(part) is ResnetBlock2D and part.output_scale_factor == 1:
            part.__class__ = PlainResnet


class SharedTokensAttention:
    """The attention processor: torch's own attention, with tokens that may be shared by many rows, or none.

    Of the Attention it uses what Stable Video Diffusion's has: projections, and neither masks nor norms.
    """

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Attend from hidden_states (B,S,C) to themselves or to tokens (b,T,c), b a divisor of B.

        Row i of the tokens serves the rows from i * B / b on. Without tokens, T = 0, the result is (1,1,C): what the
        output projection makes of nothing, the same everywhere. Zero tokens would give just that, to the bit, as keys
        and values have no bias.
        """
        tokens = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if not tokens.shape[1]:
            nothing = hidden_states.new_zeros(1, 1, attn.to_out[0].in_features)
            return _projected(attn, nothing)
        folded = hidden_states.reshape(len(tokens), -1, hidden_states.shape[-1])
        query, key, value = (
            rearrange(part, "b s (heads c) -> b heads s c", heads=attn.heads)
            for part in (attn.to_q(folded), attn.to_k(tokens), attn.to_v(tokens))
        )
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return _projected(attn, rearrange(attended, "b heads s c -> b s (heads c)")).view_as(hidden_states)


def _projected(attn: Attention, attended: Tensor) -> Tensor:
    projection, dropout = attn.to_out
    projected: Tensor = dropout(projection(attended))
    return projected


class SharedTokensTransformer(TransformerSpatioTemporalModel):
    """Gives the temporal attention each window's tokens once, where diffusers copies them for each pixel."""

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        image_only_indicator: Tensor,
        return_dict: bool = True,
    ) -> Any:
        """From hidden_states (B*F,C,h,w) and tokens (B*F,T,c), F the length of image_only_indicator (B,F)."""
        if return_dict or self.gradient_checkpointing:  # diffusers' own knows of its checkpointing
            return super().forward(hidden_states, encoder_hidden_states, image_only_indicator, return_dict)
        frames, height = image_only_indicator.shape[-1], hidden_states.shape[-2]
        x = self.proj_in(rearrange(self.norm(hidden_states), "b c h w -> b (h w) c"))
        position = repeat(torch.arange(frames, device=x.device), "f -> (b f)", b=len(x) // frames)
        position = self.time_pos_embed(self.time_proj(position).to(x.dtype))[:, None]
        for block, temporal_block in zip(self.transformer_blocks, self.temporal_transformer_blocks, strict=True):
            x = block(x, encoder_hidden_states=encoder_hidden_states)
            mixed = temporal_block(
                x + position, num_frames=frames, encoder_hidden_states=encoder_hidden_states[::frames]
            )
            x = self.time_mixer(x_spatial=x, x_temporal=mixed, image_only_indicator=image_only_indicator)
        return (rearrange(self.proj_out(x), "b (h w) c -> b c h w", h=height).contiguous() + hidden_states,)


class PlainResnet(ResnetBlock2D):
    """A residual block of Stable Video Diffusion, whose sum is not scaled."""

    def forward(self, input_tensor: Tensor, temb: Tensor, *args: Any, **kwargs: Any) -> Any:
        """From (B,C,h,w) and the time embedding (B,c) to (B,C',h,w)."""
        if torch.is_grad_enabled():
            return super().forward(input_tensor, temb, *args, **kwargs)
        hidden = self.conv1(self.nonlinearity(self.norm1(input_tensor)))
        hidden = hidden + self.time_emb_proj(self.nonlinearity(temb))[:, :, None, None]
        hidden = self.conv2(self.nonlinearity(self.norm2(hidden)))
        return hidden + (input_tensor if self.conv_shortcut is None else self.conv_shortcut(input_tensor))
