"""The zero-phase smoother."""

from __future__ import annotations

import numpy as np
import pytest

from svfr_model.faces.smooth import ORDER, smooth, strength_of


@pytest.mark.parametrize("count", [4, 7, 60])
def test_solves_its_normal_equations(count):
    random = np.random.default_rng(count)
    values, weights = random.normal(size=(count, 2, 3)), random.uniform(0.05, 1, count)
    differences = np.diff(np.eye(count), ORDER, axis=0)
    system = np.diag(weights) + strength_of(12) * differences.T @ differences
    expected = np.linalg.solve(system, weights[:, None] * values.reshape(count, 6)).reshape(values.shape)
    assert np.allclose(smooth(values, 12, weights), expected)


def test_keeps_steady_acceleration():
    time = np.arange(50.0)
    motion = np.stack([3 + 2 * time - 0.05 * time**2, 7 - time], axis=1)
    assert np.allclose(smooth(motion, 30), motion, atol=1e-6)


def test_halves_its_period_without_delay():
    """A sine of the smoother's own period keeps half of its amplitude, and its phase, away from the ends."""
    time = np.arange(400.0)
    sine = np.sin(2 * np.pi * time / 20)
    found = smooth(sine[:, None], 20)[100:300, 0]
    assert np.allclose(found, 0.5 * sine[100:300], atol=0.02)


def test_time_reversed_is_the_same():
    noise = np.random.default_rng(1).normal(size=(40, 1))
    assert np.allclose(smooth(noise[::-1], 15)[::-1], smooth(noise, 15))


def test_passes_over_frames_without_weight():
    time = np.arange(30.0)[:, None]
    broken = time.copy()
    broken[10:15] = 500
    weights = np.ones(30)
    weights[10:15] = 0
    assert np.allclose(smooth(broken, 10, weights), time, atol=1e-6)


def test_short_and_unsmoothed_series_stay():
    values = np.array([[1.0], [5.0], [2.0]])
    assert np.array_equal(smooth(values, 20), values)
    longer = np.random.default_rng(0).normal(size=(9, 2))
    assert np.array_equal(smooth(longer, 0), longer)
    assert np.allclose(smooth(longer, 10, np.zeros(9)), smooth(longer, 10)), "no weight at all counts as equal weights"
