"""What became of the clips of a batch, in a file of JSON Lines that a second start and a person can read."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ..files.lines import read_lines

State: TypeAlias = Literal["started", "retried", "done", "failed"]


@dataclass(frozen=True)
class Status:
    """One line: what happened to a clip.

    id: the clip's output, as a path below the folder of results. fingerprint: see `runs.fingerprint`. state: "started"
    when a worker gets it, "retried" where that ended by what may pass, "done" or "failed" at its end. seconds: of the
    try that ended. message: why it failed, "" otherwise. exit_code: what `restore` or `stc` would have returned; None
    while it is not known. lasting: another try would fail again. time: when, in UTC.
    """

    id: str
    fingerprint: str
    state: State
    seconds: float = 0.0
    message: str = ""
    exit_code: int | None = None
    lasting: bool = False
    time: str = ""

    def line(self) -> dict[str, Any]:
        """As it is written, with the time of now."""
        return asdict(self) | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def status_name(part: tuple[int, int]) -> str:
    """The name of the file of a part (which, of how many): parts that run at once share no file."""
    number, count = part
    return "status.jsonl" if count == 1 else f"status-{number}-of-{count}.jsonl"


def known_statuses(folder: Path) -> dict[str, Status]:
    """The newest status of every clip by id, from all status files in a folder of results."""
    entries = [entry for path in sorted(folder.glob("status*.jsonl")) for entry in read_lines(path)]
    found = [status for status in _statuses(entries) if status.state != "retried"]
    return {status.id: status for status in sorted(found, key=lambda status: status.time)}


def _statuses(entries: Iterable[dict[str, Any]]) -> Iterable[Status]:
    """Those of the objects that are lines of a status file."""
    for entry in entries:
        if isinstance(entry.get("id"), str) and entry.get("state") in get_args(State):
            yield Status(**{name: entry[name] for name in Status.__dataclass_fields__ if name in entry})
