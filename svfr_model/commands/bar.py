"""The progress bar of every command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..progress import Callback


def progress(quiet: bool) -> Callback | None:
    """The callback that shows how far the work is; None for one that is to be quiet."""
    return None if quiet else ProgressBar()


class ProgressBar:
    """The library's callback as one bar per stage on the standard error stream."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar = None

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:  # noqa: ARG002
        """Move the bar; a new stage gets a new one. The windows inside a step have none."""
        from tqdm import tqdm

        if stage.endswith("windows"):
            return
        if stage != self._stage or self._bar is None or self._bar.total != total:
            self.close()
            self._stage, self._bar = stage, tqdm(total=total, desc=stage, file=sys.stderr)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Leave the current bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
