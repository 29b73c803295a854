"""Everything in `inside`, run by ComfyUI's Python in one go, and told here file by file."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.comfy import run_tests_inside

INSIDE = Path(__file__).parent / "inside"
FILES = sorted(path.stem for path in INSIDE.glob("test_*.py"))


@pytest.fixture(scope="session")
def outcome(request, comfyui, tmp_path_factory):
    """The cases of every file that this session asked for, by file, and what pytest printed."""
    asked = {item.callspec.params["name"] for item in request.session.items if "outcome" in item.fixturenames}
    report = tmp_path_factory.mktemp("inside") / "report.xml"
    done = run_tests_inside(comfyui, [INSIDE / f"{name}.py" for name in sorted(asked)], report)
    if not report.exists():
        pytest.fail(f"pytest did not run inside ComfyUI:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    cases = {name: [] for name in asked}
    for case in ET.parse(report).iter("testcase"):
        cases[case.get("classname").split(".")[-1] or case.get("name")].append(case)
    return cases, done.stdout


@pytest.mark.parametrize("name", FILES)
def test_inside_comfyui(name, outcome):
    cases, printed = outcome
    failed = [case for case in cases[name] if case.find("failure") is not None or case.find("error") is not None]
    assert not failed, f"{len(failed)} of {len(cases[name])} failed inside ComfyUI:\n{printed[-20000:]}"
    skipped = {case.find("skipped").get("message") for case in cases[name] if case.find("skipped") is not None}
    if cases[name] and all(case.find("skipped") is not None for case in cases[name]):
        pytest.skip("; ".join(sorted(skipped)))
    assert cases[name], f"pytest found no test in {name}.py inside ComfyUI:\n{printed[-5000:]}"


@pytest.mark.slow
def test_the_slow_ones_inside_comfyui(comfyui, tmp_path):
    report = tmp_path / "report.xml"
    done = run_tests_inside(comfyui, [INSIDE], report, "-m", "slow")
    cases = list(ET.parse(report).iter("testcase"))
    assert done.returncode == 0, done.stdout[-20000:]
    assert cases
    assert all(case.find("skipped") is None for case in cases), done.stdout[-5000:]
