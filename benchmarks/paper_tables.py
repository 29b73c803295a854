"""Ours beside the papers' figures. Run by hand, with clips that you have: none are shipped and none are fetched.

    python benchmarks/paper_tables.py TRUTH --restored DIR [--task bfr] [--weights DIR] [--i3d FILE]
    python benchmarks/paper_tables.py TRUTH --restored DIR --degraded DIR --task bfr --weights DIR

TRUTH is a folder of true clips (videos, or folders of pictures), VFHQ-Test for the papers' tables; --restored holds
the restored ones under the same names, and --weights the face detector and recogniser that the identity metrics need.
With --degraded, its clips are restored into --restored first, whole frames without cropping, by the weights.

The papers' figures are typed from their tables. Nothing of theirs was run here, and what is printed as ours was
measured by this run on these files, and on nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from svfr_model.base.clip import Clip
from svfr_model.base.errors import InputError, SVFRError
from svfr_model.media import open_clip
from svfr_model.metrics import (
    METRICS,
    InstrumentChoice,
    Report,
    evaluate,
    frechet_distance,
    fvd_features,
    load_instruments,
)

RESTORED_TASKS = ("bfr", "colorization", "inpainting")
SVFR = "SVFR, supplement, table 1 (VFHQ-Test)"
STC = "BFVR-STC, table 1 (VFHQ-Test, first 24 frames)"
STC_FLICKER = "BFVR-STC, de-flicker table (no ground-truth guidance)"


@dataclass(frozen=True)
class Published:
    """Rows of one table of a paper: method, and its figures in the order of keys."""

    source: str
    keys: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float, ...]], ...]


SVFR_KEYS = ("psnr", "ssim", "lpips", "ids", "vidd", "fvd")
STC_KEYS = ("psnr", "ssim", "lpips", "akd_dense", "face_cons", "ids", "fvd", "flow")

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "bfr": (
        Published(
            SVFR,
            SVFR_KEYS,
            (
                ("lambda 0, 0", (28.936, 0.854, 0.242, 0.881, 0.489, 98.8)),
                ("lambda 0.1, 0", (28.695, 0.849, 0.245, 0.877, 0.504, 102.1)),
                ("lambda 0.01, 0", (29.296, 0.859, 0.225, 0.884, 0.486, 90.4)),
                ("lambda 0.01, 0.5", (29.077, 0.851, 0.233, 0.880, 0.491, 94.2)),
                ("SVFR (0.01, 0.1)", (29.563, 0.862, 0.223, 0.902, 0.479, 89.3)),
            ),
        ),
        Published(
            STC,
            STC_KEYS,
            (
                ("GFPGAN", (27.15, 0.8207, 0.2279, 4.134, 0.9950, 0.9206, 246.9, 1.316)),
                ("CodeFormer", (26.77, 0.8102, 0.2373, 4.543, 0.9947, 0.8596, 261.8, 2.672)),
                ("BasicVSR++", (27.22, 0.8218, 0.2742, 5.129, 0.9965, 0.9234, 392.7, 1.286)),
                ("PGTFormer", (28.68, 0.8426, 0.1752, 3.519, 0.9942, 0.9296, 107.6, 1.154)),
                ("KEEP", (27.04, 0.8223, 0.2370, 3.979, 0.9953, 0.8783, 264.9, 1.302)),
                ("BFVR-STC", (27.47, 0.8641, 0.1829, 3.858, 0.9954, 0.9312, 105.1, 1.150)),
            ),
        ),
    ),
    "colorization": (
        Published(
            SVFR,
            SVFR_KEYS,
            (
                ("lambda 0, 0", (22.921, 0.870, 0.274, 0.979, 0.501, 223.2)),
                ("lambda 0.1, 0", (22.788, 0.861, 0.277, 0.976, 0.503, 229.5)),
                ("lambda 0.01, 0", (22.987, 0.886, 0.270, 0.978, 0.498, 214.8)),
                ("lambda 0.01, 0.5", (22.908, 0.878, 0.273, 0.977, 0.498, 220.6)),
                ("SVFR (0.01, 0.1)", (23.079, 0.896, 0.272, 0.980, 0.497, 204.3)),
            ),
        ),
    ),
    "inpainting": (
        Published(
            SVFR,
            SVFR_KEYS,
            (
                ("lambda 0, 0", (28.303, 0.898, 0.156, 0.875, 0.511, 101.1)),
                ("lambda 0.1, 0", (28.004, 0.896, 0.161, 0.875, 0.515, 104.1)),
                ("lambda 0.01, 0", (28.337, 0.900, 0.155, 0.879, 0.508, 93.6)),
                ("lambda 0.01, 0.5", (28.164, 0.897, 0.158, 0.876, 0.511, 98.1)),
                ("SVFR (0.01, 0.1)", (29.119, 0.904, 0.153, 0.888, 0.504, 88.4)),
            ),
        ),
    ),
    "brightness-flicker": (
        Published(
            STC_FLICKER,
            ("fvd", "flow"),
            (("input", (494.3, 1.572)), ("NeuralAtlas", (111.0, 1.468)), ("BFVR-STC", (100.7, 1.100))),
        ),
    ),
    "pixel-flicker": (
        Published(
            STC_FLICKER,
            ("fvd", "flow"),
            (("input", (65.32, 1.702)), ("NeuralAtlas", (110.5, 1.471)), ("BFVR-STC", (86.88, 1.063))),
        ),
    ),
}
"""The papers' figures by task, as docs/reference/training.md gives them."""

LABELS = {key: metric.label for key, metric in METRICS.items()} | {"fvd": "FVD", "akd_dense": "AKD"}

DIFFERENCES = """How ours differ from theirs, where it is known:
- LPIPS: VGG-16 on RGB in [-1,1]; BFVR-STC's script normalises twice and swaps red and blue; SVFR's is not stated.
- IDS, VIDD, Face-Cons: the recogniser in --weights; BFVR-STC's script uses another ArcFace (ir_se50).
  VIDD's norm is not stated in the paper; ours is the L2 distance of unit embeddings.
- AKD: of other landmarks, which we have not got; ours, AKD-5, is of the detector's five, in pixels at 512.
- Flow score: OpenCV's DIS flow; theirs is RAFT.
- FVD: over the set of clips; BFVR-STC's script averages the feature distance of single clips."""


@dataclass(frozen=True)
class Beginning:
    """The first frames of a clip, as a clip."""

    clip: Clip
    count: int

    @property
    def fps(self) -> Fraction:
        return self.clip.fps

    @property
    def width(self) -> int:
        return self.clip.width

    @property
    def height(self) -> int:
        return self.clip.height

    def __len__(self) -> int:
        return min(self.count, len(self.clip))

    def __iter__(self) -> Iterator[np.ndarray]:
        return islice(iter(self.clip), self.count)


@dataclass(frozen=True)
class Measured:
    """What this run measured: every clip's report, FVD of the set, and the sizes of the frames."""

    reports: dict[str, Report]
    fvd: float | None
    fvd_absent: str

    def mean(self, key: str) -> tuple[float | None, int]:
        """The mean of a metric over the clips that have it, and how many those are."""
        if key == "fvd":
            return self.fvd, len(self.reports)
        values = [report.values[key] for report in self.reports.values() if key in report.values]
        return (float(np.mean(values)) if values else None), len(values)


def main() -> int:
    options = parse()
    try:
        if options.degraded is not None:
            restore_all(options)
        measured = measure(options)
    except SVFRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    show(measured, options)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ours beside the papers' figures.")
    parser.add_argument("truth", type=Path, metavar="TRUTH", help="folder of true clips")
    parser.add_argument("--restored", type=Path, required=True, help="folder of restored clips of the same names")
    parser.add_argument("--degraded", type=Path, help="folder of degraded clips to restore into --restored first")
    parser.add_argument("--mask", help="with --degraded and inpainting: white where the picture is missing")
    parser.add_argument("--task", choices=tuple(PUBLISHED), default="bfr")
    parser.add_argument("--weights", metavar="DIR", action="append", help="folder of weights; ./weights if not given")
    parser.add_argument("--i3d", type=Path, help="StyleGAN-V's i3d_torchscript.pt, for FVD")
    parser.add_argument("--frames", type=int, default=24, help="frames of each clip, 24 as BFVR-STC; 0 for all")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def clips_in(folder: Path) -> dict[str, Path]:
    """The clips of a folder by their names without ending."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder of videos, or of folders of pictures.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if found.setdefault(path.name if path.is_dir() else path.stem, path) is not path:
            raise InputError(f"{folder}: two clips are called {path.stem}. Keep one of them.")
    if not found:
        raise InputError(f"{folder}: the folder is empty. Put the clips there.")
    return found


def restore_all(options: argparse.Namespace) -> None:
    """Restore every degraded clip by the command line, as pictures, so that no codec adds its own errors."""
    if options.task not in RESTORED_TASKS:
        raise InputError(f"--degraded restores {', '.join(RESTORED_TASKS)}; for {options.task} give --restored alone.")
    for name, path in clips_in(options.degraded).items():
        command = [sys.executable, "-m", "svfr_model", "restore", path, options.restored / name, "--no-crop"]
        command += ["--tasks", options.task, "--device", options.device]
        command += [part for folder in options.weights or () for part in ("--weights", folder)]
        command += ["--mask", options.mask] if options.mask else []
        done = subprocess.run([str(part) for part in command], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
        if done.returncode:
            raise InputError(f"{path} was not restored; the message above says why.")


def measure(options: argparse.Namespace) -> Measured:
    """Evaluate every restored clip against the true one of its name."""
    truths, restored = clips_in(options.truth), clips_in(options.restored)
    missing = sorted(set(truths) - set(restored))
    if missing:
        raise InputError(
            f"{options.restored} holds no {', '.join(missing)}, which {options.truth} has. "
            "Restore all clips, or take these out."
        )
    tools = load_instruments(InstrumentChoice(options.weights, i3d=options.i3d, device=options.device))
    reports: dict[str, Report] = {}
    features: list[tuple[np.ndarray, np.ndarray]] = []
    for name, path in truths.items():
        pair = first_frames(restored[name], options.frames), first_frames(path, options.frames)
        print(f"measuring {name}", file=sys.stderr)
        reports[name] = evaluate(*pair, tools)
        if tools.i3d is not None:
            features.append(tuple(fvd_features(clip, tools.i3d) for clip in pair))
    if len(features) < 2:
        reason = tools.why_not("i3d") or "FVD needs at least two clips"
        return Measured(reports, None, reason)
    ours, theirs = (np.stack(side) for side in zip(*features, strict=True))
    return Measured(reports, frechet_distance(ours, theirs), "")


def first_frames(path: Path, count: int) -> Clip:
    clip = open_clip(path)
    return Beginning(clip, count) if count else clip


def show(measured: Measured, options: argparse.Namespace) -> None:
    reports = measured.reports
    sizes = sorted({f"{report.width}x{report.height}" for report in reports.values()})
    frames = sum(report.frames for report in reports.values())
    size = ", ".join(sizes) + ("" if sizes == ["512x512"] else " (BFVR-STC measures at 512x512)")
    print(f"Task {options.task}. Ours: measured by this run on {len(reports)} clip(s) of {options.truth},")
    print(f"{frames} frames in all, of {size}.")
    for table in PUBLISHED[options.task]:
        print(f"\nTheirs: stated in {table.source}; not measured here.")
        rows = [("", *(LABELS[key] for key in table.keys))]
        rows += [(method, *(f"{value:g}" for value in values)) for method, values in table.rows]
        rows.append(("ours, measured", *(cell(measured, key) for key in table.keys)))
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if "akd_dense" in table.keys:
            print(f"ours alone: {LABELS['akd']} {cell(measured, 'akd')}")
    print(f"\n{DIFFERENCES}")
    for line in sorted(reasons(measured)):
        print(f"Not computed: {line}")


def cell(measured: Measured, key: str) -> str:
    """Our figure, with the number of clips where not all have it."""
    value, count = measured.mean(key)
    if value is None:
        return "-"
    return f"{value:.4f}" + ("" if count == len(measured.reports) else f" ({count} clips)")


def reasons(measured: Measured) -> set[str]:
    """Why figures are missing, each reason once; PSNR in a mask and single distances are no column of the papers."""
    lines = {
        f"{METRICS[key].label}: {reason}"
        for report in measured.reports.values()
        for key, reason in report.absent.items()
        if key in LABELS and key not in ("psnr_mask", "i3d_distance")
    }
    return lines | ({f"FVD: {measured.fvd_absent}"} if measured.fvd_absent else set())


if __name__ == "__main__":
    sys.exit(main())
