"""What a `restore` that is killed (SIGKILL) in each of its phases does again when it is started again.

Run by hand: python benchmarks/killed.py [FRAMES]

A drawn face through FRAMES (300) of 640x360 is restored by svfr-tiny on the CPU, once undisturbed, and once more by
runs of which each goes on where the one before was killed, 60% through a phase. Counted are frames and steps, which
a busy machine does not change, though what is saved by the clock, every two seconds, is more on a quick one. Prints
for each kill what was done again, and whether the result is the undisturbed one byte for byte.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PHASES = ("detect", "crop", "encode", "first denoise", "denoise", "decode", "paste")
UNITS = {"first denoise": "steps", "denoise": "steps"}
SHARE = 0.6
FLAGS = ("--steps", "6", "--first-steps", "4", "--size", "64", "--device", "cpu", "--quiet")


def draw(path: Path, count: int) -> None:
    """A face that sways through grey, in one shot."""
    import cv2
    import numpy as np

    from svfr_model.media import ClipWriter
    from svfr_model.synthesis.clips import make_clip

    faces = [cv2.resize(frame, (360, 360)) for frame in make_clip(800_001, 16, 128, view=1.5).frames]
    with ClipWriter(path, Fraction(25), (640, 360)) as writer:
        for number in range(count):
            frame = np.full((360, 640, 3), 90, np.uint8)
            left = 140 + round(30 * np.sin(number / 20))
            frame[:, left : left + 360] = faces[abs(number % 30 - 15)]
            writer.write(frame)


def restore(source: str, target: str, events: str, stage: str) -> None:
    """In a process of its own: note every report, and die 60% through a stage; "" for none."""
    from svfr_model import commands
    from svfr_model.commands import restore as command
    from svfr_model.tiny.model import bundled

    log = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def told(name: str, done: int, total: int, preview: object = None) -> None:
        del preview
        os.write(log, json.dumps([name, done]).encode() + b"\n")
        if name == stage and done >= SHARE * total:
            os.kill(os.getpid(), signal.SIGKILL)

    command.progress = lambda quiet: told
    sys.exit(commands.main(["restore", source, target, *FLAGS, "--weights", str(bundled())]))


def run(source: Path, target: Path, name: str, stage: str) -> list[tuple[str, int]]:
    """What a run has told; its events are in a file of this name beside the target's folder."""
    events = source.with_name(f"events-{name}")
    words = [sys.executable, __file__, "--run", str(source), str(target), str(events), stage]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    expected = -signal.SIGKILL if stage else 0
    if done.returncode != expected:
        sys.exit(f"{name} ended with {done.returncode}, not {expected}:\n{done.stderr}")
    lines = events.read_text(encoding="utf-8").splitlines()
    return [(event[0], event[1]) for event in map(json.loads, lines)]


def sizes(events: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Frames or steps of each report of an undisturbed run."""
    last: dict[str, int] = {}
    found = {}
    for stage, done in events:
        found[stage, done] = done - last.get(stage, 0)
        last[stage] = done
    return found


def told(events: list[tuple[str, int]], size: dict[tuple[str, int], int], seen: set[tuple[str, int]]) -> str:
    """What of this was done before, in words."""
    again: dict[str, int] = {}
    for event in events:
        if event in seen:
            again[event[0]] = again.get(event[0], 0) + size.get(event, 0)
    words = [f"{count} {UNITS.get(stage, 'frames')} of {stage}" for stage, count in again.items() if count]
    return ", ".join(words) or "nothing"


def main() -> None:
    """Print a line for each kill."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        source, plain, target = (Path(folder) / name for name in ("in.mp4", "plain/out.mp4", "killed/out.mp4"))
        for path in (plain, target):
            path.parent.mkdir()
        draw(source, count)
        whole = run(source, plain, "undisturbed", "")
        size = sizes(whole)
        print(", ".join(f"{stage} {max(d for s, d in whole if s == stage)}" for stage in PHASES), flush=True)
        seen: set[tuple[str, int]] = set()
        killed = ""
        for number, stage in enumerate((*PHASES, "")):
            events = run(source, target, str(number), stage)
            if killed:
                print(f"killed in {killed:14} done again: {told(events, size, seen)}", flush=True)
            seen |= set(events)
            killed = stage
        same = target.read_bytes() == plain.read_bytes()
        left = sorted(path.name for path in target.parent.iterdir())
        print(f"the same bytes: {same}; left beside the result: {left[:-1]}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        restore(*sys.argv[2:])
    else:
        main()
