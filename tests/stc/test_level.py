"""The brightness of one window carried into the next, so that long clips that flickered do not drift."""

import numpy as np
import pytest
import torch
from stc.test_enhance import SIDE, Stub, numbered

from svfr_model.stc.enhance import run_windows
from svfr_model.stc.options import EnhanceOptions


def flickering(count):
    """Pictures of one true brightness each, brightened or darkened at random."""
    gains = np.where(np.random.default_rng(0).random(count) < 0.3, np.random.default_rng(1).uniform(0.5, 1.5, count), 1)
    levels = np.rint(255 * np.clip(0.4 * gains, 0, 1)).astype(np.uint8)
    return torch.from_numpy(levels).view(-1, 1, 1, 1).repeat(1, 3, SIDE, SIDE)


def its_own_level(x):
    """A perfect remover of flicker that takes the brightness of its window's mean."""
    return torch.ones_like(x) * x.mean()


@pytest.mark.parametrize("task", ["deflicker", "deflicker_sd"])
def test_the_level_is_carried_from_window_to_window(task):
    clip = flickering(240)
    found = torch.stack(list(run_windows(Stub(its_own_level, task), iter(clip), [(0, 240)], EnhanceOptions())))
    levels = 255 * found.mean((1, 2, 3))
    reach, step = float(levels.max() - levels.min()), float(levels.diff().abs().max())
    if task == "deflicker":
        assert reach < 4.5
        assert step < 0.35
    else:  # nothing is carried: the windows' own levels are faded into each other
        assert reach > 5
        assert step > 0.8


@pytest.mark.parametrize("count", [240, 2400])
def test_errors_at_joins_do_not_add_up(count):
    """A network that darkens towards a window's end, so that every join seems to have become brighter."""
    fading = Stub(lambda x: 0.5 * torch.linspace(1.0, 0.97, x.shape[2]).view(-1, 1, 1).expand_as(x), "deflicker")
    clip = torch.full((1, 3, SIDE, SIDE), 128, dtype=torch.uint8).expand(count, -1, -1, -1)
    found = torch.stack(list(run_windows(fading, iter(clip), [(0, count)], EnhanceOptions())))
    levels = found.mean((1, 2, 3))
    assert levels.max() <= 0.5001
    assert levels.min() > 0.5 * 0.97 ** (1 + 0.7 / 0.3)


def test_a_level_is_not_carried_into_another_shot():
    dark, bright = numbered(24) // 4, 255 - numbered(24) // 4
    clip = torch.cat([dark, bright])
    found = torch.stack(list(run_windows(Stub(task="deflicker"), iter(clip), [(0, 24), (24, 48)], EnhanceOptions())))
    assert (found - clip.float() / 255).abs().max() < 1e-6


def test_a_window_of_another_brightness_is_brought_over_by_a_factor_of_two_at_most():
    calls = iter([0.8, 0.1, 0.8, 0.8])
    network = Stub(lambda x: torch.ones_like(x) * next(calls), "deflicker")
    found = list(run_windows(network, iter(numbered(40)), [(0, 40)], EnhanceOptions()))
    assert float(found[0].mean()) == pytest.approx(0.8)
    assert float(found[-1].mean()) == pytest.approx(0.2)
