"""How much work a run is, counted at full size against the reference's whole schedule. Run by hand; a minute or two.

    python benchmarks/counted.py [--frames 100] [--size 512] [--steps N] [--json FILE]

PyTorch's FLOP counter counts the published architecture on the meta device, where nothing is computed: a row (16 frames
through the UNet) as diffusers runs it and as ours do with and without identity tokens, and the VAE. How many of each a
run takes is counted by running it with networks that only count: the engine itself for ours, and for the reference the
plain transcription of its two passes (docs/reference/svfr.md#two-passes).

Work is no time: on a GPU about four tenths of a row go into elementwise work, which the counter does not see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import torch
from engine import plain_unet, transcription
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from svfr_model.base.tasks import Task
from svfr_model.engine.conditioning import EncodedClip
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.presets import PRESETS, with_preset
from svfr_model.engine.restore import Networks, restore
from svfr_model.engine.self_reference import SelfReference
from svfr_model.networks.identity import Identity
from svfr_model.networks.unet import PUBLISHED_CONFIG, build_unet
from svfr_model.networks.vae import build_vae

META = torch.device("meta")
TERA = 1e12
FACTOR, TOKENS, WIDTH = 8, 49, 1024
SMALL = 8
"""Height and width of the latents of a run that only counts."""


@dataclass
class Tally:
    """What a run asked its networks for.

    rows: windows by (pass, frames, whether with tokens). encoded: frames. decoded: chunks by their length.
    """

    rows: Counter[tuple[str, int, bool]] = field(default_factory=Counter)
    encoded: int = 0
    decoded: Counter[int] = field(default_factory=Counter)


class CountingUNet:
    """A backend that keeps the clip as it is and counts. Until `first` is False it is the first pass that asks."""

    device, token_width, size_multiple_factor = torch.device("cpu"), WIDTH, 1

    def __init__(self, tally: Tally) -> None:
        self.tally, self.first = tally, True

    def __call__(self, x, _sigma, _degraded, _reference, tokens, _task) -> Tensor:
        self.tally.rows["first" if self.first else "main", x.shape[1], tokens is not None] += len(x)
        return x


class CountingVAE:
    """Zeros for latents and pixels, counted."""

    factor, scaling_factor = FACTOR, 0.18215

    def __init__(self, tally: Tally) -> None:
        self.tally = tally

    def encode(self, pixels: Tensor, *, full_precision: bool = False) -> Tensor:
        self.tally.encoded += len(pixels)
        return torch.zeros(len(pixels), 4, SMALL, SMALL)

    def decode(self, latents: Tensor) -> Tensor:
        self.tally.decoded[len(latents)] += 1
        return torch.zeros(len(latents), 3, SMALL * FACTOR, SMALL * FACTOR)


def count_ours(frames: int, options: RestoreOptions) -> Tally:
    """What the engine asks for on a clip of so many frames."""
    tally = Tally()
    unet = CountingUNet(tally)
    unet.first = options.passes == 2

    def referrer(pictures: Tensor, _landmarks: Tensor | None = None) -> SelfReference:
        unet.first = False
        return SelfReference(pictures[0], 0, Identity(torch.ones(TOKENS, WIDTH), torch.ones(512)), 1.0)

    side = SMALL * FACTOR
    pixels = torch.zeros(frames, 3, side, side, dtype=torch.uint8)
    networks = Networks(unet, CountingVAE(tally), referrer)
    for _ in restore(networks, pixels, frozenset({Task.BFR}), options).decode(networks.vae, options):
        pass
    return tally


def count_reference(frames: int) -> Tally:
    """What the published two passes ask for: 50 steps over the first window, then 30, always both halves.

    Each clip is encoded twice, as start and as condition (docs/reference/svfr.md#encoding), the reference frame once.
    """
    tally = Tally()
    unet, vae = CountingUNet(tally), CountingVAE(tally)
    for first, count, steps in ((True, min(16, frames), 50), (False, frames, 30)):
        unet.first = first
        latents = torch.zeros(count, 4, SMALL, SMALL)
        vae.encode(latents)
        vae.encode(latents)
        vae.encode(latents[:0 if first else 1])
        noise, tokens = torch.zeros_like(latents), torch.ones(TOKENS, WIDTH)
        options = RestoreOptions(steps=steps, passes=1)
        clip = EncodedClip(latents, latents)
        transcription(Networks(unet, vae), clip, (1, 0, 0), options, latents[0], tokens, noise)
        for start in range(0, count, 16):
            vae.decode(latents[start : start + 16])
    return tally


@cache
def row(side: int, frames: int, *, tokens: bool, plain: bool) -> int:
    """FLOP of one window of side x side latents: as diffusers runs it, always with tokens, or as ours do."""
    given = (
        torch.empty(1, frames, 12, side, side, device=META),
        torch.empty((), device=META),
        torch.empty(1, TOKENS if tokens or plain else 0, WIDTH, device=META),
        torch.empty(1, 3, device=META),
    )
    return flop(lambda: unets()[plain](*given, return_dict=False))


@cache
def encoding(side: int) -> int:
    """FLOP of one frame through the VAE's encoder."""
    pixels = torch.empty(1, 3, side * FACTOR, side * FACTOR, device=META)
    return flop(lambda: vae().encode(pixels))


@cache
def decoding(side: int, frames: int) -> int:
    """FLOP of a chunk of so many frames through the VAE's decoder."""
    latents = torch.empty(frames, 4, side, side, device=META)
    return flop(lambda: vae().decode(latents, num_frames=frames))


def flop(run) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def stages(tally: Tally, side: int, *, plain: bool) -> dict[str, float]:
    """TFLOP of each stage of a run."""
    work = {"first pass": 0, "main pass": 0}
    for (name, frames, tokens), rows in tally.rows.items():
        work[f"{name} pass"] += rows * row(side, frames, tokens=tokens, plain=plain)
    work["encoding"] = tally.encoded * encoding(side)
    work["decoding"] = sum(chunks * decoding(side, frames) for frames, chunks in tally.decoded.items())
    return {stage: operations / TERA for stage, operations in work.items()}


@cache
def unets() -> dict[bool, torch.nn.Module]:
    """The published UNet on the meta device: plain and ours."""
    with META:
        return {True: plain_unet(PUBLISHED_CONFIG).to(META), False: build_unet().to(META)}


@cache
def vae() -> torch.nn.Module:
    with META:
        return build_vae().to(META)


def rows_of(tally: Tally) -> int:
    return sum(tally.rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=512, help="height and width of the crops")
    parser.add_argument("--steps", type=int, help="count the defaults with so many steps, too")
    parser.add_argument("--json")
    given = parser.parse_args()
    side = given.size // FACTOR
    reference = count_reference(given.frames)
    runs = {"the reference's schedule": (reference, stages(reference, side, plain=True))}
    default = count_ours(given.frames, RestoreOptions())
    runs["exact, before the exact savings"] = (default, stages(default, side, plain=True))
    options = {name: with_preset(RestoreOptions(), name) for name in PRESETS}
    if given.steps:
        options[f"{given.steps} steps"] = RestoreOptions(steps=given.steps)
    for name, chosen in options.items():
        tally = count_ours(given.frames, chosen)
        runs[name] = (tally, stages(tally, side, plain=False))
    report(side, runs)
    if given.json:
        told = {name: {"rows": rows_of(tally), "tflop": work} for name, (tally, work) in runs.items()}
        Path(given.json).write_text(json.dumps(told, indent=1))


def report(side: int, runs: dict[str, tuple[Tally, dict[str, float]]]) -> None:
    """Print what a row costs, and what each run does."""
    plain = row(side, 16, tokens=True, plain=True)
    for name, tokens in (("with tokens", True), ("without", False)):
        ours = row(side, 16, tokens=tokens, plain=False)
        print(f"a row of 16 frames {name}: {plain / TERA:.2f} TFLOP before, {ours / TERA:.2f} now ({ours / plain:.3f})")
    (_, reference), *_ = runs.values()
    print(f"\n| run (TFLOP) | rows | {' | '.join(reference)} | total | of the reference |")
    print("|---" * (len(reference) + 4) + "|")
    for name, (tally, work) in runs.items():
        total = sum(work.values())
        cells = [f"{rows_of(tally)}", *(f"{part:.0f}" for part in (*work.values(), total))]
        print(f"| {name} | {' | '.join(cells)} | {total / sum(reference.values()):.3f} |")


if __name__ == "__main__":
    main()
