"""Temporal windows: coverage, joins, cuts, padding."""

import itertools

import pytest

from svfr_model.base.errors import InputError
from svfr_model.engine.windows import WindowPlan, linear_windows, pad_shots, reference_windows, shots, triangle_weights


def test_triangle_weights_are_the_references():
    assert triangle_weights(16) == (1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1)
    assert triangle_weights(5) == (1, 2, 3, 2, 1)


@pytest.mark.parametrize("count", [*range(1, 40), 100, 333])
@pytest.mark.parametrize(("length", "overlap"), [(16, 3), (8, 3), (4, 0), (16, 15), (1, 0)])
def test_both_plans_cover_every_frame_at_every_step(count, length, overlap):
    for step in range(12):
        for windows in (
            reference_windows(count, length, overlap, step),
            linear_windows(count, length, overlap, step),
        ):
            assert {frame for window in windows for frame in window.frames} == set(range(count))
            assert all(weight > 0 for window in windows for weight in window.weights)


@pytest.mark.parametrize("count", [1, 3, 15, 16, 17, 40, 101])
def test_linear_windows_are_runs_inside_the_clip_with_the_overlap(count):
    for step in range(12):
        windows = linear_windows(count, 16, 3, step)
        for window in windows:
            first = window.frames[0]
            assert window.frames == tuple(range(first, first + min(16, count)))
        for before, after in itertools.pairwise(windows):
            assert len(set(before.frames) & set(after.frames)) >= 3


def test_linear_windows_never_cross_a_cut():
    cuts = (5, 20, 61)
    for step in range(9):
        for window in linear_windows(100, 16, 3, step, cuts):
            assert not any(window.frames[0] < cut <= window.frames[-1] for cut in cuts)


def test_linear_joins_move_from_step_to_step():
    starts = {tuple(w.frames[0] for w in linear_windows(60, 16, 3, step)) for step in range(8)}
    assert len(starts) == 8


@pytest.mark.parametrize(
    ("step", "starts"),
    [(0, [0, 13, 26, 39]), (1, [-3, 10, 23, 36]), (2, [-6, 7, 20, 33]), (3, [-9, 7, 23]), (6, [-2, 14, 30])],
)
def test_the_references_windows_start_where_it_starts_them(step, starts):
    """40 frames: every 13 frames, from step 3 on every 16, all moved back by 3 frames a step modulo 16."""
    found = [window.frames for window in reference_windows(40, 16, 3, step)]
    assert found == [tuple((start + j) % 40 for j in range(16)) for start in starts]


def test_reference_windows_overlap_in_the_first_three_steps_only():
    counts = [sum(len(w.frames) for w in reference_windows(52, 16, 3, step)) for step in range(5)]
    assert counts == [64, 64, 64, 64, 64]
    assert [len(reference_windows(160, 16, 3, step)) for step in range(5)] == [13, 13, 13, 10, 10]


def test_plan_refuses_what_it_cannot_do():
    with pytest.raises(InputError, match="cannot overlap"):
        WindowPlan(4, 4, "linear").at_step(10, 0)
    with pytest.raises(InputError, match="linear"):
        WindowPlan(name="reference", cuts=(3,))
    with pytest.raises(InputError, match="name must be reference or linear, not 'circular'"):
        WindowPlan(name="circular")
    with pytest.raises(InputError, match="no frames"):
        reference_windows(0, 16, 3, 0)


def test_shots_are_the_ranges_between_cuts():
    assert shots(10, (3, 7)) == [(0, 3), (3, 7), (7, 10)]
    assert shots(10) == [(0, 10)]
    for cuts in ((0,), (10,), (5, 3), (4, 4)):
        with pytest.raises(InputError):
            shots(10, cuts)


def test_short_shots_are_padded_with_their_last_frame():
    padding = pad_shots(8, (2, 7))
    assert padding.frames == (0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7)
    assert padding.kept == (0, 1, 4, 5, 6, 7, 8, 9)
    assert padding.cuts == (4, 9)
    assert [padding.frames[position] for position in padding.kept] == list(range(8))


def test_long_shots_are_not_padded():
    padding = pad_shots(20, (10,))
    assert padding.frames == padding.kept == tuple(range(20))
    assert padding.cuts == (10,)
