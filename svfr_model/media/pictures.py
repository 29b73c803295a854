"""Still pictures in and out: one file, or a folder of them seen as a clip."""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import InputError
from ..files.paths import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger(__name__)

FOLDER_FPS = Fraction(25)
"""Frames per second of pictures, which have no rate of their own."""

_SIXTEEN_BIT_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
ALPHA_DROPPED = "%s: the alpha channel is dropped; the colours under it are used as they are"
_ANIMATED = ("PNG", "WEBP", "TIFF")
"""Formats whose further pictures are frames; those of a JPEG (MPO) are other views of the same scene."""
_NAMED_GAPS = 8
_ALPHA_MODES = ("LA", "PA", "RGBA", "La", "RGBa")


def is_picture(path: Path) -> bool:
    """Whether this is a still picture, by its name."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def check_file(path: Path) -> None:
    """Raise InputError unless path is a file that is not empty."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder. Check the path.")
    if not path.is_file():
        raise InputError(f"{path}: this is not a file, but a folder or a device. Give the path of a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes). Copy or export it again.")


def read_picture(path: str | Path) -> np.ndarray:
    """One still picture as (H,W,3) uint8 RGB, upright.

    EXIF orientation is applied. Grey and palette pictures are expanded to RGB. Sixteen bits per channel become eight
    (grey by rounding v/257, colour by the upper byte, at most one level away). Alpha is dropped with a warning: the
    colours stored under it are kept as they are. Colour profiles are not applied.

    Raises InputError for a missing, empty or unreadable file, for floating-point pictures, and for a file that holds
    more than one.
    """
    path = Path(path)
    _refuse_several(path)
    frame, alpha = decoded(path)
    if alpha is not None:
        log.warning(ALPHA_DROPPED, path)
    return frame


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The first picture of a file, as in `read_picture`, and its alpha as (H,W) uint8, or None if it has none."""
    check_file(path)
    with _opened(path) as image:
        return _to_rgb(path, image), _alpha(image)


def _pages(path: Path) -> int:
    """How many pictures the file holds that are frames."""
    with _opened(path) as image:
        return getattr(image, "n_frames", 1) if image.format in _ANIMATED else 1


def _refuse_several(path: Path) -> None:
    check_file(path)
    count = _pages(path)
    if count > 1:
        raise InputError(f"{path}: the file holds {count} pictures, but one is needed. Save the one you want as PNG.")


def _alpha(image: Image.Image) -> np.ndarray | None:
    """The alpha of an open picture, upright, (H,W) uint8; None if it has none."""
    from PIL import ImageOps

    if not _has_alpha(image) or image.mode in _SIXTEEN_BIT_GREY:
        return None
    return np.array(ImageOps.exif_transpose(image).convert("RGBA").getchannel("A"))


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

    picture = Image.fromarray(np.ascontiguousarray(frame))
    if path.suffix.lower() in (".jpg", ".jpeg"):
        picture.save(path, quality=95, subsampling=0)
    else:
        picture.save(path)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture with Pillow; its errors, now or while decoding, become an InputError."""
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
    """Still pictures seen as a clip: one file, or the pictures of a folder in natural order (2 before 10).

    Each iteration reads the files again and holds one at a time. Frames are (H,W,3) uint8 RGB, see `read_picture`. An
    animated WebP or PNG keeps the times of its frames; pictures without times, such as the pages of a TIFF, have 25
    frames per second.

    Attributes: path (the picture or the folder), files (one for each frame), animated (one file with
    several frames), fps, width, height, audio (False), timestamps (of each frame in seconds), time_base (their unit),
    sample_aspect_ratio (1).
    """

    audio = False
    sample_aspect_ratio = Fraction(1)
    time_base = Fraction(1, 1000)

    def __init__(self, path: Path) -> None:
        """Raise InputError for a folder without pictures, and for pictures of several sizes or several frames."""
        self.path = path
        self.fps = FOLDER_FPS
        self._warned = False
        if path.is_dir():
            files = _pictures_in(path)
            for file in files:
                _refuse_several(file)
            _warn_about_gaps(path, files)
            sizes = [picture_size(file) for file in files]
            durations = None
        else:
            check_file(path)
            sizes, durations = _frames_of(path)
            files = [path] * len(sizes)
        self.files = files
        self.animated = not path.is_dir() and len(sizes) > 1
        self.width, self.height = sizes[0]
        self._check_sizes(sizes)
        self.timestamps = tuple(number / self.fps for number in range(len(sizes)))
        if durations is not None:
            self.timestamps = tuple(itertools.accumulate(durations[:-1], initial=Fraction(0)))
            self.fps = len(durations) / sum(durations, Fraction(0))

    def _check_sizes(self, sizes: Sequence[tuple[int, int]]) -> None:
        first = self.files[0]
        for page, (file, size) in enumerate(zip(self.files, sizes, strict=True)):
            if size == (self.width, self.height):
                continue
            if self.animated:
                raise InputError(
                    f"{file}: its picture {page + 1} has {size[0]}x{size[1]} pixels, the first one "
                    f"{self.width}x{self.height}. Save the one you want as PNG, or all at one size in a folder."
                )
            raise InputError(
                f"{file}: {size[0]}x{size[1]} pixels, but {first.name} in the same folder has "
                f"{self.width}x{self.height}. All pictures of a folder must have one size: resize or remove it."
            )

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame, alpha in self.with_alpha():
            if alpha is not None and not self._warned:
                self._warned = True
                log.warning(ALPHA_DROPPED, self.path)
            yield frame

    def with_alpha(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Each frame with its alpha, (H,W) uint8, or None if it has none."""
        if not self.animated:
            yield from (decoded(file) for file in self.files)
            return
        with _opened(self.path) as image:
            for page in range(len(self)):
                image.seek(page)
                yield _to_rgb(self.path, image), _alpha(image)


def _frames_of(path: Path) -> tuple[list[tuple[int, int]], list[Fraction] | None]:
    """The size of each picture in a file, and how many seconds each is shown; None if the file does not say."""
    count = _pages(path)
    if count == 1:
        return [picture_size(path)], None
    sizes, shown = [], []
    with _opened(path) as image:
        for page in range(count):
            image.seek(page)
            image.load()
            sizes.append(image.size)
            shown.append(Fraction(round(image.info.get("duration", 0)), 1000))
    return sizes, shown if all(shown) else None


def _warn_about_gaps(folder: Path, files: Sequence[Path]) -> None:
    """Warn of numbers that are missing from a numbered sequence; one with equal steps has no gaps."""
    parts = [part for file in files if (part := re.fullmatch(r"(.*?)(\d+)(\D*)", file.stem))]
    if len(files) < 3 or len(parts) < len(files) or len({(part[1], part[3]) for part in parts}) > 1:
        return
    numbers = sorted(int(part[2]) for part in parts)
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(steps) == 1:
        return
    least = min(steps - {0}, default=1)
    missing = itertools.chain(*(range(a + least, b, least) for a, b in itertools.pairwise(numbers)))
    named = list(itertools.islice(missing, _NAMED_GAPS + 1))
    more = ", ..." if len(named) > _NAMED_GAPS else ""
    log.warning(
        "%s: frames are missing from the sequence (%s%s); the others are read as consecutive frames",
        folder,
        ", ".join(map(str, named[:_NAMED_GAPS])),
        more,
    )


def _pictures_in(folder: Path) -> list[Path]:
    """The folder's pictures in natural order, without hidden files."""
    files = [file for file in folder.iterdir() if is_picture(file) and not file.name.startswith(".")]
    if not files:
        raise InputError(f"{folder}: no picture in this folder. Put the frames there as {', '.join(PICTURE_SUFFIXES)}.")
    return sorted(files, key=lambda file: _natural_key(file.name))


def _natural_key(name: str) -> list[tuple[int, int | str]]:
    """Digits compare as numbers, the rest as lower-case text; the name itself breaks ties."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts] + [(1, name)]
