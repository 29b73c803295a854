"""Folders of short drawn clips for the tests of batches: most can be restored, some are bad, one shows no face."""

from __future__ import annotations

import json
from pathlib import Path

from support import odd_files as odd
from support.files import gradient, write

from svfr_model.synthesis.clips import make_clip
from svfr_model.tiny.evaluate import HELD_OUT

BAD = (odd.empty, odd.text, odd.cut(odd.clip(), 0.5), odd.settings(a=1))
"""What is no video, though its name says so."""
FIRST = HELD_OUT + 700_000
OPTIONS = ("--steps", "2", "--size", "64", "--device", "cpu")
"""Quick, for svfr-tiny."""


def write_clips(folder: Path, count: int, bad: int = len(BAD)) -> Path:
    """A folder of count clips of 64x64, of which so many are bad, and one is without a face."""
    folder.mkdir(parents=True)
    for number in range(count):
        path = folder / f"clip{number:02}.mp4"
        if number % 9 == 4 and number // 9 < bad:
            BAD[number // 9](path)
        elif number == 2:
            write(path, gradient(5, 64, 64))
        else:
            write(path, list(make_clip(FIRST + number, 4 + number % 5, 64, view=1.5).frames))
    return folder


def lines_of(results: Path) -> list[dict]:
    """All lines of a folder's status file."""
    return [json.loads(line) for line in (results / "status.jsonl").read_text(encoding="utf-8").splitlines()]


def ends_of(results: Path) -> dict[str, tuple]:
    """What became of each clip in the end: fingerprint, state, message and exit code."""
    kept = ("fingerprint", "state", "message", "exit_code")
    ended = [line for line in lines_of(results) if line["state"] in ("done", "failed")]
    return {line["id"]: tuple(line[name] for name in kept) for line in ended}


def files_of(results: Path) -> dict[str, bytes]:
    """The content of every result by its name."""
    return {path.name: path.read_bytes() for path in sorted(results.glob("*.mp4"))}
