"""Frames written in a thread, while the next ones are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import numpy as np

from ..base.background import Behind
from ..base.progress import Callback
from ..media import ClipWriter

WAITING = 8
"""Frames that wait to be written at most."""


def write_behind(frames: Iterable[np.ndarray], writer: ClipWriter, targets: ExitStack) -> None:
    """Write frames (H,W,3) with a writer that is opened now, and closed by targets; raises what either side raises."""
    targets.enter_context(writer)

    def write(made: Iterator[np.ndarray], told: Callback) -> None:  # noqa: ARG001 - who makes the frames reports
        for frame in made:
            writer.write(frame)

    with Behind(write, WAITING) as behind:
        for frame in frames:
            behind.put(frame)
        behind.finish()
