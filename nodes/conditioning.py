"""SVFR for ComfyUI's own samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.model_patcher
import comfy.sd
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.tasks import Tasks, task_vector
from ..svfr_model.engine.conditioning import encode_clip
from ..svfr_model.engine.restore import encode_reference
from .model import OWNER_KEY, TASK_KEY, ForSVFROnly
from .networks import check_width, running
from .notice import notice
from .progress import Progress
from .sampling import clip_inputs, identity_input, mask_input, prepare_clip, reference_inputs
from .search import aliases

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector
    from ..svfr_model.networks.identity import Identity


class Conditioning(io.ComfyNode):
    """What the network is told, as CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Positive, negative and the latent to start from."""
        return io.Schema(
            node_id="SVFRConditioning",
            display_name="SVFR Conditioning",
            category="SVFR/sampling",
            **aliases("SVD conditioning, KSampler video, image to video conditioning"),
            description="Prepares conditioning for KSampler or SamplerCustomAdvanced. These treat the whole clip as "
            "one window, so use it for about 16 frames; use SVFR Sampler for longer clips.",
            inputs=[*clip_inputs(), mask_input(), *reference_inputs(), identity_input()],
            outputs=[
                io.Conditioning.Output("positive", tooltip="Conditioning with reference and identity."),
                io.Conditioning.Output("negative", tooltip="Conditioning without them."),
                io.Latent.Output("latent", tooltip="The degraded frames: sample from here, with denoise 1."),
                io.Image.Output(
                    "shown",
                    tooltip="What the network is shown: grey for colorization, white where something is missing.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: comfy.model_patcher.ModelPatcher,
        vae: comfy.sd.VAE,
        crops: Tensor,
        task: Tasks,
        mask: Tensor | None = None,
        reference: Tensor | None = None,
        detector: FaceDetector | None = None,
        identity: Identity | None = None,
    ) -> io.NodeOutput:
        """Encode what is shown."""
        with running(model, vae) as networks:
            check_width(identity, networks)
            prepared = prepare_clip(networks, crops, task, mask, reference, detector)
            progress = Progress({"encode": len(crops)})
            clip = encode_clip(networks.vae, prepared.pixels, task, prepared.mask, callback=progress)
            shown = encode_reference(networks.vae, prepared.reference)
        tokens = torch.zeros(1, networks.backend.token_width) if identity is None else identity.tokens
        vector = task_vector(task)
        nothing = torch.zeros_like(clip.degraded)
        referred = nothing if shown is None else shown.expand_as(nothing)
        latent = clip.start.to(comfy.model_management.intermediate_device())
        return io.NodeOutput(
            _conditioning(tokens, clip.degraded, referred, vector),
            _conditioning(torch.zeros_like(tokens), clip.degraded, nothing, vector),
            {"samples": latent},
            prepared.shown(),
            ui=notice(*prepared.faults),
        )


def _conditioning(tokens: Tensor, degraded: Tensor, reference: Tensor, task: tuple[int, int, int]) -> list[Any]:
    """ComfyUI's CONDITIONING of one entry, see SVFRModel."""
    latents = torch.cat([degraded, reference], dim=1)
    owner = {OWNER_KEY: ForSVFROnly()}
    return [[tokens[None], {"concat_latent_image": latents, TASK_KEY: task, "model_conds": owner}]]
