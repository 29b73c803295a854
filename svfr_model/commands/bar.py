"""The progress bar of every command, and messages that do not run into it."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from torch import Tensor
    from tqdm import tqdm

    from ..base.progress import Callback
    from ..runs.batch import BatchClip
    from ..runs.status import Status

    StreamHandler = logging.StreamHandler[TextIO]
else:
    StreamHandler = logging.StreamHandler

_REDRAWN_SECONDS = 0.5
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


class BatchBar(ProgressBar):
    """One bar over the frames of many clips, with the time left; beside it what is at work."""

    def __init__(self, frames: int) -> None:
        """frames: of all clips together."""
        super().__init__()
        self._total, self._done = frames, 0
        self._clip, self._shown_at = "", 0.0

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:  # noqa: ARG002
        """Say how far the clip at work is."""
        if not stage.endswith("windows"):
            self._show(f"{self._clip}: {stage} {done}/{total}")

    def told(self, clip: BatchClip, status: Status) -> None:
        """Show what has happened to a clip."""
        if status.state == "started":
            self._clip = clip.id
        elif status.state != "retried":
            self._done += max(1, clip.frames)
        self._show(f"{clip.id}: {status.state}", at_once=True)

    def _show(self, words: str, *, at_once: bool = False) -> None:
        if self._lost or not (at_once or time.monotonic() - self._shown_at > _REDRAWN_SECONDS):
            return
        self._shown_at = time.monotonic()
        try:
            self._draw(words)
        except OSError:
            self._lost = True
            self._drop()

    def _draw(self, words: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            # smoothing 0: clips differ, so the time left follows from all frames and not from the last clip's
            self._bar = tqdm(total=self._total, desc="batch", unit="frame", smoothing=0, file=sys.stderr)
            _shown.append(self)
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update(self._done - self._bar.n)
        self._bar.refresh()
        if self._done >= self._total:
            self.close()


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
