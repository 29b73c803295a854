"""What each part of the suite takes, beside the seconds that it may take on one idle core.

Whoever adds tests adds seconds: a part that passes its budget makes room (smaller clips, fewer steps, a fixture for a
module instead of a test), marks a test as slow, or takes seconds from a part that has some left. The sum over two cores
is what `make test` takes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

BUDGET = {
    "tests": 40,
    "tests/base": 10,
    "tests/commands": 180,
    "tests/engine": 20,
    "tests/files": 10,
    "tests/media": 120,
    "tests/networks": 20,
    "tests/runs": 90,
    "tests/synthesis": 20,
    "tests/tiny": 80,
    "tests/weights": 30,
    "tests/comfy": 60,
    "tests/comfy/inside": 300,
    "tests/comfy/server": 450,
    "tests/faces": 60,
    "tests/faults": 200,
    "tests/metrics": 60,
    "tests/reports": 40,
    "tests/parity": 60,
    "tests/stc": 60,
    "tests/training": 120,
}


def part_of(nodeid: str) -> str:
    """The part that a test belongs to: its folder, or `inside` for what runs in ComfyUI's own Python."""
    folder = nodeid.split("::")[0].rpartition("/")[0]
    return "tests/comfy/inside" if "test_inside.py" in nodeid else folder


def table(durations: Iterable[tuple[str, float]]) -> Iterator[str]:
    """The lines to print for pairs of a test's id and seconds; none for a run of less than a minute."""
    seconds: dict[str, float] = defaultdict(float)
    for nodeid, duration in durations:
        seconds[part_of(nodeid)] += duration
    if sum(seconds.values()) < 60:
        return
    yield f"{'part':<24}{'seconds':>8}{'budget':>8}"
    for part, taken in sorted(seconds.items()):
        yield f"{part:<24}{taken:>8.0f}{BUDGET.get(part, 0):>8}"
    yield f"{'all':<24}{sum(seconds.values()):>8.0f}{sum(BUDGET.values()):>8}"
