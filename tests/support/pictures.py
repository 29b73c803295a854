"""Pictures of the pages in docs/, made of the screenshots that the browser's tests take: `make pictures`."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

WIDTH = 1280
QUALITY = 85


def keep(shot: Path, name: str) -> None:
    """Where the variable SVFR_PICTURES names a folder, put a screenshot there as name.jpg, 1,280 pixels wide."""
    folder = os.environ.get("SVFR_PICTURES")
    if not folder:
        return
    picture = Image.open(shot).convert("RGB")
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    Path(folder).mkdir(parents=True, exist_ok=True)
    picture.resize(size, Image.Resampling.LANCZOS).save(Path(folder) / f"{name}.jpg", quality=QUALITY)
