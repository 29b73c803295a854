"""Common set-up: how tests see the pack, where their data lies, and seeded generators.

The repository root must not be on sys.path in a process that may run ComfyUI: its `nodes` folder would shadow
ComfyUI's nodes.py. So the library and the pack are registered here by path, the way ComfyUI loads a pack.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST_WORKERS = 4
"""More gain nothing: the two longest groups take as long as all others."""
LONGEST = ("tests/comfy/test_inside.py", "tests/comfy/server/")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto` is one worker for each core that this process may use."""
    return min(MOST_WORKERS, cores())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Each worker, and what it starts, keeps to its share of the cores. torch reads this once, on import.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Which worker runs what: `support.scheduling`."""
    from support.scheduling import GroupScheduling

    return GroupScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest groups, so that no core is left with one of them when the others are done."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many seconds each part of the suite took, beside what it may take."""
    from support.seconds import table

    reports = [report for name in ("passed", "failed", "error", "") for report in terminalreporter.stats.get(name, [])]
    for line in table((report.nodeid, report.duration) for report in reports):
        terminalreporter.write_line(line)



def load_package(name: str, folder: Path) -> ModuleType:
    """Import the package in folder under the given top-level name."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load_package("svfr_model", ROOT / "svfr_model")
load_package("comfyui_svfr", ROOT)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random state."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def root_logger_kept():
    """The command line sets up the root logger of its process; here that process goes on with the next test."""
    logger = logging.getLogger()
    level, handlers = logger.level, logger.handlers[:]
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers


@pytest.fixture(autouse=True)
def no_open_file_is_replaced(monkeypatch):
    """What a test of Linux can see of Windows: see `support.windows`."""
    from support.windows import refuse_open_files

    refuse_open_files(monkeypatch)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository root."""
    return ROOT


def find_data(name: str) -> Path | None:
    """A file of the shared test data, or None where this checkout has none beside it."""
    folder = Path(os.environ.get("SVFR_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = folder / name
    return path if path.exists() else None


REAL_CLIPS = ("portrait", "lq1") if find_data("lq1.mp4") else ("portrait",)


@pytest.fixture(scope="session")
def portrait_clip(tmp_path_factory) -> Path:
    """A video of a photographed face that moves, without sound: 85 frames, 128x128, 25 fps."""
    from support.clips import footage
    from support.files import write

    return write(tmp_path_factory.mktemp("footage") / "portrait.mp4", footage())


@pytest.fixture(scope="session", params=REAL_CLIPS)
def real_clip(request) -> Path:
    """The same; and where it is at hand lq1.mp4 too, a real degraded clip of the same form."""
    return request.getfixturevalue("portrait_clip") if request.param == "portrait" else find_data("lq1.mp4")


@pytest.fixture(scope="session")
def yunet_path() -> Path:
    """The weights of the YuNet detector that ships with the package."""
    from svfr_model.weights import embedded

    path = embedded("yunet")
    assert path is not None
    return path
