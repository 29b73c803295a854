"""`make bench-gpu`, tried on the CPU with small networks: the script runs to its end and fills its tables."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

CODE = """
import runpy, sys, torch
torch.compile = lambda network, **_: network  # tracing takes minutes
sys.argv = ["gpu.py", *sys.argv[1:]]
runpy.run_path("benchmarks/gpu.py", run_name="__main__")
"""


def bench(root, *words):
    return subprocess.run([sys.executable, "-c", CODE, *words], cwd=root, capture_output=True, text=True, timeout=600)


@pytest.mark.slow  # a minute of small networks
def test_every_table_is_filled(root, tmp_path):
    out = tmp_path / "table.md"
    words = ["--reduced", "--device", "cpu", "--frames", "4", "--size", "32", "--out", str(out)]
    done = bench(root, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    table = out.read_text()
    assert "matrix peak" in table
    number = r"\| \d+\.\d+ \|"
    for name in ("reference", "exact", "balanced", "fast", "preview"):
        assert re.search(rf"^\| `{name}` {number}", table, re.M), f"{name} is not measured:\n{table}"
    for name in (
        "the reference's, transcribed",
        "`balanced`, 12 frames",
        "with reference and identity",
        "as diffusers runs it",
        "decode 16 frames at once",
        "decode 16 frames one by one",
        "channels_last",
        "weights in fp8",
        "torch.compile",
    ):
        assert re.search(rf"^\| {re.escape(name)} {number}", table, re.M), f"{name} is not measured:\n{table}"
    assert "only be looked for on a GPU" in table


def test_without_a_gpu_it_says_so(root, tmp_path):
    done = bench(root, "--device", "cpu", "--out", str(tmp_path / "table.md"))
    assert done.returncode == 1
    assert "no CUDA device" in done.stderr
    assert not list(tmp_path.iterdir())
