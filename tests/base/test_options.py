"""Options are checked where they are made, are never converted, and say in words what they take."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, field, replace
from typing import Literal

import pytest

from svfr_model.base.errors import InputError
from svfr_model.base.options import Range, assemble, declared_in, option, options


@options
class Inner:
    """A group within another."""

    side: int = option(default=4, within=Range(1, 9), unit="pixels", help="Side.")


@options
class Outer:
    """One option of each kind."""

    count: int = option(default=3, within=Range(1, 5), help="Count.")
    share: float = option(default=0.5, within=Range(0.0, 1.0, above=True), help="Share.")
    ends: tuple[float, float] = option(default=(1.0, 2.0), within=Range(0.0, 10.0), help="Ends.")
    mode: Literal["a", "b", "c"] = option(default="a", help="Mode.")
    passes: Literal[1, 2] = option(default=2, help="Passes.")
    frame: Literal["best"] | int = option(default="best", within=Range(0), help="Frame.")
    limit: float | None = option(default=None, within=Range(0.0), help="Limit.")
    on: bool = option(default=False, help="Switch.")
    inner: Inner = field(default_factory=Inner)


def test_defaults_and_what_is_declared():
    assert Outer() == Outer(3, 0.5, (1.0, 2.0), "a", 2, "best", None, False, Inner(4))
    found = {entry.path: (entry.default, entry.about.help) for entry in declared_in(Outer)}
    assert found["inner", "side"] == (4, "Side.")
    assert [path[0] for path in found] == [
        "count", "share", "ends", "mode", "passes", "frame", "limit", "on", "inner"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count must be a whole number between 1 and 5, not 0."),
        ({"count": "3"}, "count must be a whole number between 1 and 5, not '3'."),
        ({"count": True}, "count must be a whole number between 1 and 5, not True."),
        ({"count": 2.0}, "count must be a whole number between 1 and 5, not 2.0."),
        ({"share": 0.0}, "share must be a number, above 0 and at most 1, not 0.0."),
        ({"share": float("nan")}, "share must be a number, above 0 and at most 1, not nan."),
        ({"share": False}, "share must be a number, above 0 and at most 1, not False."),
        ({"ends": (1.0, 99.0)}, "ends must be 2 values, each a number between 0 and 10, not 99.0."),
        ({"ends": (1.0, float("inf"))}, "ends must be 2 values, each a number between 0 and 10, not inf."),
        ({"ends": (1.0, 2.0, 3.0)}, "ends must be 2 values, each a number between 0 and 10, not (1.0, 2.0, 3.0)."),
        ({"mode": "d"}, "mode must be a, b or c, not 'd'."),
        ({"passes": True}, "passes must be 1 or 2, not True."),
        ({"frame": -1}, "frame must be best or a whole number, at least 0, not -1."),
        ({"frame": "worst"}, "frame must be best or a whole number, at least 0, not 'worst'."),
        ({"limit": -1.0}, "limit must be a number, at least 0, not -1.0."),
        ({"on": 1}, "on must be true or false, not 1."),
        ({"fast": True}, "There is no option fast."),
        ({"mode": "x" * 999}, f"mode must be a, b or c, not '{'x' * 59}...."),
        ({"mode": 1, "on": 1}, "mode must be a, b or c, not 1. on must be true or false, not 1."),
    ],
)
def test_what_cannot_be_used_is_said_in_words(change, message):
    with pytest.raises(InputError) as refused:
        Outer(**change)
    assert str(refused.value) == message


def test_positional_values_are_named_too():
    with pytest.raises(InputError, match="share must be a number"):
        Outer(3, 7.0)


def test_replacing_checks_again_and_nothing_can_be_set():
    assert replace(Outer(), count=5).count == 5
    with pytest.raises(InputError, match="count must be"):
        replace(Outer(), count=6)
    with pytest.raises(FrozenInstanceError):
        Outer().count = 4


def test_whole_numbers_will_do_for_numbers():
    made = Outer(share=1)
    assert made.share == 1.0
    assert isinstance(made.share, float)


def test_values_by_path_make_a_group_and_its_groups():
    assert assemble(Outer, {("count",): 2, ("inner", "side"): 7}, on=True) == Outer(count=2, on=True, inner=Inner(7))
    with pytest.raises(InputError, match=r"^--side must be a whole number between 1 and 9 pixels, not 10\.$"):
        assemble(Outer, {("inner", "side"): 10}, lambda entry: f"--{entry.name}")


def test_the_environment_changes_nothing(root):
    code = "from svfr_model.engine.options import RestoreOptions as R; print(R().steps, R().batch, R().plan.length)"
    told = {**os.environ, "STEPS": "4", "steps": "4", "BATCH": "9", "SVFR_STEPS": "4", "LENGTH": "5", "PLAN": "{}"}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=told, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["30", "2", "16"]
