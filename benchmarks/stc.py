"""What BFVR-STC costs at full size, with random weights. Run by hand: python benchmarks/stc.py [full] [explicit]

full      time and peak memory of one window of 24 frames at 512x512, on the GPU where there is one, else on the CPU.
explicit  peak memory of ours against the same network with its attention written out as in the reference (the whole
          score matrix, scaled, then its softmax), at --frames frames: 16 need about 10 GB.

Every measurement is a process of its own, so that one's peak memory is not another's. The CPU's peak is the largest
resident size of that process, Python and torch included; a GPU's is what torch allocated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from svfr_model.stc import blocks
from svfr_model.stc.network import build_network
from svfr_model.stc.options import WINDOW


def explicit_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Attention with its score matrix, in the reference's three steps."""
    scores = q @ k.transpose(-1, -2)
    scores = scores * q.shape[-1] ** -0.5
    return torch.softmax(scores, dim=-1) @ v


def measure(which: str, task: str, frames: int, device: str) -> dict[str, float]:
    """One forward pass in this process: seconds, peak bytes, and a number that tells two results apart."""
    if which == "explicit":
        blocks.attend = explicit_attention
    torch.manual_seed(0)
    network = build_network(task).to(device)
    clip = torch.rand(1, 3, frames, network.img_size, network.img_size, device=device)
    idle = peak_rss()
    begin = time.perf_counter()
    latent = network(clip)[3]
    result = latent.double().abs().mean().item()
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_rss()
    return {"seconds": seconds, "peak": peak, "idle": idle, "result": result}


def peak_rss() -> int:
    """Peak resident bytes of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def apart(*arguments: object) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report_full(task: str, device: str) -> None:
    row = apart("ours", task, WINDOW, device)
    size = "without Python and torch" if device == "cuda" else f"{row['idle'] / 2**30:.2f} GiB of it before the pass"
    print(
        f"{task}, {WINDOW} frames of 512x512, {device}, {torch.get_num_threads()} threads: {row['seconds']:.1f} s, "
        f"peak {row['peak'] / 2**30:.2f} GiB ({size})"
    )


def report_explicit(task: str, frames: int, device: str) -> None:
    ours, explicit = (apart(which, task, frames, device) for which in ("ours", "explicit"))
    assert abs(ours["result"] - explicit["result"]) < 1e-4, "the two do not compute the same thing"
    print(f"{task}, {frames} frames of 512x512, {device}, {torch.get_num_threads()} threads:")
    for name, row in {"ours": ours, "explicit attention": explicit}.items():
        print(f"  {name:20} {row['seconds']:7.1f} s, peak {row['peak'] / 2**30:.2f} GiB")
    print(f"  ratio of peak memory {ours['peak'] / explicit['peak']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=["full", "explicit", []], default=[])
    parser.add_argument("--task", default="bfr")
    parser.add_argument("--frames", type=int, default=16, help="of the comparison with explicit attention")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        which, task, frames, device = arguments.one
        print(json.dumps(measure(which, task, int(frames), device)))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = arguments.cases or ["full", "explicit"]
    if "full" in cases:
        report_full(arguments.task, device)
    if "explicit" in cases:
        report_explicit(arguments.task, arguments.frames, device)


if __name__ == "__main__":
    main()
