"""Presets: how much work goes into a run, as one choice. Each is a line of data; docs/speed.md has the evidence.

A preset replaces some fields of `RestoreOptions` and leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from ..base.options import Widget, option, options
from .options import EVERY_LEVEL, RestoreOptions

PresetName: TypeAlias = Literal["reference", "exact", "balanced", "fast", "preview"]


@dataclass(frozen=True)
class Preset:
    """What a preset sets.

    first, main: the noise levels of both passes, as a number of steps of the schedule or as `levels` takes them; first
    None: as the main pass. guidance: the noise levels between which the guidance scale counts. passes and
    decode_overlap: as in RestoreOptions. cost: work of 100 frames of 512x512 against the published code's with its
    schedule, as benchmarks/counted.py counts it.
    """

    first: int | str | None
    main: int | str
    guidance: tuple[float, float]
    passes: Literal[1, 2]
    decode_overlap: int
    cost: float

    def values(self) -> dict[str, Any]:
        """The fields of RestoreOptions that it replaces, by name."""
        first: dict[str, Any] = {"first_steps": None, "first_levels": ""}
        if self.first is not None:
            first["first_steps" if isinstance(self.first, int) else "first_levels"] = self.first
        steps = {"steps": self.main} if isinstance(self.main, int) else {}
        levels = {"levels": "" if isinstance(self.main, int) else self.main}
        return {
            **steps,
            **levels,
            **first,
            "guidance_sigmas": self.guidance,
            "passes": self.passes,
            "decode_overlap": self.decode_overlap,
        }


PRESETS: dict[PresetName, Preset] = {
    "reference": Preset(50, 30, EVERY_LEVEL, passes=2, decode_overlap=0, cost=0.787),
    "exact": Preset(None, 30, EVERY_LEVEL, passes=2, decode_overlap=4, cost=0.763),
    "balanced": Preset(None, "log-8", (0.3, 10.0), passes=2, decode_overlap=4, cost=0.199),
    "fast": Preset("few-3", "log-5", (0.3, 10.0), passes=2, decode_overlap=4, cost=0.149),
    "preview": Preset(None, "few-3", EVERY_LEVEL, passes=1, decode_overlap=4, cost=0.076),
}

WORDS: dict[PresetName, str] = {
    "reference": "the published schedule, first pass of 50 steps, then 30",
    "exact": "the defaults, 30 steps in both passes",
    "balanced": "8 noise levels in both passes, guidance between 0.3 and 10",
    "fast": "3 noise levels, then 5, guidance between 0.3 and 10",
    "preview": "one pass of 3 noise levels: another, softer picture",
}
"""What each is, for the help; the figures come from PRESETS."""

SAME: dict[str, tuple[str, ...]] = {"levels": ("steps", "schedule"), "first_levels": ("first_steps", "schedule")}
"""Fields that say in another way what the key says: where one of them is given, a preset does not set the key."""


@options
class PresetOptions:
    """One choice instead of several."""

    preset: PresetName | None = option(
        default=None,
        help="How much work goes into the result; the number is the counted work against the published code's. "
        + "; ".join(f"{name}: {WORDS[name]} ({PRESETS[name].cost:.2f})" for name in get_args(PresetName))
        + ". What they change was measured with svfr-tiny on drawn faces only, see docs/speed.md.",
        widget=Widget(unset="custom", late=True),
    )


def preset_values(name: PresetName, given: Collection[str] = ()) -> dict[str, Any]:
    """What a preset sets: fields of RestoreOptions by name, without those that are given."""
    overruled = {field for field, others in SAME.items() if any(other in given for other in others)}
    return {
        field: value
        for field, value in PRESETS[name].values().items()
        if field not in given and field not in overruled
    }


def with_preset(options: RestoreOptions, name: PresetName | None, given: Collection[str] = ()) -> RestoreOptions:
    """The options with what a preset sets, but for the fields that are given. None: the options as they are."""
    return options if name is None else replace(options, **preset_values(name, given))
