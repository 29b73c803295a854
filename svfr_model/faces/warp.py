"""Sub-pixel affine warps of pictures, with a low-pass filter before anything is made smaller."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, TypeAlias

import cv2
import numpy as np

Border: TypeAlias = Literal["reflect", "replicate", "zero"]
Interpolation: TypeAlias = Literal["lanczos", "linear"]

BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT}
INTERPOLATIONS = {"lanczos": cv2.INTER_LANCZOS4, "linear": cv2.INTER_LINEAR}
LOBES = 3
REACH = 5
"""Source pixels an interpolation kernel may touch beyond a sample: Lanczos4 needs 4."""


def shrinkage(matrix: np.ndarray) -> float:
    """How many source pixels one target pixel spans along an axis under an affine matrix (2,3); at least 1."""
    scale = np.sqrt(abs(np.linalg.det(np.asarray(matrix, dtype=np.float64)[:, :2])))
    return float(1.0 / np.clip(scale, 1e-6, 1.0))


@lru_cache(maxsize=64)
def low_pass(shrink: float) -> np.ndarray:
    """Windowed-sinc kernel that keeps the frequencies that survive shrinking by this factor; a unit impulse at 1."""
    reach = int(np.ceil(LOBES * shrink)) - 1
    taps = np.arange(-reach, reach + 1) / shrink
    kernel: np.ndarray = np.sinc(taps) * np.sinc(taps / LOBES)
    kernel /= kernel.sum()
    return kernel


def source_window(matrix: np.ndarray, size: tuple[int, int], source: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part x1,y1,x2,y2 of a source that `warp` reads for a target, borders mirrored.

    matrix (2,3) from source to target pixels; size and source: width and height of the target and of the source. A warp
    of that part alone, by `moved_source`, gives the same picture.
    """
    reach = (LOBES + REACH) * shrinkage(matrix)
    width, height = size
    inverse = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    corners = corners @ inverse[:, :2].T + inverse[:, 2]
    bounds: list[tuple[int, int]] = []
    for axis in (0, 1):
        length = source[axis]
        low, high = corners[:, axis].min() - reach, corners[:, axis].max() + reach
        # What lies outside is mirrored inwards, so its mirror image must be in the window too.
        first = min(low, 2 * (length - 1) - high) if high > length - 1 else low
        last = max(high, -low) if low < 0 else high
        start = int(np.clip(np.floor(first), 0, length - 1))
        bounds.append((start, int(np.clip(np.ceil(last) + 1, start + 1, length))))
    return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]


def moved_source(matrix: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """The matrix (2,3) for the part of a source whose upper left corner (x,y) is given, instead of all of it."""
    moved = np.array(matrix, dtype=np.float64)
    moved[:, 2] += moved[:, :2] @ corner
    return moved


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    border: Border = "reflect",
    interpolation: Interpolation = "lanczos",
) -> np.ndarray:
    """Warp a picture (H,W) or (H,W,C), uint8 or float32, by matrix (2,3) from source to target pixels.

    size is the target's (width, height). The source is low-passed if the target is smaller, so that shrinking does not
    alias; towards equal size the filter fades out continuously. uint8 values saturate, floats may overshoot.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    x1, y1, x2, y2 = source_window(matrix, size, (image.shape[1], image.shape[0]))
    source, matrix, shrink = _reduce(image[y1:y2, x1:x2], moved_source(matrix, (x1, y1)), shrinkage(matrix))
    if shrink > 1.0:
        kernel = low_pass(round(shrink, 3))
        edge = cv2.BORDER_REPLICATE if border == "zero" else BORDERS[border]
        source = cv2.sepFilter2D(source, -1, kernel, kernel, borderType=edge)
    return cv2.warpAffine(
        np.ascontiguousarray(source),
        matrix,
        size,
        flags=INTERPOLATIONS[interpolation],
        borderMode=BORDERS[border],
    )


def _reduce(source: np.ndarray, matrix: np.ndarray, shrink: float) -> tuple[np.ndarray, np.ndarray, float]:
    """For a large reduction, average whole blocks of pixels first; the filter above does the last factor of 2 to 3."""
    factor = int(shrink // 2)
    rows, columns = source.shape[0] // max(factor, 1), source.shape[1] // max(factor, 1)
    if factor < 2 or rows < 2 or columns < 2:
        return source, matrix, shrink
    source = cv2.resize(source[: rows * factor, : columns * factor], (columns, rows), interpolation=cv2.INTER_AREA)
    # Pixel u of the reduced picture has its centre at factor * u + (factor - 1) / 2.
    matrix = np.concatenate(
        [matrix[:, :2] * factor, (matrix[:, 2] + matrix[:, :2].sum(axis=1) * (factor - 1) / 2)[:, None]],
        axis=1,
    )
    return source, matrix, shrink / factor
