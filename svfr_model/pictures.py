"""Still pictures in and out: one file, or a folder of them seen as a clip."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes, in lower case, of the files that are read as still pictures."""

FOLDER_FPS = Fraction(25)
"""The rate given to pictures, which carry none."""

_SIXTEEN_BIT_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
ALPHA_DROPPED = "%s: the alpha channel is dropped; the colours under it are used as they are"
_ALPHA_MODES = ("LA", "PA", "RGBA", "La", "RGBa")


def is_picture(path: Path) -> bool:
    """Whether the name says that this is a still picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def check_file(path: Path) -> None:
    """Raise InputError unless path is a file with something in it."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder. Check the path.")
    if not path.is_file():
        raise InputError(f"{path}: not a file, but a folder or a device. Give the path of a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes). Copy or export it again.")


def read_picture(path: str | Path) -> np.ndarray:
    """One still picture as (H,W,3) uint8 RGB, upright.

    EXIF orientation is applied. Grey and palette pictures are expanded to RGB. Sixteen bits per channel become eight
    (grey by rounding v/257, colour by the upper byte, at most one level away). Alpha is dropped with a warning: the
    colours stored under it are kept as they are. Colour profiles are not applied.

    Raises InputError for a missing, empty or unreadable file, and for floating-point pictures.
    """
    frame, alpha = _decoded(Path(path))
    if alpha:
        log.warning(ALPHA_DROPPED, path)
    return frame


def _decoded(path: Path) -> tuple[np.ndarray, bool]:
    """What read_picture gives, and whether alpha was dropped."""
    check_file(path)
    with _opened(path) as image:
        return _to_rgb(path, image), _has_alpha(image)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the file's header alone."""
    check_file(path)
    with _opened(path) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 swap the sides
        return (image.height, image.width) if turned else (image.width, image.height)


def write_picture(path: Path, frame: np.ndarray) -> None:
    """Store one (H,W,3) uint8 RGB frame as PNG, or as JPEG at quality 95 without chroma subsampling."""
    from PIL import Image

    options = {"quality": 95, "subsampling": 0} if path.suffix.lower() in (".jpg", ".jpeg") else {}
    Image.fromarray(np.ascontiguousarray(frame)).save(path, **options)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture with Pillow; whatever Pillow finds wrong, now or while decoding, becomes an InputError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path}: not a picture that can be read ({error}). Save it again as 8-bit PNG or JPEG."
        ) from error


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    """The decoded pixels of an open picture, upright, (H,W,3) uint8."""
    from PIL import ImageOps

    if image.mode == "F":
        raise InputError(f"{path}: floating-point pictures are not supported. Save it as 8-bit PNG.")
    alpha = _has_alpha(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in _SIXTEEN_BIT_GREY:
        grey = np.rint(np.asarray(image).clip(0, 65535) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "P":
        image = image.convert("RGBA" if alpha else "RGB")
    return np.array(image.convert("RGB"))


class PictureClip:
    """Still pictures seen as a clip: one picture, or the pictures of a folder in natural order (2 before 10).

    Each walk reads the files again and holds one at a time. Frames are (H,W,3) uint8 RGB, see `read_picture`.

    Attributes: path (the picture or the folder), fps (25: pictures carry no rate), width, height, audio (False),
    timestamps (k / fps).
    """

    audio = False

    def __init__(self, path: Path) -> None:
        """Raise InputError for a folder without pictures, or whose pictures differ in size."""
        self.path = path
        self.fps = FOLDER_FPS
        self._warned = False
        self.files = _pictures_in(path) if path.is_dir() else [path]
        self.width, self.height = picture_size(self.files[0])
        for file in self.files[1:]:
            size = picture_size(file)
            if size != (self.width, self.height):
                raise InputError(
                    f"{file}: {size[0]}x{size[1]} pixels, but {self.files[0].name} in the same folder has "
                    f"{self.width}x{self.height}. All pictures of a folder must have one size: resize or remove it."
                )

    @property
    def timestamps(self) -> tuple[Fraction, ...]:
        """Presentation time of every frame in seconds."""
        return tuple(index / self.fps for index in range(len(self.files)))

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        for file in self.files:
            frame, alpha = _decoded(file)
            if alpha and not self._warned:
                self._warned = True
                log.warning(ALPHA_DROPPED, self.path)
            yield frame


def _pictures_in(folder: Path) -> list[Path]:
    """The folder's pictures in natural order; hidden files and files that are no pictures are left out."""
    files = [file for file in folder.iterdir() if is_picture(file) and not file.name.startswith(".")]
    if not files:
        raise InputError(f"{folder}: no picture in this folder. Put the frames there as {', '.join(PICTURE_SUFFIXES)}.")
    return sorted(files, key=lambda file: _natural_key(file.name))


def _natural_key(name: str) -> list[tuple[int, int | str]]:
    """Digits compare as numbers, the rest as lower-case text; the name itself breaks ties."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(1, name)]
