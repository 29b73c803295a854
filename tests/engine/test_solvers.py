"""Noise schedules and solvers, checked on an ODE with a known solution."""

import itertools
import math

import pytest
import torch

from svfr_model.base.errors import InputError
from svfr_model.engine.solvers import SCHEDULES, SOLVERS, dpmpp_2m, euler, heun, karras_sigmas, simple_sigmas


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_schedules_descend_from_700_to_0(name, steps):
    sigmas = SCHEDULES[name](steps)
    assert len(sigmas) == steps + 1
    assert sigmas[0] == pytest.approx(700)
    assert sigmas[-1] == 0
    assert all(a > b for a, b in itertools.pairwise(sigmas))
    assert all(torch.tensor(sigma, dtype=torch.float32).item() == sigma for sigma in sigmas)


def test_karras_levels_are_the_published_ones():
    assert karras_sigmas(30)[1:3] == pytest.approx([570.03, 461.31], abs=5e-3)
    assert karras_sigmas(50)[1:3] == pytest.approx([620.33, 548.56], abs=5e-3)
    assert karras_sigmas(30)[-2] == pytest.approx(0.002)


def test_exponential_ends_on_the_lowest_level_and_simple_one_step_above():
    steps = 10
    ratio = (0.002 / 700) ** (1 / steps)
    assert SCHEDULES["exponential"](steps)[-2] == pytest.approx(0.002)
    assert simple_sigmas(steps)[-2] == pytest.approx(0.002 / ratio)


def test_no_steps_are_refused():
    for schedule in SCHEDULES.values():
        with pytest.raises(InputError, match="step"):
            schedule(0)


def gaussian(x, sigma):
    """The exact denoiser of data drawn from N(3, 0.25): its ODE has a closed solution."""
    return (0.25 * x + sigma**2 * 3) / (0.25 + sigma**2)


def exact(x, sigma):
    return 3 + (x - 3) * math.sqrt(0.25 / (0.25 + sigma**2))


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_converge_to_the_exact_solution(name):
    x = 3 + 80 * torch.randn(64, dtype=torch.float64)
    errors = []
    for steps in (20, 40, 80):
        sigmas = karras_sigmas(steps, 0.002, 80)
        result = SOLVERS[name](gaussian, x.clone(), sigmas)
        errors.append((result - exact(x, 80)).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    order = math.log2(errors[0] / errors[2]) / 2
    assert order > (0.8 if name == "euler" else 1.5)


def test_dpmpp_2m_on_uneven_levels_is_the_published_formula():
    """Levels 8, 4, 1, 0 are steps of ln 2 and ln 4: r is 1/2, so the estimate is 2 D1 - D0 (Lu et al. 2022, alg. 2)."""
    estimates = {8.0: 3.0, 4.0: 5.0, 1.0: 11.0}
    asked = []

    def denoiser(x, sigma):
        asked.append(x.item())
        return torch.full_like(x, estimates[sigma])

    result = dpmpp_2m(denoiser, torch.tensor([80.0], dtype=torch.float64), [8.0, 4.0, 1.0, 0.0])
    first = 4 / 8 * 80 + (1 - 4 / 8) * 3
    second = 1 / 4 * first + (1 - 1 / 4) * (2 * 5 - 3)
    assert asked == pytest.approx([80, first, second])
    assert result.item() == 11


def test_one_step_of_euler_and_heun_is_the_published_formula():
    """From 8 to 4: Euler goes half the way to the estimate; Heun takes the mean of the slopes at both ends."""

    def denoiser(x, sigma):
        return torch.full_like(x, 3.0 if sigma == 8 else 5.0)

    x = torch.tensor([80.0], dtype=torch.float64)
    assert euler(denoiser, x, [8.0, 4.0]).item() == pytest.approx(41.5)
    slopes = (80 - 3) / 8, (41.5 - 5) / 4
    assert heun(denoiser, x, [8.0, 4.0]).item() == pytest.approx(80 - 4 * sum(slopes) / 2)


@pytest.mark.parametrize(("solver", "evaluations"), [(euler, 9), (heun, 17), (dpmpp_2m, 9)])
def test_number_of_network_evaluations(solver, evaluations):
    count = 0

    def denoiser(x, sigma):
        nonlocal count
        count += 1
        assert sigma > 0
        return gaussian(x, sigma)

    solver(denoiser, torch.ones(1), karras_sigmas(9))
    assert count == evaluations


@pytest.mark.parametrize("name", SOLVERS)
def test_a_step_to_zero_lands_on_the_estimate(name):
    estimate = torch.tensor([5.0])
    result = SOLVERS[name](lambda x, sigma: estimate, torch.tensor([9.0]), [2.0, 0.0])
    assert result.item() == pytest.approx(5)


@pytest.mark.parametrize("name", SOLVERS)
def test_progress_counts_every_step_and_cancels(name):
    seen = []

    def callback(stage, done, total, preview):
        seen.append((stage, done, total, preview.shape))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SOLVERS[name](gaussian, torch.ones(2), karras_sigmas(5), callback)
    assert seen == [("denoise", k, 5, torch.Size([2])) for k in (1, 2, 3)]


def test_sigmas_that_do_not_descend_are_refused():
    with pytest.raises(InputError, match="descend"):
        euler(gaussian, torch.ones(1), [1.0, 2.0, 0.0])
    with pytest.raises(InputError, match="descend"):
        euler(gaussian, torch.ones(1), [2.0, 2.0, 0.0])
