"""What degrade, evaluate and stc hold. Run by hand: python benchmarks/memory.py [degrade] [evaluate] [stc] [crops]

Each runs as a command of its own on 200 and on 2,000 frames; the figure is the largest resident size of its process
(ru_maxrss, Python and torch included), so that growth is what the added 1,800 frames cost.

degrade   all tasks and both flickers, with the mask written too, 320x180.
evaluate  against the true clip, with every figure that needs no download, 320x180.
stc       a reduced random network over whole frames, 320x180.
crops     the same over the crops of a face, of which the track holds side x side x 3 bytes a frame.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from svfr_model.media import ClipWriter
from svfr_model.stc.load import ROLES
from svfr_model.stc.network import build_network
from svfr_model.weights import save, weight_file

COUNTS = (200, 2000)
CROP = 128
REDUCED = {"img_size": CROP, "nf": 32, "ch_mult": [1, 1, 1, 2], "emb_dim": 32, "codebook_size": 32, "n_layers": 1}
COMMANDS = {
    "degrade": "degrade {clip} {out} --tasks bfr,colorization,inpainting --brightness-flicker 0.3 --pixel-flicker 8 "
    "--mask-out {mask}",
    "evaluate": "evaluate {clip} {clip} --device cpu",
    "stc": "stc {clip} {out} --whole --weights {weights} --device cpu",
    "crops": "stc {clip} {out} --crops --weights {weights} --device cpu",
}


def draw(path: Path, count: int) -> Path:
    """A face (scikit-image's public-domain portrait) that sways through 320x180."""
    from skimage.data import astronaut

    portrait = astronaut()
    with ClipWriter(path, Fraction(25), (320, 180)) as writer:
        for number in range(count):
            left = 90 + round(20 * np.sin(number / 10))
            writer.write(np.ascontiguousarray(portrait[10:190, left : left + 320]))
    return path


def random_network(folder: Path) -> Path:
    """A reduced restorer with random weights, where the loader looks for the published one."""
    torch.manual_seed(0)
    path = (folder / weight_file(ROLES["bfr"]).name).with_suffix(".safetensors")
    save(build_network("bfr", REDUCED), path, ROLES["bfr"], REDUCED)
    return folder


def peak(words: list[str]) -> int:
    """The largest resident size, in bytes, of the command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "svfr_model", *words, "--quiet"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words[0]} ended with {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*COMMANDS, []], default=[])
    cases = parser.parse_args().cases or list(COMMANDS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {count: draw(folder / f"{count}.mp4", count) for count in COUNTS}
        places = {"out": folder / "out.mp4", "mask": folder / "mask.mp4", "weights": random_network(folder)}
        for case in cases:
            peaks = [
                peak([word.format(clip=clips[count], **places) for word in COMMANDS[case].split()]) / 2**20
                for count in COUNTS
            ]
            grown = (peaks[1] - peaks[0]) * 2**20 / (COUNTS[1] - COUNTS[0])
            print(
                f"{case:9} {COUNTS[0]} frames {peaks[0]:.0f} MiB, {COUNTS[1]} frames {peaks[1]:.0f} MiB, "
                f"{grown / 1024:.1f} KiB a frame",
                flush=True,
            )


if __name__ == "__main__":
    main()
