"""A clip to begin with: no video has to be found before a workflow can be run."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from comfy_api.latest import InputImpl, Types, io

from ..svfr_model.runs.samples import SampleOptions, make_sample
from .images import from_masks, from_pictures
from .search import aliases
from .widgets import inputs_of, made

FPS = Fraction(25)


class SampleClip(io.ComfyNode):
    """A drawn or photographed person, damaged."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """What to show, and what is wrong with it."""
        return io.Schema(
            node_id="SVFRSampleClip",
            display_name="SVFR Sample Clip",
            category="SVFR",
            **aliases("sample video, test video, example clip, demo video, test footage, load video"),
            description="Makes a short damaged clip, so that a workflow can be tried at once, and beside it the truth, "
            "with which a result can be compared. Put Load Video in its place to work on your own video.",
            inputs=inputs_of(SampleOptions),
            outputs=[
                io.Video.Output("video", tooltip="The damaged clip, in the place of Load Video."),
                io.Image.Output("frames", tooltip="The same as frames."),
                io.Image.Output("truth", tooltip="The clip undamaged, for SVFR Compare and SVFR Metrics."),
                io.Mask.Output("mask", tooltip="Where something is missing, 1 for missing: one mask for each frame."),
                io.Image.Output(
                    "portrait", tooltip="Another picture of the same person, undamaged, for SVFR ID Embedding."
                ),
            ],
        )

    @classmethod
    def execute(cls, **widgets: Any) -> io.NodeOutput:
        """Make it."""
        sample = make_sample(made(SampleOptions, widgets))
        frames = from_pictures(sample.damaged)
        video = InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=None, frame_rate=FPS))
        truth, portrait = from_pictures(sample.truth), from_pictures([sample.portrait])
        return io.NodeOutput(video, frames, truth, from_masks(sample.masks), portrait)
