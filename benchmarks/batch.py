"""How long a batch takes on so many workers, by simulation: the longest clip first, to whichever worker is free.

    python benchmarks/batch.py [--clips 1000] [--workers 1 8 64] [--sigma 0.5 0.8 1.0] [--lengths FILE]

A worker first loads its networks and then restores one clip after the other; a clip takes time in proportion to its
frames. Lengths are drawn from a log-normal distribution with a fixed seed, or read from a file with one number of
frames a line. The order is the one that `batch` uses (`longest_first`), beside it that of the list.

Printed: the makespan, from the start to the last worker's end; the ideal, which no order can beat: the larger of an
even share of all work, and the longest clip, each after the loading; and busy, the part of the workers' time, loading
included, that restores clips. Nothing here says how long a clip takes on a machine: give seconds a frame as measured.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from svfr_model.runs.batch import longest_first


@dataclass(frozen=True)
class Night:
    """What a simulated batch came to, in seconds."""

    makespan: float
    ideal: float
    busy: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--median", type=float, default=500, help="frames of the middle clip")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.5, 0.8, 1.0], help="of the logarithm of lengths")
    parser.add_argument("--lengths", type=Path, help="a file with the frames of each clip, one a line")
    parser.add_argument("--frame-seconds", type=float, default=1.0, help="of one frame on one worker, as measured")
    parser.add_argument("--loading", type=float, default=60, help="seconds in which a worker loads its networks")
    parser.add_argument("--seed", type=int, default=77)
    given = parser.parse_args()
    if given.lengths:
        lists = {given.lengths.name: [float(line) for line in given.lengths.read_text().split()]}
    else:
        lists = {f"sigma {s:g}": drawn(given.clips, given.median, s, given.seed) for s in given.sigma}
    head = f"{'longest':>10}{'ideal':>12}{'makespan':>12}{'busy':>8}{'list order':>12}{'busy':>8}"
    print(f"{'lengths':<12}{'workers':>8}{head}")
    for name, frames in lists.items():
        for workers in given.workers:
            seconds = [length * given.frame_seconds for length in frames]
            ordered = simulated(longest_first(seconds, float), workers, given.loading)
            listed = simulated(seconds, workers, given.loading)
            figures = f"{max(seconds):>10.0f}{ordered.ideal:>12.0f}{ordered.makespan:>12.0f}{ordered.busy:>8.1%}"
            print(f"{name:<12}{workers:>8}{figures}{listed.makespan:>12.0f}{listed.busy:>8.1%}")


def drawn(clips: int, median: float, sigma: float, seed: int) -> list[float]:
    """Log-normal lengths in frames."""
    chance = random.Random(seed)
    return [max(1.0, median * chance.lognormvariate(0, sigma)) for _ in range(clips)]


def simulated(seconds: Sequence[float], workers: int, loading: float) -> Night:
    """Clips in this order, each to the worker that is free first."""
    free = [loading] * workers
    for length in seconds:
        heapq.heapreplace(free, free[0] + length)
    makespan = max(free)
    ideal = loading + max(sum(seconds) / workers, max(seconds))
    return Night(makespan, ideal, sum(seconds) / (workers * makespan))


if __name__ == "__main__":
    main()
