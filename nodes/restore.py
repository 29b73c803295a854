"""The self-referred run of two passes in one node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.model_patcher
import comfy.sd
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.tasks import Tasks
from ..svfr_model.engine.options import ReferrerOptions, RestoreOptions
from ..svfr_model.engine.restore import Known, restore
from .images import from_network
from .networks import ResidentReferrer, check_width, running
from .notice import notice
from .phases import Phases, Work, id_of
from .presets import chosen, preset_input
from .sampling import (
    clip_inputs,
    identity_input,
    mask_input,
    prepare_clip,
    to_latent,
)
from .search import aliases
from .self_reference import landmarks_of, reference_outputs, referrer_inputs, track_input
from .types import ResidentEncoder
from .widgets import folded, inputs_of, made

if TYPE_CHECKING:
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
                "RestoreFormer, GPEN, SeedVR2, KEEP, DiffBIR, ReActor, FaceDetailer, roop, FaceFusion, "
                "老电影, 上色, 去划痕, 高清修复, 白黒, 古い映画, 옛날 영화, 컬러화"
            ),
            description="Restores a clip of faces in two passes: it restores the first window, picks its best frame "
            "as the reference, then restores the whole clip with it. SVFR Sampler on the first frames, SVFR "
            "Self-Reference, and SVFR Sampler with the next seed give the same result.",
            inputs=[
                *clip_inputs(),
                *folded([*referrer_inputs(), *inputs_of(RestoreOptions), preset_input()], "seed", "steps", "preset"),
                mask_input(),
                identity_input(),
                track_input(),
            ],
            outputs=[
                io.Image.Output("frames", tooltip="The restored frames, at the crops' size."),
                io.Latent.Output("latent", tooltip="The sampled latents, for VAE Decode or another sampler."),
                io.Image.Output(
                    "shown",
                    tooltip="What the network was shown: grey for colorization, white where something is missing.",
                ),
                *reference_outputs(),
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
        detector: FaceDetector,
        encoder: ResidentEncoder,
        mask: Tensor | None = None,
        identity: Identity | None = None,
        track: PlannedCrop | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Two passes."""
        options, told = chosen(widgets)
        referrer = ResidentReferrer(detector, encoder, made(ReferrerOptions, widgets))
        progress = Phases(id_of(cls), None, model.load_device)
        with running(model, vae, referrer, progress) as networks:
            check_width(identity, networks)
            prepared = prepare_clip(networks, crops, task, mask, None, None)
            work = Work.of(model, vae, prepared.pixels.shape)
            progress.plan(0, [len(crops)], options, work=work)
            landmarks = landmarks_of(track, len(crops))
            restored = restore(
                networks,
                prepared.pixels,
                task,
                options,
                known=Known(prepared.mask, identity=identity, landmarks=landmarks),
                callback=progress,
            )
            frames = prepared.frames(restored, networks, options, progress)
            first = restored.reference
            if first is None:  # the preset has one pass: what would be taken over from it
                count = options.plan.length
                first = referrer.choose(frames[:count], None if landmarks is None else landmarks[:count])
            progress.finished()
            picture = from_network(first.picture[None, :, : prepared.size[0], : prepared.size[1]])
            latent, ui = to_latent(restored, networks), notice(*prepared.faults, told=told)
            shown, person = prepared.shown(), first.identity
            return io.NodeOutput(frames, latent, shown, picture, person, first.score, first.index, ui=ui)
