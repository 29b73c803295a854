"""The materials in a drawn picture: one colour ramp per material, indexed by luminance.

Hue depends on material and luminance only, and the ITU-R 601 luma of each colour is the luminance that indexes it. So
wherever shapes show the material, a grey picture determines the colours, and colorization can be learned.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])


class Material(IntEnum):
    """A material is a row of the table of colours."""

    BACKGROUND = 0
    CLOTHES = 1
    SKIN = 2
    HAIR = 3
    LIPS = 4
    WHITE = 5
    IRIS = 6
    DARK = 7
    FRAME = 8


_STOPS: dict[Material, list[tuple[float, tuple[float, float, float]]]] = {
    # luminance in [0,1] -> hue as an RGB direction, which is then scaled to that luminance
    Material.BACKGROUND: [(0.1, (30, 40, 110)), (0.35, (30, 110, 120)), (0.6, (90, 150, 80)), (0.9, (215, 210, 150))],
    Material.CLOTHES: [(0.05, (20, 20, 70)), (0.3, (130, 35, 60)), (0.55, (70, 130, 170)), (0.9, (235, 215, 120))],
    Material.SKIN: [(0.1, (70, 38, 25)), (0.35, (130, 82, 58)), (0.6, (205, 145, 110)), (0.9, (250, 222, 205))],
    Material.HAIR: [(0.03, (14, 13, 18)), (0.2, (70, 42, 26)), (0.4, (150, 82, 32)), (0.75, (225, 190, 110))],
    Material.LIPS: [(0.1, (80, 25, 30)), (0.35, (160, 60, 65)), (0.8, (240, 150, 150))],
    Material.WHITE: [(0.1, (60, 58, 60)), (0.9, (232, 232, 236))],
    Material.IRIS: [(0.08, (55, 32, 18)), (0.28, (70, 95, 50)), (0.55, (90, 150, 205))],
    Material.DARK: [(0.02, (10, 9, 10)), (0.6, (160, 150, 150))],
    Material.FRAME: [(0.05, (25, 15, 20)), (0.3, (150, 40, 35)), (0.7, (200, 180, 90))],
}


def color_table() -> np.ndarray:
    """(materials, 256, 3) uint8 RGB: the colour of each material at each luminance."""
    return np.stack([_ramp(_STOPS[material]) for material in Material])


def _ramp(stops: list[tuple[float, tuple[float, float, float]]]) -> np.ndarray:
    """(256,3) uint8: hues interpolated between the stops and scaled to their luminance; the hue fades near white."""
    levels = np.arange(256) / 255.0
    at = np.array([level for level, _ in stops])
    chroma = np.array([np.array(color) / np.dot(color, LUMA) for _, color in stops]) - 1.0
    tint = np.stack([np.interp(levels, at, chroma[:, c]) for c in range(3)], axis=1)
    # the largest share of the tint that keeps every channel in [0,1]; the tint has no luma, so the luma is unchanged
    excess = levels[:, None] * tint
    room = np.where(excess > 0, (1 - levels)[:, None], levels[:, None])
    share = np.min(room / np.maximum(np.abs(excess), 1e-6), axis=1).clip(max=1.0)
    ramp: np.ndarray = np.rint((levels[:, None] + share[:, None] * excess) * 255).astype(np.uint8)
    return ramp
