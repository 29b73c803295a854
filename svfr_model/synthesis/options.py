"""How a clip is damaged: the options of the degradations."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias

from ..base.errors import InputError
from ..base.options import MOST_SEED, Range, Widget, option, options
from ..base.tasks import Task, Tasks

Codec: TypeAlias = Literal["h264", "mpeg4", "none"]
Order: TypeAlias = Literal["paper", "code"]
MaskKind: TypeAlias = Literal["brush", "box", "any"]


@options
class LowQuality:
    """Ranges of the blind-restoration degradation, each drawn uniformly. The defaults are BFVR-STC's."""

    sigma: tuple[float, float] = option(
        default=(2.0, 5.0),
        within=Range(0.0),
        help="Standard deviation of the Gaussian blur, in pixels of a picture of 512 pixels.",
        flag=None,
        widget=None,
    )
    shrink: tuple[float, float] = option(
        default=(2.0, 4.0), within=Range(1.0), help="By which factor the picture is shrunk.", flag=None, widget=None
    )
    noise: tuple[float, float] = option(
        default=(0.0, 5.0),
        within=Range(0.0),
        help="Standard deviation of the noise, in grey levels of 255.",
        flag=None,
        widget=None,
    )
    crf: tuple[int, int] = option(
        default=(18, 25),
        within=Range(0, 51),
        help="Quality of the codec; for mpeg4 it is converted from H.264's 51 levels to the nearest of the codec's "
        "own 31.",
        flag=None,
        widget=None,
    )
    codec: Codec = option(default="h264", help="What compresses the clip.", flag=None, widget=None)
    order: Order = option(
        default="paper",
        help="Which picture is compressed: the small one (paper), or the one enlarged again (code, as in BFVR-STC's "
        "code).",
        flag=None,
        widget=None,
    )
    per_frame: bool = option(
        default=False,
        help="Draw new values for every frame, which the paper found worse; crf stays the same, since the codec sees "
        "the clip as a whole.",
        flag=None,
        widget=None,
    )

    def __post_init__(self) -> None:
        """Refuse ranges that do not ascend."""
        for name in ("sigma", "shrink", "noise", "crf"):
            low, high = getattr(self, name)
            if low > high:
                raise InputError(f"{name} is the range {low}..{high}; it must ascend.")


@options
class DegradeOptions:
    """Which degradations a clip gets."""

    low_quality: LowQuality | None = None
    """Blur, shrinking, noise and compression, or None."""
    brightness_flicker: float = option(
        default=0.0,
        within=Range(0.0, 1.0),
        help="Chance that a frame is made darker or brighter, by a factor of 0.5 to 1.5. Higher values flicker more "
        "often; BFVR-STC uses 0.3.",
        widget=Widget(step=0.05),
    )
    pixel_flicker: float = option(
        default=0.0,
        within=Range(0.0, 255.0),
        help="Strength, in grey levels of 255, of a fine texture that changes from frame to frame, like the one "
        "diffusion upscalers leave behind; 12 is plainly visible.",
        widget=Widget(step=1.0),
    )
    gain: tuple[float, float] = option(
        default=(0.5, 1.5), within=Range(0.0), help="Range of the brightness flicker's factor.", flag=None, widget=None
    )
    grey: bool = option(default=False, help="Remove the colours.", flag=None, widget=None)
    mask: MaskKind | None = option(
        default=None, help="White brush strokes or boxes, or none.", flag=None, widget=None
    )
    moving: bool | None = option(
        default=None, help="Whether strokes or boxes move; by default that is drawn too.", flag=None, widget=None
    )


@options
class SeedOptions:
    """Which damage is drawn."""

    seed: int = option(
        default=0,
        within=Range(0, MOST_SEED),
        help="Seed of the random damage: the same seed and input give the same damage. Leaving out one kind of damage "
        "does not change the others.",
        widget=Widget(control=False),
    )


def options_for(
    tasks: Tasks, low_quality: LowQuality | None = None, flicker: DegradeOptions | None = None
) -> DegradeOptions:
    """What each task has to undo: low quality for bfr, grey for colorization, masks for inpainting.

    flicker: the options to which these are added, such as those of a flicker.
    """
    return replace(
        flicker or DegradeOptions(),
        low_quality=(low_quality or LowQuality()) if Task.BFR in tasks else None,
        grey=Task.COLORIZATION in tasks,
        mask="any" if Task.INPAINTING in tasks else None,
    )
