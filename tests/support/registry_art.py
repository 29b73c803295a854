"""The pack's icon and banner for the Comfy Registry, drawn: half of a face as bad footage has it, half as it should be.

    python tests/support/registry_art.py

writes docs/registry/icon.png (a square) and banner.png (21:9), which pyproject.toml names by their addresses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "registry"
ICON, BANNER = (400, 400), (1260, 540)
BACK, LINE = (24, 28, 36), (74, 159, 216)
CELLS = 20
"""Across the face, where it is spoilt."""


def face(side: int) -> Image.Image:
    """A drawn face in a square of so many pixels."""
    scale = side / 400
    picture = Image.new("RGB", (side, side), BACK)
    draw = ImageDraw.Draw(picture)

    def oval(x: float, y: float, width: float, height: float, color: tuple[int, int, int]) -> None:
        draw.ellipse([scale * v for v in (x - width, y - height, x + width, y + height)], color)

    oval(200, 190, 142, 162, (62, 40, 32))  # hair
    oval(200, 222, 112, 138, (236, 188, 156))
    oval(200, 128, 108, 46, (62, 40, 32))
    for x in (152, 248):
        oval(x, 208, 25, 15, (250, 250, 250))
        oval(x, 208, 12, 13, (58, 108, 148))
        oval(x, 208, 6, 6, (16, 16, 20))
        draw.arc([scale * v for v in (x - 32, 170, x + 32, 206)], 205, 335, (62, 40, 32), round(8 * scale))
        oval(x + (22 if x > 200 else -22), 262, 21, 14, (240, 164, 142))
    draw.arc([scale * v for v in (180, 208, 220, 266)], 20, 160, (198, 140, 112), round(6 * scale))
    draw.chord([scale * v for v in (152, 262, 248, 328)], 15, 165, (184, 66, 74))
    return picture


def split(side: int) -> Image.Image:
    """The face with its left half grey, in cells and noisy, and a line between the halves."""
    good = face(side)
    cells = np.asarray(good.convert("L").resize((CELLS, CELLS), Image.Resampling.BOX)).astype(float)
    cells += np.random.default_rng(0).normal(0, 9, cells.shape)
    bad = Image.fromarray(cells.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    good.paste(bad.convert("RGB").crop((0, 0, side // 2, side)), (0, 0))
    ImageDraw.Draw(good).line([(side / 2, 0), (side / 2, side)], LINE, max(2, side // 80))
    return good


def banner() -> Image.Image:
    """The face, and the pack's name beside it."""
    picture = Image.new("RGB", BANNER, BACK)
    picture.paste(split(460), (60, 40))
    draw = ImageDraw.Draw(picture)
    draw.text((580, 150), "ComfyUI-SVFR", (240, 244, 248), ImageFont.load_default(84))
    draw.text((584, 262), "Stable Video Face Restoration", (168, 200, 226), ImageFont.load_default(42))
    draw.text((584, 330), "restore, colorize, inpaint, de-flicker", (140, 150, 164), ImageFont.load_default(34))
    return picture


def main() -> None:
    """Write both."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    split(ICON[0]).quantize(128).save(FOLDER / "icon.png", optimize=True)
    banner().quantize(128).save(FOLDER / "banner.png", optimize=True)


if __name__ == "__main__":
    main()
