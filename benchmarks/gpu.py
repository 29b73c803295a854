"""What a GPU makes of it: `make bench-gpu`, ten minutes at most. Full size, random weights, nothing is downloaded.

    python benchmarks/gpu.py [--minutes 10] [--frames 100] [--size 512] [--out FILE]

writes one Markdown file to paste into docs/speed.md: seconds per frame and peak memory of every preset and of the
reference's schedule by plain transcription, each from pixels to pixels in one process; what share of the card's own
matrix peak a row reaches; the VAE at once and frame by frame; fp8, torch.compile and channels_last, each on and off;
and the smallest limit of memory under which a short run still ends. What the time is too short for is left out, and
the file says so. Random weights take as long as trained ones, but restore nothing.

--reduced takes small networks, on the CPU too, to try the script itself: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import gc
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]

import torch
from engine import plain_unet, transcription
from torch.utils.flop_counter import FlopCounterMode

from svfr_model.base.devices import choose_device, free_memory, is_out_of_memory
from svfr_model.base.tasks import Task
from svfr_model.engine.conditioning import EncodedClip, decode_clip, encode_clip
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.presets import PRESETS, with_preset
from svfr_model.engine.restore import Networks, restore
from svfr_model.engine.self_reference import SelfReference
from svfr_model.networks.identity import Identity
from svfr_model.networks.unet import DiffusersBackend, build_unet
from svfr_model.networks.vae import DiffusersVAE, build_vae
from svfr_model.runs.turns import LeavingUNet, take_turns

GIB = 2**30
BFR = frozenset({Task.BFR})
LIMITS = (24.0, 16.0, 12.0, 10.0, 8.0, 7.0, 6.0, 5.0, 4.0)
"""GiB, tried from above."""
TRANSCRIBED = "the reference's, transcribed"
REFERENCE_ROWS = 590
"""Time of the reference's run of 100 frames in rows: 532 of the UNet, and the VAE's work."""


@dataclass
class Bench:
    """What is measured with, and what was found: lines of Markdown."""

    device: torch.device
    frames: int
    size: int
    ends: float
    reduced: bool = False
    lines: list[str] = field(default_factory=list)

    @property
    def dtype(self) -> torch.dtype:
        """What the networks compute in."""
        return torch.float32 if self.device.type == "cpu" else torch.float16

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.perf_counter()

    def say(self, *lines: str) -> None:
        """Add lines, and show them at once."""
        self.lines += lines
        print("\n".join(lines), flush=True)

    def measure(self, run: Callable[[], object]) -> tuple[float, float]:
        """Seconds, and GiB that were taken at the peak, the weights included; 0 on a CPU, which is not asked."""
        on_card = self.device.type == "cuda"
        if on_card:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.synchronize(self.device)
        begin = time.perf_counter()
        with torch.inference_mode():
            run()
        if on_card:
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - begin
        return seconds, torch.cuda.max_memory_allocated(self.device) / GIB if on_card else 0.0

    def fastest(self, run: Callable[[], object], times: int = 3) -> tuple[float, float]:
        """The same of the fastest of several, after one that does not count."""
        self.measure(run)
        return min(self.measure(run) for _ in range(1 if self.reduced else times))


class Referrer:
    """Stands in for detector and identity network, which take a moment once a clip."""

    def __init__(self, width: int) -> None:
        self.identity = Identity(torch.randn(49, width), torch.zeros(512))

    def __call__(self, frames: torch.Tensor, _landmarks: torch.Tensor | None = None) -> SelfReference:
        return SelfReference(frames[-1], len(frames) - 1, self.identity, 1.0)


def random_network(bench: Bench, build: Callable, config: dict | None) -> torch.nn.Module:
    """A network of random weights on the device, made there."""
    with torch.device("meta"):
        network = build(config)
    network = network.to("meta").to(bench.dtype).to_empty(device=bench.device)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight.data, std=weight[0].numel() ** -0.5)
        else:
            weight.data.fill_(float("norm" in name and name.endswith("weight")))
    return network


def unet_of(bench: Bench, build: Callable = build_unet) -> torch.nn.Module:
    """The UNet, or the small one."""
    from support.random_networks import RANDOM_UNET

    return random_network(bench, build, RANDOM_UNET if bench.reduced else None)


def networks_of(bench: Bench) -> Networks:
    """What the command line would run."""
    from support.random_networks import RANDOM_VAE

    vae = DiffusersVAE(random_network(bench, build_vae, RANDOM_VAE if bench.reduced else None))
    unet = DiffusersBackend(unet_of(bench))
    return Networks(*take_turns(unet, vae), Referrer(unet.token_width))


def pixels_of(bench: Bench, frames: int) -> torch.Tensor:
    """A clip of noise."""
    return torch.randint(0, 256, (frames, 3, bench.size, bench.size), dtype=torch.uint8)


def run_preset(networks: Networks, pixels: torch.Tensor, options: RestoreOptions) -> None:
    """From pixels to pixels, as the command line does."""
    clip = restore(networks, pixels, BFR, options)
    for _ in clip.decode(networks.vae, options):
        pass


def options_of(bench: Bench, name: str) -> RestoreOptions:
    """A preset's options, and when only the script is tried with fewer steps."""
    options = with_preset(RestoreOptions(), name)
    if not bench.reduced:
        return options
    return replace(options, steps=2, first_steps=options.first_steps and 2)


def run_reference(networks: Networks, pixels: torch.Tensor, steps: tuple[int, int] = (50, 30)) -> None:
    """The reference's whole run (docs/reference/svfr.md#two-passes): every frame encoded twice, and two passes."""
    for _ in range(2):
        clip = encode_clip(networks.vae, pixels, BFR)
    noise = torch.randn_like(clip.start)
    tokens = networks.referrer.identity.tokens
    first = EncodedClip(clip.start[:16], clip.degraded[:16])
    nothing = torch.zeros_like(clip.start[0]), torch.zeros_like(tokens)
    window = RestoreOptions(steps=steps[0], passes=1)
    for _ in decode_clip(networks.vae, transcription(networks, first, (1, 0, 0), window, *nothing, noise[:16]).cpu()):
        pass
    whole = replace(window, steps=steps[1])
    latents = transcription(networks, clip, (1, 0, 0), whole, clip.start[0], tokens, noise)
    for _ in decode_clip(networks.vae, latents.cpu()):
        pass


def row(bench: Bench, backend: DiffusersBackend, guided: bool = True) -> Callable[[], object]:
    """One window through the network."""
    side = bench.size // 8
    window = torch.randn(1, 16, 4, side, side, device=bench.device)
    reference = torch.randn(1, 4, side, side, device=bench.device) if guided else None
    tokens = torch.randn(1, 49, backend.token_width, device=bench.device) if guided else None
    task = torch.tensor((1.0, 0.0, 0.0), device=bench.device)
    return lambda: backend(window, 3.0, window, reference, tokens, task)


def report_card(bench: Bench) -> float:
    """What the machine is, and TFLOP/s of its best matrix product."""
    name = torch.cuda.get_device_name(bench.device) if bench.device.type == "cuda" else platform.processor() or "CPU"
    side = 256 if bench.reduced else 8192
    left, right = (torch.randn(side, side, device=bench.device, dtype=bench.dtype) for _ in range(2))
    seconds, _ = bench.fastest(lambda: left @ right, 10)
    peak = 2 * side**3 / seconds / 1e12
    bench.say(
        f"{name}, {free_memory(bench.device) / GIB:.1f} GiB free, torch {torch.__version__}, {bench.dtype}; matrix "
        f"peak {peak:.1f} TFLOP/s (product of {side}x{side}).",
        "",
    )
    return peak


def report_rows(bench: Bench, peak: float) -> float:
    """One row of the network, ours and as diffusers runs it; seconds of ours with tokens."""
    bench.say("| a row, 16 frames through the UNet | s | TFLOP | of the peak | peak GiB |", "|---|---|---|---|---|")
    found = 0.0
    for name, build, guided in (
        ("with reference and identity", build_unet, True),
        ("without", build_unet, False),
        ("as diffusers runs it", plain_unet, True),
    ):
        call = row(bench, DiffusersBackend(unet_of(bench, build)), guided)
        seconds, memory = bench.fastest(call)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call()
        work = counter.get_total_flops() / 1e12
        found = found or seconds
        bench.say(f"| {name} | {seconds:.3f} | {work:.2f} | {work / seconds / peak:.0%} | {memory:.2f} |")
    bench.say("")
    return found


def report_switches(bench: Bench) -> None:
    """fp8, channels_last and compiling, each against nothing of it, in one process."""
    bench.say("| switched on, a row | s | peak GiB |", "|---|---|---|")
    for name, prepare in (
        ("nothing", DiffusersBackend),
        ("channels_last", in_channels_last),
        ("fused QKV", fused),
        ("weights in fp8", in_fp8),
        ("torch.compile", lambda network: DiffusersBackend(network, compile=True)),
    ):
        if bench.left() < 60 and not bench.reduced:
            bench.say(f"| {name} | not measured: time was up | |")
            continue
        try:
            seconds, memory = bench.fastest(row(bench, prepare(unet_of(bench))))
            bench.say(f"| {name} | {seconds:.3f} | {memory:.2f} |")
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # what this torch or card cannot do
            bench.say(f"| {name} | not possible here: {str(error).splitlines()[0][:80]} | |")
        gc.collect()
    bench.say("")


def in_channels_last(network: torch.nn.Module) -> DiffusersBackend:
    """With the convolutions over pictures in that layout; those over time have no such one."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    return DiffusersBackend(network)


def fused(network: torch.nn.Module) -> DiffusersBackend:
    """With one product for query, key and value of self-attention."""
    network.fuse_qkv_projections()
    return DiffusersBackend(network)


def in_fp8(network: torch.nn.Module) -> DiffusersBackend:
    """With weights stored in fp8 and cast when used, as diffusers does it."""
    backend = DiffusersBackend(network)
    network.enable_layerwise_casting(torch.float8_e4m3fn, backend.dtype, skip_modules_pattern=["conv_in", "norm"])
    return backend


def report_vae(bench: Bench, networks: Networks) -> None:
    """Encoding, and decoding a chunk of 16 frames in both ways."""
    vae = networks.vae if isinstance(networks.vae, DiffusersVAE) else networks.vae._vae
    side = bench.size // vae.factor
    latents = torch.randn(16, 4, side, side, device=bench.device, dtype=bench.dtype)
    pixels = torch.rand(2, 3, bench.size, bench.size) * 2 - 1
    bench.say("| VAE | s per frame | peak GiB |", "|---|---|---|")
    for name, frames, call in (
        ("encode 2 frames in float32", 2, lambda: vae.encode(pixels, full_precision=True)),
        ("decode 16 frames at once", 16, lambda: vae._decode_whole(latents)),
        ("decode 16 frames one by one", 16, lambda: vae._decode_streamed(latents)),
    ):
        try:
            seconds, memory = bench.fastest(call, 2)
            bench.say(f"| {name} | {seconds / frames:.4f} | {memory:.2f} |")
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            bench.say(f"| {name} | does not fit | |")
    bench.say("")


def report_presets(bench: Bench, networks: Networks, seconds_of_row: float) -> None:
    """Whole runs: every preset, and the reference's schedule through the network as diffusers runs it."""
    whole = 0.0 if bench.reduced else seconds_of_row * REFERENCE_ROWS * bench.frames / 100
    pixels, found = pixels_of(bench, bench.frames), {}
    for name in sorted(PRESETS, key=lambda name: PRESETS[name].cost):
        if 1.3 * PRESETS[name].cost * whole < bench.left():
            found[f"`{name}`"] = measure_preset(bench, networks, pixels, name)
        if name == "exact" and 1.3 * whole < bench.left():
            found[TRANSCRIBED] = measure_reference(bench, networks, pixels)
    base = found.get(TRANSCRIBED, (0.0, 0.0))[0]
    bench.say(
        f"| whole run, {bench.frames} frames of {bench.size}x{bench.size} | s per frame | of the reference's "
        "| peak GiB |",
        "|---|---|---|---|",
    )
    for name in [*(f"`{name}`" for name in PRESETS), TRANSCRIBED]:
        if name not in found:
            bench.say(f"| {name} | not measured: time was up | | |")
            continue
        seconds, memory = found[name]
        share = f"{seconds / base:.3f}" if base else ""
        bench.say(f"| {name} | {seconds / bench.frames:.3f} | {share} | {memory:.2f} |")
    if "`balanced`" in found and 3.5 * found["`balanced`"][0] < bench.left():
        frames = 3 * bench.frames
        seconds, memory = measure_preset(bench, networks, pixels_of(bench, frames), "balanced")
        bench.say(f"| `balanced`, {frames} frames | {seconds / frames:.3f} | | {memory:.2f} |")
    bench.say("")


def measure_preset(bench: Bench, networks: Networks, pixels: torch.Tensor, name: str) -> tuple[float, float]:
    """One run of a preset."""
    options = options_of(bench, name)
    return bench.measure(lambda: run_preset(networks, pixels, options))


def measure_reference(bench: Bench, networks: Networks, pixels: torch.Tensor) -> tuple[float, float]:
    """One run of the reference's schedule; our own UNet is off the card meanwhile."""
    if isinstance(networks.backend, LeavingUNet):
        networks.backend.leave()
    published = replace(networks, backend=DiffusersBackend(unet_of(bench, plain_unet)))
    steps = (2, 2) if bench.reduced else (50, 30)
    return bench.measure(lambda: run_reference(published, pixels, steps))


def report_limit(bench: Bench, networks: Networks) -> None:
    """The smallest limit under which 20 frames still end: one row at a time, guided, decoded to the end."""
    if bench.device.type != "cuda":
        bench.say("The smallest memory limit can only be looked for on a GPU.", "")
        return
    total = torch.cuda.get_device_properties(bench.device).total_memory / GIB
    pixels = pixels_of(bench, 20)
    options = replace(with_preset(RestoreOptions(), "preview"), passes=2, first_levels="few-3", batch=1)

    def fits(limit: float) -> bool:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(limit / total, bench.device)
        try:
            bench.measure(lambda: run_preset(networks, pixels, options))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    try:
        least = smallest(fits, [limit for limit in LIMITS if limit < total])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    found = "none of those tried" if least is None else f"{least:g} GiB"
    bench.say(f"Smallest memory limit under which 20 frames end (`--batch 1`): {found}, without CUDA's context.", "")


def smallest(fits: Callable[[float], bool], limits: list[float]) -> float | None:
    """The last of falling limits that fits, looked for from above."""
    least = None
    for limit in limits:
        if not fits(limit):
            break
        least = limit
    return least


def run(bench: Bench) -> list[str]:
    """Everything, the cheapest and most wanted first."""
    torch.manual_seed(0)
    peak = report_card(bench)
    seconds = report_rows(bench, peak)
    networks = networks_of(bench)
    report_vae(bench, networks)
    report_limit(bench, networks)
    report_presets(bench, networks, seconds)
    del networks
    gc.collect()
    report_switches(bench)
    return bench.lines


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-gpu.md")
    parser.add_argument("--reduced", action="store_true", help="small networks, to try the script itself")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    device = choose_device(options.device)
    if device.type != "cuda" and not options.reduced:
        print("There is no CUDA device: --reduced tries this script with small networks.", file=sys.stderr)
        return 1
    ends = time.perf_counter() + 60 * options.minutes
    bench = Bench(device, options.frames, options.size, ends, options.reduced)
    options.out.write_text("\n".join(run(bench)) + "\n", encoding="utf-8")
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
