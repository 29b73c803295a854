"""Before and after beside each other, frame by frame; the page's part is web/js/compare.js."""

from __future__ import annotations

from fractions import Fraction

from comfy_api.latest import Input, io
from torch import Tensor

from ..svfr_model.base.errors import InputError
from ..svfr_model.faces.track import PlannedCrop
from .compare_files import Pair, write_overlay, write_pair
from .masks import as_mask
from .notice import notice
from .progress import Progress
from .search import aliases, essential
from .types import TrackType
from .video_files import frames_of, to_video
from .widgets import folded

OUTPUT = "svfr_compare"
"""The key under which the page finds what it is to show."""


class Compare(io.ComfyNode):
    """Two clips, a page that shows both at the same moment, and one video of both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Takes lists, so that all tracks of SVFR Face Crop come at once."""
        return io.Schema(
            node_id="SVFRCompare",
            display_name="SVFR Compare",
            category="SVFR",
            **aliases(
                "compare video, before after, video compare, side by side, wipe, slider, difference, image comparer, "
                "split screen, A/B"
            ),
            **essential("Video Tools"),
            description="Shows two clips at the same moment: wipe between them, see them side by side or in turn, step "
            "through the frames, zoom in on the face, and see what was found. Click on the picture for the keyboard.",
            is_output_node=True,
            is_input_list=True,
            inputs=[
                _clip("before", "The clip before, as VIDEO or IMAGE."),
                _clip("after", "The clip after, as VIDEO or IMAGE, compared frame by frame. Its size may be another."),
                *folded(_widgets(), "label_before", "label_after"),
                TrackType.Input(
                    "tracks",
                    optional=True,
                    tooltip="From SVFR Face Crop or Restore Video: boxes and crops are drawn over the picture, and "
                    "the page can zoom in on a face. Default: nothing is drawn.",
                ),
                io.MultiType.Input(
                    "mask",
                    [io.Mask, io.Image],
                    optional=True,
                    tooltip="What was missing, 1 or white for missing: its outline is drawn over the picture. One for "
                    "all frames, or one for each. Default: none.",
                ),
            ],
            outputs=[
                io.Video.Output("side_by_side", tooltip="Both in one video, with their labels, for Save Video."),
            ],
        )

    @classmethod
    def execute(
        cls,
        before: list[Tensor | Input.Video],
        after: list[Tensor | Input.Video],
        label_before: list[str],
        label_after: list[str],
        fps: list[float],
        tracks: list[PlannedCrop] | None = None,
        mask: list[Tensor] | None = None,
    ) -> io.NodeOutput:
        """Write what the page shows."""
        if not (before and after):
            raise InputError("There is nothing to compare: an empty list came from the node before.")
        labels = (label_before[0], label_after[0])
        rate = _rate(before[0], after[0], fps[0])
        with frames_of(before[0], rate) as first, frames_of(after[0], rate) as second:
            pair = write_pair(first, second, rate, labels, Progress({"compare": 100}))
            overlay = write_overlay(pair, tracks or [], as_mask(mask[0]) if mask else None)
        faults = _faults(pair, len(before), len(after))
        shown = {**pair.shown(), "labels": list(labels), "overlay": overlay.name}
        return io.NodeOutput(to_video(pair.together), ui={OUTPUT: [shown], **notice(*faults)})


def _clip(name: str, tooltip: str) -> io.Input:
    return io.MultiType.Input(name, [io.Video, io.Image], tooltip=tooltip)


def _widgets() -> list[io.Input]:
    return [
        io.String.Input("label_before", default="before", tooltip='Name of the first clip. Default: "before".'),
        io.String.Input("label_after", default="after", tooltip='Name of the second clip. Default: "after".'),
        io.Float.Input(
            "fps",
            default=25.0,
            min=1.0,
            max=240.0,
            step=0.01,
            tooltip="Frames a second of clips that come as IMAGE; a VIDEO has its own. Default: 25.",
        ),
    ]


def _rate(before: Tensor | Input.Video, after: Tensor | Input.Video, fps: float) -> Fraction:
    """Frames a second of what is shown: the first VIDEO's, or fps where there is none."""
    rates = [Fraction(clip.get_frame_rate()) for clip in (before, after) if not isinstance(clip, Tensor)]
    return (*rates, Fraction(fps).limit_denominator(1001))[0]


def _faults(pair: Pair, firsts: int, seconds: int) -> list[str]:
    """What is not compared."""
    faults = []
    if pair.counts[0] != pair.counts[1]:
        faults.append(
            f"The clip before has {pair.counts[0]} frames, the one after {pair.counts[1]}: only the first "
            f"{min(pair.counts)} are compared."
        )
    if max(firsts, seconds) > 1:
        faults.append(f"Lists of {firsts} and {seconds} clips came: only the first of each are compared.")
    return faults
