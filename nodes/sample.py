"""One pass of SVFR over a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.samplers
import comfy.sd
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.tasks import Tasks
from ..svfr_model.engine.options import RestoreOptions
from ..svfr_model.engine.restore import Known, Sampling, restore
from .networks import check_width, running
from .notice import notice
from .phases import Phases, Work, id_of
from .presets import chosen, preset_input
from .sampling import (
    clip_inputs,
    identity_input,
    mask_input,
    prepare_clip,
    reference_inputs,
    to_latent,
)
from .search import aliases
from .solver import native_solver
from .widgets import folded, inputs_of

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector
    from ..svfr_model.networks.identity import Identity

ONLY_TWO_PASSES = ("passes", "first_steps", "first_levels")
"""What a node of one pass has no inputs for."""


class Sampler(io.ComfyNode):
    """One pass over one clip of crops."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A clip in, a clip out."""
        return io.Schema(
            node_id="SVFRSampler",
            display_name="SVFR Sampler",
            category="SVFR/sampling",
            **aliases(
                "face restore, video face, face enhance, restore face, KSampler, GFPGAN, CodeFormer, SeedVR2, "
                "KEEP, inpaint video, colourise, old film, scratch"
            ),
            description="Restores a clip of faces of any length in one pass, window by window.",
            inputs=[
                *clip_inputs(),
                *folded(
                    [*inputs_of(RestoreOptions, without=ONLY_TWO_PASSES), preset_input(without=ONLY_TWO_PASSES)],
                    *("seed", "steps", "strength", "preset"),
                ),
                mask_input(),
                *reference_inputs(),
                identity_input(),
                io.Sampler.Input(
                    "sampler",
                    optional=True,
                    tooltip="Any of ComfyUI's samplers except the cfg_pp ones, to use instead of Euler (default).",
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Noise levels to use instead of steps, strength, levels and the preset's levels. Default: "
                    "Karras, from 700 to 0.002.",
                ),
            ],
            outputs=[
                io.Image.Output("frames", tooltip="The restored frames, at the crops' size."),
                io.Latent.Output("latent", tooltip="The sampled latents, for VAE Decode or another sampler."),
                io.Image.Output(
                    "shown",
                    tooltip="What the network was shown: grey for colorization, white where something is missing.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
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
        sampler: comfy.samplers.Sampler | None = None,
        sigmas: Tensor | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Encode, sample, decode."""
        kept = ONLY_TWO_PASSES if sigmas is None else (*ONLY_TWO_PASSES, "steps", "levels")
        options, told = chosen(widgets, kept, passes=1)
        progress = Phases(id_of(cls), None, model.load_device)
        with running(model, vae, callback=progress) as networks:
            check_width(identity, networks)
            prepared = prepare_clip(networks, crops, task, mask, reference, detector)
            given = None if sigmas is None else sigmas.tolist()
            progress.plan(0, [len(crops)], options, given, Work.of(model, vae, prepared.pixels.shape))
            restored = restore(
                networks,
                prepared.pixels,
                task,
                options,
                known=Known(prepared.mask, prepared.reference, identity),
                sampling=Sampling(
                    solver=None if sampler is None else native_solver(sampler, model, options.seed),
                    sigmas=given,
                ),
                callback=progress,
            )
            frames = prepared.frames(restored, networks, options, progress)
            progress.finished()
            ui = notice(*prepared.faults, told=told)
            return io.NodeOutput(frames, to_latent(restored, networks), prepared.shown(), ui=ui)
