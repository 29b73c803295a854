"""The self-referred run of two passes in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.sd
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.tasks import Tasks
from ..svfr_model.engine.restore import Known, restore
from .images import from_network
from .networks import check_width, running
from .notice import notice
from .progress import Progress
from .sampling import (
    clip_inputs,
    identity_input,
    make_ready,
    mask_input,
    sampling_inputs,
    sampling_options,
    to_latent,
)
from .search import aliases
from .self_reference import landmarks_of, make_referrer, reference_outputs, referrer_inputs, track_input
from .types import ResidentEncoder

if TYPE_CHECKING:
    from ..svfr_model.engine.self_reference import Alignment
    from ..svfr_model.faces.face import FaceDetector
    from ..svfr_model.faces.track import PlannedCrop
    from ..svfr_model.networks.identity import Identity


class Restore(io.ComfyNode):
    """First pass, self-reference and second pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What Sampler, Self-Reference and Sampler take together."""
        return io.Schema(
            node_id="SVFRRestore",
            display_name="SVFR Restore",
            category="SVFR/sampling",
            **aliases(
                "face restore, restore face, face restoration, face enhance, enhance face, face upscale, video "
                "face, old film, old movie, scratch, scratches, dust, colorize, colourise, colourize, colorise, "
                "black and white, inpaint video, subtitle removal, deblur, denoise video, GFPGAN, CodeFormer, "
                "RestoreFormer, GPEN, SeedVR2, KEEP, DiffBIR, ReActor, FaceDetailer, roop, FaceFusion"
            ),
            description="Restores a clip of faces in two passes: the first window is restored, its best frame chosen "
            "as the reference, and the whole clip restored with it. The same as SVFR Sampler on the first frames, "
            "SVFR Self-Reference and SVFR Sampler with the next seed.",
            inputs=[
                *clip_inputs(),
                *referrer_inputs(),
                *sampling_inputs(),
                io.Int.Input(
                    "first_steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Steps of the first pass. Default 0, as many as of the second; the reference takes 50.",
                ),
                mask_input(),
                identity_input(),
                track_input(),
            ],
            outputs=[
                io.Image.Output("frames", tooltip="The restored frames, of the crops' size."),
                io.Latent.Output("latent", tooltip="The sampled latents, for VAE Decode or another sampler."),
                io.Image.Output(
                    "shown",
                    tooltip="What the network was shown: grey for colorization, white where something is missing.",
                ),
                *reference_outputs(),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: comfy.model_patcher.ModelPatcher,
        vae: comfy.sd.VAE,
        crops: Tensor,
        task: Tasks,
        detector: FaceDetector,
        encoder: ResidentEncoder,
        choice: str,
        index: int,
        alignment: Alignment,
        mask: Tensor | None = None,
        identity: Identity | None = None,
        track: PlannedCrop | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Two passes."""
        options = sampling_options({**widgets, "first_steps": widgets["first_steps"] or None})
        referrer = make_referrer(detector, encoder, choice, index, alignment)
        with running(model, vae, referrer) as networks:
            check_width(identity, networks)
            given = make_ready(networks, crops, task, mask, None, None)
            stages = {"first denoise": options.first_steps or options.steps, "denoise": options.steps}
            progress = Progress(stages, networks.backend.device)
            restored = restore(
                networks,
                given.pixels,
                task,
                options,
                known=Known(given.mask, identity=identity, landmarks=landmarks_of(track, len(crops))),
                callback=progress,
            )
            frames = given.frames(restored, networks, options, progress)
            first = restored.reference
            picture = from_network(first.picture[None, :, : given.size[0], : given.size[1]])
            latent, told = to_latent(restored, networks), notice(*given.faults)
            shown, person = given.shown(), first.identity
            return io.NodeOutput(frames, latent, shown, picture, person, first.score, first.index, ui=told)
