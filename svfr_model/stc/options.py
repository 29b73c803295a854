"""How BFVR-STC enhances a clip: its options."""

from __future__ import annotations

from ..base.errors import InputError
from ..base.options import Flag, Range, Widget, option, options

MOST_FRAMES = 256
WINDOW = 24
"""Frames the published networks were trained on."""


@options
class EnhanceOptions:
    """How a clip is enhanced. Window and overlap are multiples of the network's temporal stride, 2."""

    window: int = option(
        default=WINDOW,
        within=Range(1, MOST_FRAMES),
        unit="frames",
        help="How many frames the network sees together, an even number. It was trained on 24; any other number "
        "changes the result. Fewer need less memory; 24 need about 2.6 GiB.",
        widget=Widget(range=(2, 240), step=2),
    )
    overlap: int = option(
        default=8,
        within=Range(0, MOST_FRAMES - 1),
        unit="frames",
        help="How many frames neighbouring windows share and blend, an even number below the window. More join the "
        "windows better and take longer.",
        widget=Widget(range=(0, 238), step=2),
    )
    low_frequency: bool = option(
        default=True,
        help="When de-flickering whole frames, add the network's change to the original frame, which keeps detail "
        "finer than the network's picture: for deflicker its smooth part, for deflicker_sd all of it. With this off, "
        "the network's own picture is enlarged to the frame's size.",
        flag=Flag("own-picture"),
    )
    stretch: bool = option(
        default=False,
        help="Stretch the contrast so that the clip's darkest value becomes black and its brightest white, as the "
        "reference does for viewing. This shifts brightness and contrast, and takes twice as long.",
    )

    def __post_init__(self) -> None:
        """Refuse windows that no network takes; `plan_windows` checks what a network's stride needs."""
        if self.overlap >= self.window:
            raise InputError(
                f"A window of {self.window} frames cannot overlap by {self.overlap}: the overlap must be smaller than "
                "the window."
            )
