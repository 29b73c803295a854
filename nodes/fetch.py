"""Downloads in a thread of their own, so that cancel need not wait for the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import comfy.model_management
import comfy.utils
import torch

from ..svfr_model.weights import download, weight_file
from ..svfr_model.weights.hub import amount
from .phases import BETWEEN, left_in_words, tell

_POLL = 0.1
"""Seconds between two looks at the cancel button."""
_UNKNOWN = 200 << 20
"""Bytes that a file counts as, before its source has told its size."""
_ONE = threading.Lock()
"""Held by the thread that downloads. One that was cancelled ends at its next bytes, at the latest when its connection
is given up; the next download waits for that, because both write one file."""


class _CancelledError(Exception):
    """Ends the thread."""


class Download(threading.Thread):
    """Fetches the files of roles into a folder; begun by `start`, waited for by `wait`. The licences are accepted."""

    def __init__(self, roles: Sequence[str], folder: Path, node: str | None) -> None:
        """node: the id of the node that shows what is fetched; None for no text."""
        super().__init__(name="SVFR Get Weights", daemon=True)
        self._roles, self._folder, self._node = list(roles), folder, node
        files = [weight_file(role) for role in roles]
        self._sizes = {entry.role: entry.size or entry.about or _UNKNOWN for entry in files}
        self._done = dict.fromkeys(roles, 0)
        self._cancelled = threading.Event()
        self._paths: list[Path] = []
        self._error: Exception | None = None

    def run(self) -> None:
        """In the thread."""
        with _ONE:
            try:
                for role in self._roles:
                    self._report(role, 0, 0)
                    self._paths += download([role], self._folder, accept_license=True, callback=self._told)
                    self._report(role, self._sizes[role], self._sizes[role])
            except _CancelledError:
                pass
            except Exception as error:  # noqa: BLE001 - it is raised by wait
                self._error = error

    def wait(self) -> list[Path]:
        """The files, once all are there. Raises what went wrong, and ComfyUI's own exception after the user cancelled.

        What has come of a file is kept, and the next download goes on from there.
        """
        bar, begun = comfy.utils.ProgressBar(sum(self._sizes.values())), time.monotonic()
        told, kept = begun, 0.0
        try:
            while self.is_alive():
                comfy.model_management.throw_exception_if_processing_interrupted()
                self.join(_POLL)
                bar.update_absolute(sum(self._done.values()), sum(self._sizes.values()))
                kept = kept or self._share()  # what an earlier download left says nothing of the speed
                if time.monotonic() - told > BETWEEN:
                    told = time.monotonic()
                    gained = (self._share() - kept) / (1 - kept) if kept < 1 else 0.0
                    tell(self._node, self._words() + left_in_words(gained, told - begun))
        finally:
            self._cancelled.set()
        if self._error is not None:
            raise self._error
        return self._paths

    def _told(self, stage: str, done: int, total: int, _: torch.Tensor | None = None) -> None:
        """The library's callback, in the thread."""
        self._report(stage.removeprefix("download "), done, total)

    def _report(self, role: str, done: int, total: int) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        self._done[role], self._sizes[role] = done, total or self._sizes[role]

    def _share(self) -> float:
        """The part of all bytes that is there, 0 to 1."""
        return sum(self._done.values()) / sum(self._sizes.values())

    def _words(self) -> str:
        """Such as "unet.pth, 1.20 GiB of 2.84 GiB"."""
        role = next((role for role in self._roles if self._done[role] < self._sizes[role]), self._roles[-1])
        return f"{weight_file(role).name}, {amount(self._done[role])} of {amount(self._sizes[role])}"
