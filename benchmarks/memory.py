"""What commands and networks hold.

Run by hand: python benchmarks/memory.py [degrade] [evaluate] [stc] [crops] [networks]

Each of the first four runs as a command of its own on 200 and on 2,000 frames; the figure is the largest resident size
of its process (ru_maxrss, Python and torch included), so that growth is what the added 1,800 frames cost.

degrade   all tasks and both flickers, with the mask written too, 320x180.
evaluate  against the true clip, with every figure that needs no download, 320x180.
stc       a reduced random network over whole frames, 320x180.
crops     the same over the crops of a face, of which the track holds side x side x 3 bytes a frame.
networks  SVFR's networks at full size in fp16 and 512x512, by count on the meta device: tensors alive at the peak. And
          decoding measured, 16 frames of 64x64 in float32 with random weights, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
import torch
from support.peak import Peak

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


def count_networks() -> None:
    """Live tensors of every network at its peak, at full size."""
    from svfr_model.networks.unet import DiffusersBackend, build_unet
    from svfr_model.networks.vae import DiffusersVAE, build_vae

    with torch.device("meta"):
        networks = build_unet(), build_vae()
    unet, vae = (network.half().to("meta") for network in networks)
    for name, network in (("UNet", unet), ("VAE", vae)):
        print(f"{name:24} weights {sum(w.numel() * w.itemsize for w in network.parameters()) / 2**30:.2f} GiB")
    backend, coder = DiffusersBackend(unet), DiffusersVAE(vae)
    for rows, frames in ((2, 16), (1, 16), (1, 8)):
        window, picture = (rows, frames, 4, 64, 64), (rows, 4, 64, 64)
        given = [torch.empty(shape, device="meta") for shape in (window, picture, (rows, 49, 1024), (3,))]
        report(f"UNet, {rows} x {frames} frames", lambda given=given: backend(given[0], 1.0, given[0], *given[1:]))
    for frames in (16, 8, 4, 1):
        latents = torch.empty(frames, 4, 64, 64, device="meta", dtype=torch.half)
        report(f"VAE, {frames} frames at once", lambda latents=latents: coder._decode_whole(latents))
        report(f"VAE, {frames} frames streamed", lambda latents=latents: coder._decode_streamed(latents))
    pixels = torch.empty(2, 3, 512, 512, device="meta")
    report("VAE, 2 frames encoded", lambda: coder.encode(pixels, full_precision=True))


def report(name: str, call) -> None:
    """Print the peak of one call. Attention holds its result only, as fused kernels do."""
    attention = "torch.nn.functional.scaled_dot_product_attention"
    with torch.no_grad(), patch(attention, lambda query, *_, **__: query.clone()), Peak() as peak:
        call()
    print(f"{name:24} {peak.bytes / 2**30:.2f} GiB", flush=True)


def decode_here(way: str) -> None:
    """Decode a chunk in this process and print by how many bytes its largest resident size grew."""
    from engine import peak_rss

    from svfr_model.networks.vae import DiffusersVAE, build_vae

    vae = DiffusersVAE(build_vae())
    latents = torch.randn(16, 4, 8, 8)
    with torch.no_grad():
        vae._decode_streamed(latents[:1, :, :2, :2])
        before = peak_rss()
        (vae._decode_whole if way == "whole" else vae._decode_streamed)(latents)
    print(peak_rss() - before)


def measure_decoding() -> None:
    """Both ways, each in a process of its own."""
    grown = {}
    for way in ("whole", "streamed"):
        command = [sys.executable, __file__, "--decode", way]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown[way] = int(done.stdout) / 2**20
    print(
        f"16 frames of 64x64 decoded in float32: at once {grown['whole']:.0f} MiB, streamed {grown['streamed']:.0f} "
        f"MiB, {grown['streamed'] / grown['whole']:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[*COMMANDS, "networks", []], default=[])
    parser.add_argument("--decode", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.decode:
        decode_here(arguments.decode)
        return
    cases = arguments.cases or [*COMMANDS, "networks"]
    if "networks" in cases:
        count_networks()
        measure_decoding()
    grow([case for case in cases if case != "networks"])


def grow(cases: list[str]) -> None:
    """What each command's peak grows by from 200 to 2,000 frames."""
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
