"""From a first pass to a second: the frame to refer to, whose face it shows, and how far colours have moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.engine.options import ReferrerOptions
from ..svfr_model.faces.color import color_shift
from .images import from_network, to_planar
from .networks import ResidentReferrer
from .search import aliases
from .types import DetectorType, EncoderType, IdentityType, ResidentEncoder, TrackType
from .widgets import folded, inputs_of, made

if TYPE_CHECKING:
    from ..svfr_model.faces.face import FaceDetector
    from ..svfr_model.faces.track import PlannedCrop

NOT_MEASURED = -1.0
"""Colour shift where there is nothing to compare with."""


class SelfReference(io.ComfyNode):
    """Chooses the reference for a second pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Frames in, a picture and an identity out."""
        return io.Schema(
            node_id="SVFRSelfReference",
            display_name="SVFR Self-Reference",
            category="SVFR/sampling",
            **aliases("best frame, sharpest frame, reference frame, two passes"),
            description="Picks a frame of a first pass as the reference and reads the identity from it. Wired to a "
            "second SVFR Sampler, the clip refines itself. Restoring the first 16 frames for it is enough.",
            inputs=[
                io.Image.Input("frames", tooltip="The restored frames of the first pass."),
                *folded(referrer_inputs(), "choice", "index"),
                io.Image.Input(
                    "crops",
                    optional=True,
                    tooltip="The crops that the first pass was given, to measure how far the colours have shifted. "
                    "Default: not measured.",
                ),
                track_input(),
            ],
            outputs=[
                *reference_outputs(),
                io.Float.Output(
                    "color_shift",
                    tooltip="Distance between the mean colours of the input and the first pass, in LAB: about 2 is "
                    "just visible; if it is much more, try another seed. -1 if no crops were given. Meaningless for "
                    "colorization.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        detector: FaceDetector,
        encoder: ResidentEncoder,
        crops: Tensor | None = None,
        track: PlannedCrop | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Choose, and measure."""
        referrer = ResidentReferrer(detector, encoder, made(ReferrerOptions, widgets))
        chosen = referrer.choose(frames, landmarks_of(track, len(frames)))
        shift = NOT_MEASURED
        if crops is not None:
            shift = color_shift(to_planar(crops[: len(frames)]), to_planar(frames))
        return io.NodeOutput(from_network(chosen.picture[None]), chosen.identity, chosen.score, chosen.index, shift)


def landmarks_of(track: PlannedCrop | None, count: int) -> Tensor | None:
    """Where the face is in the first count crops, (count,5,2)."""
    return None if track is None else torch.from_numpy(track.landmarks[:count])


def referrer_inputs() -> list[io.Input]:
    """The inputs that say how the first pass is looked at."""
    return [
        DetectorType.Input("detector", tooltip="From Load Face Detector; finds the face in the first pass."),
        EncoderType.Input("encoder", tooltip="From Load SVFR Identity Encoder; reads the identity from it."),
        *inputs_of(ReferrerOptions),
    ]


def track_input() -> io.Input:
    """Where the face is known to be."""
    return TrackType.Input(
        "track",
        optional=True,
        tooltip="The track from SVFR Face Crop: if no face is found in the first pass, it is taken from where it was "
        "in the degraded clip. Without it, that is an error.",
    )


def reference_outputs() -> list[io.Output]:
    """What a first pass hands to the second."""
    return [
        io.Image.Output("reference", tooltip="The chosen frame, for the input reference of a second SVFR Sampler."),
        IdentityType.Output(
            "seen", display_name="identity", tooltip="Whose face it shows, for the second SVFR Sampler."
        ),
        io.Float.Output(
            "score",
            tooltip="How well the frame suits, 0 to 1: detector confidence times frontality times sharpness relative "
            "to the sharpest frame. 0 if no face was found in it.",
        ),
        io.Int.Output("chosen", display_name="index", tooltip="The number of the chosen frame."),
    ]
