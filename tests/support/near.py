"""The one way in which tests hold numbers against a reference: relative to its largest magnitude, and on record.

With SVFR_MARGINS naming a file, every comparison leaves a line there: which it was, and how much of what it allows was
used. `benchmarks/parity_margins.py` collects these over CPU capabilities and numbers of threads.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import torch


def assert_near(found, expected, relative: float, what: str = "") -> None:
    """found differs from expected by at most relative times the largest magnitude of expected.

    Both are tensors, arrays, numbers or lists of one shape. what names the comparison where a test makes several.
    """
    found, expected = (
        (value if isinstance(value, torch.Tensor) else torch.from_numpy(np.asarray(value, np.float64))).double()
        for value in (found, expected)
    )
    assert found.shape == expected.shape
    error, scale = (found - expected).abs().max().item(), expected.abs().max().item()
    _record(what, error, scale, relative)
    assert error <= relative * scale, f"{what} is {error / scale:.3g} of {scale:.3g} away, {relative:g} is allowed"


def _record(what: str, error: float, scale: float, relative: float) -> None:
    path = os.environ.get("SVFR_MARGINS")
    if not path:
        return
    caller = sys._getframe(2)
    while caller.f_code.co_name in ("near", "close"):  # a test module's own shorthand
        caller = caller.f_back
    test = os.environ.get("PYTEST_CURRENT_TEST", "").removesuffix(" (call)")
    line = {"test": test, "what": what or f"line {caller.f_lineno}", "error": error, "scale": scale}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({**line, "allowed": relative}) + "\n")
