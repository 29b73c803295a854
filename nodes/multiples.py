"""The widths of a network's levels, as ComfyUI's constructors take them: multiples of the first."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction


class _Multiple(Fraction):
    """A ratio of two widths, whose product with the first level's width is the exact integer of another level.

    A float would give 96.0 channels for 1.5 times 64, which no layer takes.
    """

    def __mul__(self, channels: int) -> int:  # type: ignore[override]  # by nothing but a number of channels
        return int(Fraction(self) * channels)

    __rmul__ = __mul__  # type: ignore[assignment]


def multiples(widths: Sequence[int]) -> list[int | _Multiple]:
    """Each level's width over the first one's: an int where it is whole, else what multiplies to the exact width."""
    ratios = [_Multiple(width, widths[0]) for width in widths]
    return [ratio.numerator if ratio.denominator == 1 else ratio for ratio in ratios]
