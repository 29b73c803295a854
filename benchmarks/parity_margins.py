"""How much of its tolerance every comparison with a reference uses, on the CPUs that this one can play.

    python benchmarks/parity_margins.py [--inside] [--settings default-1 avx512-2 ...]

Runs the tests that compare numbers (`assert_near` in tests/support/near.py) once for every setting, each in a process
of its own: what torch, oneDNN and MKL may use of the CPU, and one or two threads. Prints a row for each assertion with
measured over allowed, the worst of its cases, in a column for each setting. An assertion above 0.5 is marked: another
CPU may exceed what it allows. --inside adds the tests that run in ComfyUI's Python (`make test` makes it).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEVELS = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {
        "ATEN_CPU_CAPABILITY": "avx512",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE",
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
    },
}
SETTINGS = {
    f"{level}-{threads}": {**variables, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    for level, variables in LEVELS.items()
    for threads in (1, 2)
}
TESTS = ("parity", "stc/test_network.py", "networks/test_models.py", "metrics/test_fvd.py", "metrics/test_pixels.py")
INSIDE = ("test_model", "test_vae", "test_nodes", "test_memory")
ROOM = 0.5
"""What an assertion may use here of what it allows."""


def main() -> int:
    options = _options()
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    if options.inside:
        tests += [f"{ROOT}/tests/comfy/test_inside.py::test_inside_comfyui[{name}]" for name in INSIDE]
    worst: dict[str, dict[str, float]] = defaultdict(dict)
    for setting in options.settings:
        for assertion, share in margins(tests, SETTINGS[setting]):
            worst[assertion][setting] = max(share, worst[assertion].get(setting, 0))
    print("| assertion | " + " | ".join(options.settings) + " |")
    print("| --- |" + " ---: |" * len(options.settings))
    for assertion, shares in sorted(worst.items()):
        told = [f"{shares[name]:.3f}" if name in shares else "" for name in options.settings]
        print(f"| {assertion} | " + " | ".join(told) + (" | above" if max(shares.values()) > ROOM else " |"))
    print(f"{len(worst)} assertions, {sum(max(shares.values()) > ROOM for shares in worst.values())} above {ROOM}")
    return 0


def margins(tests: list[str], variables: dict[str, str]) -> list[tuple[str, float]]:
    """Pairs of an assertion and its measured over allowed, of every case of a run with these variables."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "margins.jsonl"
        # Threads that wait for each other asleep: the same sums, much sooner where others use the cores.
        environment = {**os.environ, **variables, "OMP_WAIT_POLICY": "PASSIVE", "SVFR_MARGINS": str(record)}
        command = [sys.executable, "-m", "pytest", "-rf", *tests]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith("FAILED")] + done.stdout.splitlines()[-1:]
        print(variables, *said, sep="\n", file=sys.stderr)
        return [_share(json.loads(line)) for line in record.read_text(encoding="utf-8").splitlines()]


def _share(line: dict) -> tuple[str, float]:
    test = line["test"].split("[")[0].removeprefix("tests/")
    allowed = line["allowed"] * line["scale"]
    return f"{test} {line['what']}, {line['allowed']:g}", line["error"] / allowed if allowed else 0.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", action="store_true", help="also the tests that run in ComfyUI's Python")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
