"""The options of a report."""

from __future__ import annotations

from ..base.options import Range, option, options

MOST_FRAMES, LEAST_SIZE, MOST_SIZE = 1000, 64, 1024


@options
class ReportOptions:
    """The clip that is restored."""

    frames: int = option(
        default=32,
        within=Range(1, MOST_FRAMES),
        unit="frames",
        help="Frames of the clip. More take longer.",
        widget=None,
    )
    size: int = option(
        default=512,
        within=Range(LEAST_SIZE, MOST_SIZE),
        unit="pixels",
        help="Width and height of the clip. 512 is what the published model was trained at.",
        widget=None,
    )
