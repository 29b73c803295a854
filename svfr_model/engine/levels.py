"""Noise levels that a pass may take instead of those of a schedule: lists with a name, and lists that are given."""

from __future__ import annotations

import itertools

from ..base.errors import InputError

MOST_LEVEL = 10_000.0
"""The highest noise level that is taken; that of Stable Video Diffusion is 700."""
MOST_LEVELS = 1000

NAMED_LEVELS: dict[str, tuple[float, ...]] = {
    # The 30 Karras levels without the second to the sixth, as float32 holds them.
    "trimmed-25": (700.0, 184.42079162597656, 143.72915649414062, 110.98936462402344, 84.86189270019531,
                   64.19416046142578, 48.00025177001953, 35.442169189453125, 25.812503814697266, 18.518535614013672,
                   13.067688941955566, 9.054264068603516, 6.14739465713501, 4.0801825523376465, 2.639932155609131,
                   1.659435510635376, 1.0092498064041138, 0.5909002423286438, 0.3309538960456848, 0.17590415477752686,
                   0.08780478686094284, 0.04059506580233574, 0.017055965960025787, 0.006337853614240885,
                   0.0020000000949949026),
    "log-8": (700.0, 15.0, 5.98, 2.38, 0.949, 0.378, 0.151, 0.06),
    "log-5": (700.0, 8.0, 2.13, 0.565, 0.15),
    "few-3": (700.0, 3.0, 0.5),
}  # fmt: skip
"""Lists by name, without the final 0; what each costs and changes is measured in docs/speed.md#presets."""


def parse_levels(text: str) -> list[float]:
    """The noise levels that a text means, with the final 0; [] for an empty text.

    text: a name of NAMED_LEVELS, or numbers separated by commas, descending, above 0 (a 0 at the end may be given).
    Raises InputError.
    """
    words = text.strip()
    if not words:
        return []
    if words in NAMED_LEVELS:
        return [*NAMED_LEVELS[words], 0.0]
    try:
        levels = [float(word) for word in words.split(",")]
    except ValueError:
        raise InputError(
            f"Noise levels are {', '.join(NAMED_LEVELS)}, or numbers separated by commas such as 700,15,3,0.5, "
            f"not {text[:60]!r}."
        ) from None
    levels = levels if levels[-1] == 0 else [*levels, 0.0]
    descending = all(first > second for first, second in itertools.pairwise(levels))
    if not descending or not 2 <= len(levels) <= MOST_LEVELS + 1 or not levels[0] <= MOST_LEVEL:
        raise InputError(
            f"Noise levels must be at most {MOST_LEVELS} numbers that descend from at most {MOST_LEVEL:g} to above 0, "
            f"not {text[:60]!r}."
        )
    return levels
