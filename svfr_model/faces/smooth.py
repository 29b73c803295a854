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
    """The penalty that halves a motion of the given period, in frames, and removes faster ones (gain 1/(1+s w^6))."""
    return (period / (2 * np.pi)) ** (2 * ORDER)


def smooth(values: np.ndarray, period: float, weights: np.ndarray | None = None) -> np.ndarray:
    """Smooth values (n,k) over n frames; period 0 leaves them as they are.

    weights (n,), at least 0, say how far each frame counts; where fewer than three are above zero, all count the same.
    """
    from scipy.linalg import solveh_banded  # takes a noticeable part of a second, which only tracking needs

    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if period <= 0 or count <= ORDER:
        return values.copy()
    weights = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    if (weights > 0).sum() < ORDER:  # the rest would not be determined
        weights = np.ones(count)
    bands = strength_of(period) * _penalty(count)
    bands[0] += weights
    return solveh_banded(bands, weights[:, None] * values.reshape(count, -1), lower=True).reshape(values.shape)


def _penalty(count: int) -> np.ndarray:
    """D'D of the differences D, by diagonals: row k, column i is its entry (i, i + k)."""
    stencil = np.array([(-1) ** k * comb(ORDER, k) for k in range(ORDER + 1)], dtype=np.float64)
    bands = np.zeros((ORDER + 1, count))
    for apart in range(ORDER + 1):
        for k in range(ORDER + 1 - apart):
            bands[apart, k : count - ORDER + k] += stencil[k] * stencil[k + apart]
    return bands
