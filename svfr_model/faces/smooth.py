"""Zero-phase smoothing of a track's numbers over time.

Whittaker's smoother (Whittaker 1923; Eilers 2003, "A perfect smoother"): the series z nearest to the data y whose
third differences are small, sum w (y - z)^2 + strength * sum (D^3 z)^2. It moves nothing in time, keeps a steady
acceleration exactly, needs no special case at the ends, and passes over frames of weight zero.
"""

from __future__ import annotations

from math import comb

import numpy as np

ORDER = 3


def strength_of(period: float) -> float:
    """The penalty that halves a motion of the given period, in frames, and removes quicker ones (gain 1/(1+s w^6))."""
    return (period / (2 * np.pi)) ** (2 * ORDER)


def smooth(values: np.ndarray, period: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Smooth values (n,k) over n frames; period 0 leaves them as they are.

    weights (n,), at least 0, say how far each frame counts; where fewer than three are above zero, all count the same.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if period <= 0 or count <= ORDER:
        return values.copy()
    weights = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if (weights > 0).sum() < ORDER:  # the rest would not be determined
        weights = np.ones(count)
    bands = strength_of(period) * _penalty(count)
    bands[0] += weights
    return _solve(bands, weights[:, None] * values.reshape(count, -1)).reshape(values.shape)


def _penalty(count: int) -> np.ndarray:
    """D'D of the differences D, by diagonals: row k, column i is its entry (i, i + k)."""
    stencil = np.array([(-1) ** k * comb(ORDER, k) for k in range(ORDER + 1)], dtype=np.float64)
    bands = np.zeros((ORDER + 1, count))
    for apart in range(ORDER + 1):
        for k in range(ORDER + 1 - apart):
            bands[apart, k : count - ORDER + k] += stencil[k] * stencil[k + apart]
    return bands


def _solve(bands: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve a symmetric positive definite banded system for right (n,k), by its LDL' factors."""
    width, count = bands.shape[0] - 1, bands.shape[1]
    diagonal = np.zeros(count)
    lower = np.zeros((count, width + 1))  # lower[i, k] is the factor's entry (i, i - k)
    z = right.copy()
    for i in range(count):
        for k in range(min(width, i), 0, -1):
            j = i - k
            shared = sum(lower[i, i - m] * lower[j, j - m] * diagonal[m] for m in range(max(0, i - width), j))
            lower[i, k] = (bands[k, j] - shared) / diagonal[j]
            z[i] -= lower[i, k] * z[j]
        diagonal[i] = bands[0, i] - sum(lower[i, k] ** 2 * diagonal[i - k] for k in range(1, min(width, i) + 1))
    z /= diagonal[:, None]
    for i in range(count - 2, -1, -1):
        for k in range(1, min(width, count - 1 - i) + 1):
            z[i] -= lower[i + k, k] * z[i + k]
    return z
