"""Noise levels by name and by number, the guidance interval, and the presets made of them."""

import dataclasses
import itertools
import math

import pytest
import torch
from support.stubs import StubReferrer, clip, networks_of

from svfr_model.base.errors import InputError
from svfr_model.base.tasks import Task
from svfr_model.engine.level_log import LevelLog
from svfr_model.engine.levels import NAMED_LEVELS, parse_levels
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.presets import PRESETS, WORDS, preset_values, with_preset
from svfr_model.engine.restore import Known, guidance_scales, noise_levels, restore
from svfr_model.engine.solvers import karras_sigmas
from svfr_model.engine.windows import WindowPlan

BFR = frozenset({Task.BFR})


def test_levels_are_a_name_or_numbers_and_end_in_0():
    assert parse_levels("") == parse_levels("  ") == []
    assert parse_levels("log-5") == [700.0, 8.0, 2.13, 0.565, 0.15, 0.0]
    assert parse_levels(" 700, 3,0.5 ") == parse_levels("700,3,0.5,0") == parse_levels("few-3")
    karras = karras_sigmas(30)
    assert parse_levels("trimmed-25") == [karras[0], *(sigma for sigma in karras if sigma < 185)]
    for name, levels in NAMED_LEVELS.items():
        assert len(levels) == int(name.partition("-")[2])
        assert levels[0] == karras[0]
    for name in ("log-8", "log-5"):  # equal steps of the logarithm, but for the roundness of the numbers
        steps = [math.log(a / b) for a, b in itertools.pairwise(NAMED_LEVELS[name][1:])]
        assert max(steps) / min(steps) < 1.01, name


@pytest.mark.parametrize(
    "text",
    ["log-9", "700;3", "3,700", "700,700", "0", "-1", "700,3,-1", "inf", "nan", "700,nan", "10001", ",", "700,0,0"],
)
def test_levels_that_no_pass_can_take_are_refused(text):
    with pytest.raises(InputError, match="Noise levels") as refused:
        RestoreOptions(levels=text)
    assert repr(text) in str(refused.value)
    with pytest.raises(InputError):
        RestoreOptions(first_levels=text)


def test_levels_take_the_place_of_steps_and_schedule():
    options = RestoreOptions(levels="700,3,0.5", steps=12, schedule="exponential")
    assert noise_levels(options) == [700.0, 3.0, 0.5, 0.0]
    assert noise_levels(dataclasses.replace(options, strength=0.7)) == [3.0, 0.5, 0.0]
    with pytest.raises(InputError, match="none of 3 steps"):
        dataclasses.replace(options, strength=0.3)


@pytest.mark.parametrize(
    ("change", "first", "main"),
    [
        ({"levels": "few-3"}, [700.0, 3.0, 0.5], [700.0, 3.0, 0.5]),
        ({"levels": "few-3", "first_steps": 2}, karras_sigmas(2)[:-1], [700.0, 3.0, 0.5]),
        ({"levels": "few-3", "first_levels": "9"}, [9.0], [700.0, 3.0, 0.5]),
        ({"steps": 2, "first_levels": "9,8", "first_steps": 4}, [9.0, 8.0], karras_sigmas(2)[:-1]),
    ],
)
def test_both_passes_get_their_levels(change, first, main):
    networks = networks_of(referrer=StubReferrer())
    restore(networks, clip(4), BFR, RestoreOptions(guidance=(1.0, 1.0), **change))
    assert [call[1] for call in networks.backend.calls] == [*first, *main]


def test_beyond_the_guidance_interval_only_the_guided_half_is_run():
    """Both ends belong to the interval; the scale of a step is that of the whole schedule."""
    options = RestoreOptions(levels="700,10,3,0.3,0.1", guidance=(2.0, 4.0), guidance_sigmas=(0.3, 10.0))
    assert guidance_scales(options, noise_levels(options)) == [1.0, 2.5, 3.0, 3.5, 1.0]
    networks = networks_of()
    restore(networks, clip(4), BFR, options, known=Known(reference=torch.ones(3, 8, 8)))
    halves = [(call[1], call[3] is not None) for call in networks.backend.calls]
    both = [(level, half) for level in (10.0, 3.0, 0.3) for half in (True, False)]
    assert halves == [(700.0, True), *both, (0.1, True)]
    every = guidance_scales(dataclasses.replace(options, guidance_sigmas=(0.0, 10_000.0)), noise_levels(options))
    assert every == [2.0, 2.5, 3.0, 3.5, 4.0]


def test_a_guidance_interval_is_given_in_order():
    with pytest.raises(InputError, match="from noise level 10 up to 0"):
        RestoreOptions(guidance_sigmas=(10.0, 0.3))


def test_the_levels_of_all_presets():
    """What each does, spelled out; `exact` is what is done without a preset."""
    karras = {count: karras_sigmas(count) for count in (30, 50)}
    log8, log5, few = (parse_levels(name) for name in ("log-8", "log-5", "few-3"))
    expected = {
        "reference": (karras[50], karras[30], (0.0, 10_000.0), 2, 0),
        "exact": (karras[30], karras[30], (0.0, 10_000.0), 2, 4),
        "balanced": (log8, log8, (0.3, 10.0), 2, 4),
        "fast": (few, log5, (0.3, 10.0), 2, 4),
        "preview": (few, few, (0.0, 10_000.0), 1, 4),
    }
    assert expected.keys() == PRESETS.keys() == WORDS.keys()
    busy = RestoreOptions(steps=7, first_steps=9, levels="5", first_levels="6", guidance_sigmas=(1.0, 2.0), seed=3)
    for name, wanted in expected.items():
        options = with_preset(busy, name)
        first = noise_levels(options.first_options())
        assert (first, noise_levels(options)) == wanted[:2], name
        assert (options.guidance_sigmas, options.passes, options.decode_overlap) == wanted[2:], name
        assert options.seed == 3
    assert with_preset(RestoreOptions(), "exact") == RestoreOptions()
    assert with_preset(busy, None) == busy


def test_what_is_given_overrules_a_preset():
    given = with_preset(RestoreOptions(steps=12), "balanced", given=["steps"])
    assert noise_levels(given) == karras_sigmas(12)
    assert given.guidance_sigmas == (0.3, 10.0)
    assert noise_levels(with_preset(RestoreOptions(steps=12), "exact", ["steps"]).first_options()) == karras_sigmas(12)
    assert noise_levels(with_preset(RestoreOptions(schedule="simple"), "fast", ["schedule"]))[0] == 700
    simple = RestoreOptions(schedule="simple", guidance_sigmas=(0.3, 10.0))
    assert with_preset(RestoreOptions(schedule="simple"), "fast", ["schedule"]) == simple
    assert with_preset(RestoreOptions(first_steps=2), "fast", ["first_steps"]).first_options().level_count == 2
    assert "guidance_sigmas" not in preset_values("balanced", ["guidance_sigmas"])
    assert "decode_overlap" not in preset_values("reference", ["decode_overlap"])


def test_the_log_has_a_line_for_every_pass_and_step():
    """The estimate is sigma everywhere, so it moves by the difference of two levels; one element moves 1 further."""

    def estimate(x, sigma, *_):
        found = torch.full_like(x, sigma)
        found[0, 2, 1, 1, 1] += sigma == 1.0
        return found

    told = []
    networks = networks_of(estimate, StubReferrer())
    linear = WindowPlan(name="linear")
    options = RestoreOptions(levels="4,1", first_levels="9,7,1", guidance=(1.0, 1.0), plan=linear)
    log = LevelLog(options, lambda *event: told.append(event[0]))
    for _ in range(2):
        restore(networks, clip(20), BFR, options, callback=log)
    rows = [(row.run, row.phase, row.step, row.sigma, row.frames) for row in log.changes]
    first = [("first", 1, 9.0, 16), ("first", 2, 7.0, 16), ("first", 3, 1.0, 16)]
    assert rows == [(run, *row) for run in (1, 2) for row in (*first, ("main", 1, 4.0, 20), ("main", 2, 1.0, 20))]
    assert [row.mean is None for row in log.changes[:5]] == [True, False, False, True, False]
    assert log.changes[1].mean == log.changes[1].most == 2.0
    assert log.changes[2].most == 6.0
    assert log.changes[2].mean == pytest.approx(6.0 - 1 / (16 * 4 * 4 * 4))
    assert told.count("denoise") == 4
    assert "encode" in told


def test_runs_of_one_pass_are_counted_one_by_one():
    options = RestoreOptions(levels="4,1", passes=1)
    log = LevelLog(options)
    for _ in range(3):
        restore(networks_of(), clip(4), BFR, options, callback=log)
    assert [(row.run, row.step) for row in log.changes] == [(run, step) for run in (1, 2, 3) for step in (1, 2)]


def test_a_shot_of_one_pass_and_the_next_of_two_are_two_runs():
    """As where no face is found in the first shot."""
    options = RestoreOptions(levels="4,1", first_levels="9", guidance=(1.0, 1.0))
    log = LevelLog(options)
    for passes in (1, 2):
        networks = networks_of(referrer=StubReferrer())
        restore(networks, clip(4), BFR, dataclasses.replace(options, passes=passes), callback=log)
    rows = [(row.run, row.phase) for row in log.changes]
    assert rows == [(1, "main"), (1, "main"), (2, "first"), (2, "main"), (2, "main")]
