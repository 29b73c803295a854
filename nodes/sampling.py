"""What the sampling nodes share: their options, how a clip is made ready for the networks, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.pixels import degrade_for_tasks, pad_to_multiple
from ..svfr_model.base.progress import Callback
from ..svfr_model.base.tasks import Tasks
from ..svfr_model.engine.restore import Networks, RestoreOptions, SampledClip
from ..svfr_model.engine.windows import PlanName, WindowPlan
from ..svfr_model.faces.crop import CropOptions
from ..svfr_model.runs.portrait import cover, crop_portrait
from .images import from_network, from_pixels, to_mask, to_network, to_pictures, to_pixels
from .masks import as_mask, mask_or_picture, sampler_faults
from .types import DetectorType, IdentityType, TaskType

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector

DEFAULTS = RestoreOptions()


@dataclass(frozen=True)
class Given:
    """A clip ready for the networks: its sides are multiples of theirs, the edge being repeated at right and bottom.

    pixels (N,3,H,W) uint8; mask (1 or N,1,H,W) or None; reference (3,H,W) in [-1,1] or None; size: height and width
    before padding; faults: what is to be told of the mask.
    """

    pixels: Tensor
    tasks: Tasks
    mask: Tensor | None
    reference: Tensor | None
    size: tuple[int, int]
    faults: tuple[str, ...]

    def shown(self) -> Tensor:
        """IMAGE of what the network is shown: grey for colorization, white where something is missing."""
        return from_pixels(self._cut(degrade_for_tasks(self.pixels, self.tasks, self.mask)))

    def frames(self, restored: SampledClip, networks: Networks, options: RestoreOptions, callback: Callback) -> Tensor:
        """IMAGE of the restored frames, decoded chunk by chunk."""
        chunks = restored.decode(networks.vae, options, callback)
        return torch.cat([from_network(self._cut(chunk)) for chunk in chunks])

    def _cut(self, frames: Tensor) -> Tensor:
        return frames[..., : self.size[0], : self.size[1]]


def make_ready(
    networks: Networks,
    crops: Tensor,
    tasks: Tasks,
    mask: Tensor | None,
    reference: Tensor | None,
    detector: FaceDetector | None,
) -> Given:
    """From IMAGE and MASK. detector: finds the face in a reference picture that is not framed like the crops."""
    height, width = crops.shape[1:3]
    mask = as_mask(mask)
    if mask is not None and mask.ndim == 3:
        mask = mask[: len(crops)]  # a first pass over the first frames is given the whole clip's mask
    multiple = networks.size_multiple
    picture = None
    if reference is not None and detector is not None:
        picture = crop_portrait(to_pictures(reference[:1])[0], detector, CropOptions(size=(width, height)))
    elif reference is not None:
        picture = cover(to_network(reference[:1])[0], width, height)
    return Given(
        pad_to_multiple(to_pixels(crops), multiple),
        tasks,
        None if mask is None else pad_to_multiple(to_mask(mask, len(crops), (height, width)), multiple),
        None if picture is None else pad_to_multiple(picture, multiple),
        (height, width),
        tuple(sampler_faults(mask, (height, width), tasks)),
    )


def to_latent(restored: SampledClip, networks: Networks) -> dict[str, Tensor]:
    """LATENT of a sampled clip, without the padding of short shots; unscaled, as ComfyUI keeps latents."""
    latents = restored.latents[list(restored.kept)] / networks.vae.scaling_factor
    return {"samples": latents.to(comfy.model_management.intermediate_device())}


def sampling_options(widgets: dict[str, Any]) -> RestoreOptions:
    """The widgets' values; others than those of `sampling_inputs` go by their own names."""
    values = dict(widgets)
    guidance = values.pop("guidance_from"), values.pop("guidance_to")
    plan = WindowPlan(values.pop("plan"), values.pop("window"), values.pop("overlap"))
    return RestoreOptions(guidance=guidance, plan=plan, **values)


def clip_inputs() -> list[io.Input]:
    """The networks and what they work on."""
    return [
        io.Model.Input("model", tooltip="From Load SVFR Model; with LoRA and other patches, if you like."),
        io.Vae.Input("vae", tooltip="From Load SVFR VAE."),
        io.Image.Input(
            "crops",
            tooltip="The faces to restore, from SVFR Face Crop, or whole frames. Any size; what is no multiple of 64 "
            "is padded for the network and cut back.",
        ),
        TaskType.Input("task", tooltip="From SVFR Task Vector."),
    ]


def mask_input() -> io.Input:
    """Where something is missing."""
    return mask_or_picture(
        "Where the crops are missing something, 1 for missing: one for all frames or one for each; the first ones "
        "count where there are more. Used by the inpaint task only. Default: nothing is missing."
    )


def identity_input() -> io.Input:
    """Whose face it is."""
    return IdentityType.Input(
        "identity",
        optional=True,
        tooltip="Whose face it is, from SVFR ID Embedding or SVFR Self-Reference. Default: not told.",
    )


def reference_inputs() -> list[io.Input]:
    """A picture to refer to, and what frames it."""
    return [
        io.Image.Input(
            "reference",
            optional=True,
            tooltip="A good picture of the same face, from SVFR Self-Reference or from outside; its look and colours "
            "are carried over. Default: none.",
        ),
        DetectorType.Input(
            "detector",
            optional=True,
            tooltip="Wire it where the reference comes from outside: its face is then cut out like the clip's. Without "
            "it the middle of the picture is taken as it is, right for SVFR Self-Reference.",
        ),
    ]


def sampling_inputs() -> list[io.Input]:
    """The options of a pass."""
    return [
        io.Int.Input(
            "seed",
            default=DEFAULTS.seed,
            min=0,
            max=2**63 - 1,
            control_after_generate=True,
            tooltip="The noise to start from; the same on every machine. Default 77, the reference's.",
        ),
        io.Int.Input(
            "steps",
            default=DEFAULTS.steps,
            min=1,
            max=1000,
            tooltip="Denoising steps. Default 30, the reference's. More takes longer and follows the noise schedule "
            "more finely.",
        ),
        *_guidance_inputs(),
        *_window_inputs(),
        io.Float.Input(
            "strength",
            default=DEFAULTS.strength,
            min=0.01,
            max=1.0,
            step=0.01,
            tooltip="Part of the schedule that is run. Default 1. Less stays nearer to the degraded clip and is "
            "quicker.",
        ),
        *_decode_inputs(),
        io.Int.Input(
            "batch",
            default=DEFAULTS.batch,
            min=1,
            max=64,
            tooltip="Windows per network call, the guided and the unguided half of a window counting as two. Default "
            "2. More may be faster and takes more memory; 1 takes the least. Halved by itself when memory runs "
            "out.",
        ),
    ]


def _guidance_inputs() -> list[io.Input]:
    limits = {"min": 0.0, "max": 20.0, "step": 0.1}
    return [
        io.Float.Input(
            "guidance_from",
            default=DEFAULTS.guidance[0],
            **limits,
            tooltip="How strongly reference and identity are followed at the first step. Default 2. More follows "
            "them closer and can look harsh; 1 halves the work. Without both it has no effect.",
        ),
        io.Float.Input(
            "guidance_to",
            default=DEFAULTS.guidance[1],
            **limits,
            tooltip="The same at the last step; it rises or falls evenly in between. Default 2.",
        ),
    ]


def _window_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "window",
            default=DEFAULTS.plan.length,
            min=1,
            max=256,
            tooltip="Frames the network sees together. Default 16, what it was trained on. Less takes less memory, "
            "and the network sees less of the motion.",
        ),
        io.Int.Input(
            "overlap",
            default=DEFAULTS.plan.overlap,
            min=0,
            max=255,
            tooltip="Frames neighbouring windows share; less than the window. Default 3. More joins them better and "
            "takes longer.",
        ),
        io.Combo.Input(
            "plan",
            options=list(get_args(PlanName)),
            default=DEFAULTS.plan.name,
            tooltip='How windows are laid. "reference" (default) joins the clip\'s end to its start and overlaps in '
            'the first three steps only; "linear" never wraps around and always overlaps: slower, and for clips whose '
            "end is unlike their beginning.",
        ),
    ]


def _decode_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "decode_chunk",
            default=DEFAULTS.decode_chunk,
            min=1,
            max=256,
            tooltip="Frames decoded together. Default 16. It changes the result, because the decoder smooths over the "
            "frames it sees; less takes less memory.",
        ),
        io.Int.Input(
            "decode_overlap",
            default=DEFAULTS.decode_overlap,
            min=0,
            max=255,
            tooltip="Frames over which one chunk is faded into the next, so that joins do not show; less than the "
            "chunk. Default 4; 0 is the reference's way.",
        ),
    ]
