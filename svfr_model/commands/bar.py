"""The progress bar of every command, and messages that do not run into it."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..base.progress import Callback

    StreamHandler = logging.StreamHandler[TextIO]
else:
    StreamHandler = logging.StreamHandler

_shown: list[ProgressBar] = []


def progress(quiet: bool) -> Callback | None:
    """The callback that shows how far the work is; None for one that is to be quiet."""
    return None if quiet else ProgressBar()


def close() -> None:
    """Leave what bars are shown as they stand, so that a message begins on a line of its own."""
    for shown in list(_shown):
        shown.close()


class ProgressBar:
    """The library's callback as one bar per stage on the standard error stream.

    Where that stream takes no more (a log on a full disk, a reader that has gone) the work goes on without a bar.
    """

    def __init__(self) -> None:
        self._stage = ""
        self._bar: tqdm[NoReturn] | None = None
        self._lost = False

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:  # noqa: ARG002
        """Move the bar; a new stage gets a new one. The windows inside a step have none."""
        if stage.endswith("windows") or self._lost:
            return
        try:
            self._move(stage, done, total)
        except OSError:
            self._lost = True
            self._drop()

    def _move(self, stage: str, done: int, total: int) -> None:
        from tqdm import tqdm

        if stage != self._stage or self._bar is None or self._bar.total != total:
            self.close()
            self._stage = stage
            self._bar = tqdm(total=total, desc=stage, file=sys.stderr)
            _shown.append(self)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Leave the current bar as it stands."""
        if self._bar is not None:
            with contextlib.suppress(OSError):
                self._bar.close()
            self._drop()

    def _drop(self) -> None:
        if self._bar is not None:
            self._bar.disable = True  # tqdm draws it no more, not even when it is collected
            self._bar = None
            _shown.remove(self)


class LogHandler(StreamHandler):
    """Log lines on the standard error stream; a bar makes way for each and is drawn again below it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, if the stream takes it."""
        from tqdm import tqdm

        with contextlib.suppress(OSError), tqdm.external_write_mode(file=self.stream):
            super().emit(record)
