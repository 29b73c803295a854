"""What the sampling nodes share: the clip as the networks take it, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import comfy.model_management
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.pixels import degrade_for_tasks, pad_to_multiple
from ..svfr_model.base.progress import Callback
from ..svfr_model.base.tasks import Tasks
from ..svfr_model.engine.options import RestoreOptions
from ..svfr_model.engine.restore import Networks, SampledClip
from ..svfr_model.faces.options import CropOptions
from ..svfr_model.runs.portrait import cover, crop_portrait
from .images import from_network, from_pixels, to_mask, to_network, to_pictures, to_pixels
from .masks import as_mask, mask_or_picture, sampler_faults
from .types import DetectorType, IdentityType, TaskType

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector


@dataclass(frozen=True)
class PreparedClip:
    """A clip prepared for the networks: padded at the right and bottom to multiples of their size.

    pixels (N,3,H,W) uint8; mask (1 or N,1,H,W) or None; reference (3,H,W) in [-1,1] or None; size: height and width
    before padding; faults: what the user should know about the mask.
    """

    pixels: Tensor
    tasks: Tasks
    mask: Tensor | None
    reference: Tensor | None
    size: tuple[int, int]
    faults: tuple[str, ...]

    def shown(self) -> Tensor:
        """IMAGE of what the network sees: grey for colorization, white under the mask."""
        return from_pixels(self._cut(degrade_for_tasks(self.pixels, self.tasks, self.mask)))

    def frames(self, restored: SampledClip, networks: Networks, options: RestoreOptions, callback: Callback) -> Tensor:
        """IMAGE of the restored frames, decoded chunk by chunk."""
        chunks = restored.decode(networks.vae, options, callback)
        return torch.cat([from_network(self._cut(chunk)) for chunk in chunks])

    def _cut(self, frames: Tensor) -> Tensor:
        return frames[..., : self.size[0], : self.size[1]]


def prepare_clip(
    networks: Networks,
    crops: Tensor,
    tasks: Tasks,
    mask: Tensor | None,
    reference: Tensor | None,
    detector: FaceDetector | None,
) -> PreparedClip:
    """From IMAGE and MASK. detector: finds the face in a reference picture that is not framed like the crops."""
    height, width = crops.shape[1:3]
    mask = as_mask(mask)
    if mask is not None and mask.ndim == 3:
        mask = mask[: len(crops)]  # a first pass over the first frames gets the mask of the whole clip
    multiple = networks.size_multiple
    picture = None
    if reference is not None and detector is not None:
        picture = crop_portrait(to_pictures(reference[:1])[0], detector, CropOptions(size=(width, height)))
    elif reference is not None:
        picture = cover(to_network(reference[:1])[0], width, height)
    return PreparedClip(
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


def clip_inputs() -> list[io.Input]:
    """The networks and what they work on."""
    return [
        io.Model.Input("model", tooltip="From Load SVFR Model; with LoRA and other patches, if you like."),
        io.Vae.Input("vae", tooltip="From Load SVFR VAE."),
        io.Image.Input(
            "crops",
            tooltip="The faces to restore, from SVFR Face Crop, or whole frames. Any size: what is not a multiple of "
            "64 is padded for the network and cut back.",
        ),
        TaskType.Input("task", tooltip="From SVFR Tasks."),
    ]


def mask_input() -> io.Input:
    """Where something is missing."""
    return mask_or_picture(
        "Where the crops are missing something, 1 for missing: one mask for all frames, or one for each; the first "
        "ones count where there are more. Used by the inpaint task only. Default: nothing is missing."
    )


def identity_input() -> io.Input:
    """Whose face it is."""
    return IdentityType.Input(
        "identity",
        optional=True,
        tooltip="Whose face it is, from SVFR ID Embedding or SVFR Self-Reference. Default: none.",
    )


def reference_inputs() -> list[io.Input]:
    """A picture to refer to, and what frames it."""
    return [
        io.Image.Input(
            "reference",
            optional=True,
            tooltip="A good picture of the same face, from SVFR Self-Reference or elsewhere; its look and colours are "
            "carried over. Default: none.",
        ),
        DetectorType.Input(
            "detector",
            optional=True,
            tooltip="Wire it where the reference comes from outside: its face is then cut out like the clip's. Without "
            "it the middle of the picture is taken as it is, right for SVFR Self-Reference.",
        ),
    ]
