"""What one pass costs. Run by hand: python benchmarks/engine.py [row] [presets] [ratio] [full] [memory]

row     seconds of a window's guided and unguided row, as diffusers runs them against ours, in pairs in one process; a
        small network with heads of 64 channels, 49 tokens, and tokens as wide against the channels as at full size.
presets seconds of each preset's whole run against a plain transcription of the reference's two passes through the
        network as diffusers runs it, in one process on a smaller network; the VAE is left out.
ratio   seconds per frame and peak memory of one pass, ours against a plain transcription of the reference's schedule
        (batch of two always, windows stepped one by one), in the same run on the same small network; on a GPU, where
        there is one, with the full-size architecture and random weights in half precision.
full    one window of 16 frames at 128x128 through the full-size architecture with random weights in bf16.
memory  peak of the anonymous memory (RssAnon, Linux only) of crop, restoration and paste-back, crops and latents being
        in files: 200 and 2,000 frames with a reduced random network, and 200 and 10,000 at the full crop size with
        networks that compute nothing, where what grows with the clip is all that is seen. With --kept FILE each figure
        is kept there, and a run that was ended goes on after the last.

Every measurement is a process of its own, so that one's peak memory is not another's.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import numpy as np
import torch

from svfr_model.engine.conditioning import Conditioning, EncodedClip
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks, Sampling, sample_pass
from svfr_model.engine.solvers import karras_sigmas
from svfr_model.networks.unet import PUBLISHED_CONFIG, DiffusersBackend, build_unet

SMALL_UNET = {
    **PUBLISHED_CONFIG,
    "block_out_channels": [64, 128, 256, 256],
    "num_attention_heads": [1, 2, 4, 4],
    "cross_attention_dim": 205,  # 1024 for 320 channels at full size
}
SMALLER_UNET = {
    **SMALL_UNET,
    "block_out_channels": [64, 64, 64, 64],
    "num_attention_heads": [1, 1, 1, 1],
    "layers_per_block": 1,
}
"""For whole runs, which take hundreds of rows."""
PAIRS = 9


class LatentsOnly:
    """Stands in for the VAE, which is not what is measured."""

    factor, scaling_factor = 8, 0.18215


def plain_unet(config: dict | None) -> torch.nn.Module:
    """The network as diffusers runs it, and as this package ran it before its exact savings."""
    from diffusers import UNetSpatioTemporalConditionModel
    from diffusers.models.attention_processor import AttnProcessor2_0

    network = UNetSpatioTemporalConditionModel(**(config or PUBLISHED_CONFIG))
    network.set_attn_processor(AttnProcessor2_0())
    return network.eval()


def random_networks(config: dict | None, device: str, dtype: torch.dtype, build=build_unet) -> Networks:
    torch.manual_seed(0)
    with torch.device("meta"):
        unet = build(config)
    unet.to_empty(device=device).to(dtype)
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter.data, std=0.02)
    return Networks(DiffusersBackend(unet), LatentsOnly())


def conditions(networks: Networks, frames: int, size: int) -> tuple[EncodedClip, torch.Tensor, torch.Tensor]:
    """A clip, a reference frame and identity tokens, all random."""
    latents = torch.randn(frames, 4, size, size)
    tokens = torch.randn(49, networks.backend.token_width)
    return EncodedClip(latents, latents), latents[0], tokens


@torch.inference_mode()
def transcription(networks: Networks, clip, task, options, reference, tokens, noise) -> torch.Tensor:
    """The reference's loop as docs/reference/svfr.md#steps describes it: guidance pairs, window by window."""
    backend, sigmas = networks.backend, karras_sigmas(options.steps)
    length, overlap = options.plan.length, options.plan.overlap
    count = clip.start.shape[0]
    device = backend.device
    degraded, noise = clip.degraded.to(device), noise.to(device)
    x = degraded * networks.vae.scaling_factor + sigmas[0] * noise
    references = torch.stack([torch.zeros_like(reference), reference]).to(device)
    pair = torch.stack([torch.zeros_like(tokens), tokens]).to(device)
    weights = torch.tensor([min(j + 1, length - j) for j in range(length)], device=device).view(-1, 1, 1, 1)
    shift = 0
    for k in range(options.steps):
        sigma, following = sigmas[k], sigmas[k + 1]
        total, weight = torch.zeros_like(x), torch.zeros(count, 1, 1, 1, device=device)
        for start in range(0, count, length - overlap if k < 3 else length):
            index = torch.tensor([(start - shift + j) % count for j in range(length)], device=device)
            window = x[index][None].expand(2, -1, -1, -1, -1)
            seen = degraded[index][None].expand(2, -1, -1, -1, -1)
            plain, guided = backend(window, sigma, seen, references, pair, torch.tensor(task, device=device))
            denoised = plain + options.guidance[0] * (guided - plain)
            stepped = x[index] + (following - sigma) * (x[index] - denoised) / sigma
            total.index_add_(0, index, stepped * weights)
            weight.index_add_(0, index, weights.float())
        x = total / weight
        shift = (shift + overlap) % length
    return x


def measure(case: str, which: str, device: str) -> dict[str, float]:
    """One measurement in this process: seconds and peak bytes."""
    build = plain_unet if which == "transcription" else build_unet
    if case == "full":
        networks = random_networks(None, device, torch.bfloat16, build)
        frames, size, steps = 16, 16, 1
    elif device == "cuda":
        networks = random_networks(None, device, torch.float16, build)
        frames, size, steps = 40, 64, 8
    else:
        networks = random_networks(SMALL_UNET, device, torch.float32, build)
        frames, size, steps = 40, 16, 8
    clip, reference, tokens = conditions(networks, frames, size)
    options = RestoreOptions(steps=steps, passes=1)
    noise = torch.randn(frames, 4, size, size)
    begin = time.perf_counter()
    if which == "ours":
        conditioning = Conditioning(clip.degraded, (1, 0, 0), reference, tokens)
        latents = sample_pass(networks, clip.start, conditioning, options, sampling=Sampling(noise=noise))
    elif which == "first":
        conditioning = Conditioning(clip.degraded, (1, 0, 0))
        latents = sample_pass(networks, clip.start, conditioning, options, sampling=Sampling(noise=noise))
    else:
        latents = transcription(networks, clip, (1, 0, 0), options, reference, tokens, noise)
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else peak_rss()
    return {"seconds": seconds, "frames": frames, "peak": peak, "sum": latents.double().abs().mean().item()}


def seconds_of(run) -> float:
    """Seconds that a call takes: on a GPU by the clock, else of the processor, whatever else it is busy with."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    begin = clock()
    with torch.inference_mode():
        run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - begin


def pair_of_networks(device: str, small: dict) -> tuple[Networks, Networks, int]:
    """diffusers' own and ours, with the same weights, and the height and width of the latents to run them on.

    small: the architecture without a GPU.
    """
    full = device == "cuda"
    config, dtype = (None, torch.float16) if full else (small, torch.float32)
    plain, ours = (random_networks(config, device, dtype, build) for build in (plain_unet, build_unet))
    return plain, ours, 64 if full else 16


def report_row(device: str) -> None:
    """A window's two rows, old and new in turn, the median of the pairs' ratios."""
    plain, ours, size = pair_of_networks(device, SMALL_UNET)
    clip, reference, tokens = conditions(plain, 16, size)
    task = torch.tensor((1, 0, 0), device=device)
    window, reference, tokens = (part.to(device)[None] for part in (clip.degraded, reference, tokens))
    halves = torch.cat([torch.zeros_like(reference), reference]), torch.cat([torch.zeros_like(tokens), tokens])
    both = window.expand(2, -1, -1, -1, -1)

    def before():
        return plain.backend(both, 3.0, both, *halves, task)

    def now():
        return torch.cat(
            [ours.backend(window, 3.0, window, *half, task) for half in ((None, None), (reference, tokens))]
        )

    assert torch.allclose(before(), now(), atol=1e-4 if device == "cpu" else 1e-2), "they do not compute the same"
    pairs = [(seconds_of(before), seconds_of(now)) for _ in range(PAIRS)]
    ratios = sorted(new / old for old, new in pairs)
    print(
        f"a guided and an unguided row, {device}: {min(old for old, _ in pairs):.2f} s before, "
        f"{min(new for _, new in pairs):.2f} s now; median of {PAIRS} ratios {ratios[PAIRS // 2]:.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )


def report_presets(device: str) -> None:
    """Whole runs without the VAE: each preset's passes against the reference's."""
    from svfr_model.engine.presets import PRESETS, with_preset

    plain, ours, size = pair_of_networks(device, SMALLER_UNET)
    frames, size = (20, 8) if device == "cpu" else (100, size)
    clip, reference, tokens = conditions(plain, frames, size)
    noise = torch.randn(frames, 4, size, size)
    first = EncodedClip(clip.start[:16], clip.degraded[:16])
    nothing = torch.zeros_like(reference), torch.zeros_like(tokens)

    def published():
        options = [RestoreOptions(steps=steps, passes=1) for steps in (50, 30)]
        transcription(plain, first, (1, 0, 0), options[0], *nothing, noise[:16])
        transcription(plain, clip, (1, 0, 0), options[1], reference, tokens, noise)

    def preset(name):
        options = with_preset(RestoreOptions(), name)
        if options.passes == 2:
            sample_pass(ours, first.start, Conditioning(first.degraded, (1, 0, 0)), options.first_options())
        found = {"reference": reference, "tokens": tokens} if options.passes == 2 else {}
        sample_pass(ours, clip.start, Conditioning(clip.degraded, (1, 0, 0), **found), options)

    whole = seconds_of(published)
    print(f"{frames} frames, {device}: the reference's two passes {whole:.1f} s", flush=True)
    for name in PRESETS:
        seconds = seconds_of(lambda name=name: preset(name))
        print(f"  {name:10} {seconds:6.1f} s, {seconds / whole:.3f} of the reference's", flush=True)


def peak_rss() -> int:
    """Peak resident bytes of this process."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def apart(*arguments: str) -> dict[str, float]:
    """Run one measurement in a process of its own."""
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report_ratio(device: str) -> None:
    ours, plain = apart("--one", "ratio", "ours", device), apart("--one", "ratio", "transcription", device)
    first = apart("--one", "ratio", "first", device)
    assert math.isclose(ours["sum"], plain["sum"], rel_tol=1e-3), "the two do not compute the same thing"
    print(f"one pass, {int(ours['frames'])} frames, {device}:")
    rows = {"ours": ours, "transcription": plain, "ours, no reference": first}
    for name, row in rows.items():
        print(f"  {name:20} {row['seconds'] / row['frames']:.4f} s/frame, peak {row['peak'] / 2**20:.0f} MiB")
    print(f"  ratio of time {ours['seconds'] / plain['seconds']:.2f}, of memory {ours['peak'] / plain['peak']:.2f}")


def report_full(device: str) -> None:
    row = apart("--one", "full", "ours", device)
    print(
        f"full-size window of 16 frames at 128x128, bf16, {device}, guided: {row['seconds']:.1f} s for one step, "
        f"peak {row['peak'] / 2**30:.2f} GiB"
    )


class StillClip:
    """A grey clip of any length that is made while it is walked."""

    fps = 25

    def __init__(self, count: int, size: int) -> None:
        self.count, self.width, self.height = count, size, size

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        for frame in range(self.count):
            yield np.full((self.height, self.width, 3), frame % 256, np.uint8)


class NoUNet:
    """Halves what it is given, so that only what surrounds the network takes memory."""

    device, token_width, size_multiple_factor = torch.device("cpu"), 8, 8

    def __call__(self, x, *_):
        return x * 0.5


class NoVAE(LatentsOnly):
    """Block means for latents, and those repeated for frames."""

    def encode(self, pixels, *, full_precision=False):
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([mean, mean[:, :1]], 1)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8.0)


def anonymous() -> int:
    """Bytes of this process that lie in no file."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """The highest `anonymous` within, looked at 20 times a second, in a list."""
    highest, ended = [anonymous()], threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            highest[0] = max(highest[0], anonymous())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield highest
    finally:
        ended.set()
        watcher.join()


def restore_still(count: int, size: int, kind: str) -> dict[str, float]:
    """Crop, restore in one pass and paste back a face through count frames, as the command line does."""
    from support.random_networks import write_random_weights

    from svfr_model.base.tasks import Task
    from svfr_model.faces.crop import plan_crop
    from svfr_model.faces.options import CropOptions, PasteOptions
    from svfr_model.faces.paste_clip import paste_clip
    from svfr_model.faces.track import FaceTrack
    from svfr_model.files.work import scratch
    from svfr_model.runs.loader import Loader
    from svfr_model.runs.restore_clip import Request, restore_tracks

    if kind == "reduced":
        with tempfile.TemporaryDirectory() as folder:
            write_random_weights(folder)
            networks = Loader(folders=[folder], device="cpu").networks(self_referred=False)
    else:
        networks = Networks(NoUNet(), NoVAE())
    quarter = size / 4
    points = np.array([[1.6, 1.7], [2.4, 1.7], [2.0, 2.1], [1.7, 2.5], [2.3, 2.5]]) * quarter
    track = FaceTrack(
        id=0,
        person=0,
        shot=0,
        start=0,
        boxes=np.tile([quarter, quarter, 3 * quarter, 3 * quarter], (count, 1)),
        landmarks=np.tile(points, (count, 1, 1)),
        scores=np.ones(count),
        seen=np.ones(count, bool),
        frame_size=(size, size),
    )
    plan = plan_crop(track, CropOptions(size=(size, size)))
    clip, tasks = StillClip(count, size), frozenset({Task.BFR})
    request = Request(tasks, RestoreOptions(steps=2, passes=1))
    with watched() as highest, tempfile.TemporaryDirectory() as folder, scratch(Path(folder)) as memory:
        restored = restore_tracks(clip, [plan], networks, [request], memory=memory)
        for _ in paste_clip(clip, restored, PasteOptions(), tasks):
            pass
    return {"peak": highest[0]}


def report_memory(kept: Path | None) -> None:
    """Anonymous memory of a long clip against that of 200 frames: 10% more at most.

    kept: a file in which each figure is kept as soon as it is there, and what is in it is not measured again.
    """
    known = json.loads(kept.read_text(encoding="utf-8")) if kept is not None and kept.exists() else {}

    def peak(*case: str) -> int:
        if " ".join(case) not in known:
            known[" ".join(case)] = apart("--one", "restore", *case)["peak"]
            if kept is not None:
                kept.write_text(json.dumps(known), encoding="utf-8")
        return known[" ".join(case)]

    for kind, size, long in (("reduced", 64, 2_000), ("none", 512, 10_000)):
        peaks = [peak(str(count), str(size), kind) for count in (200, long)]
        print(
            f"crops of {size}, network {kind}: 200 frames {peaks[0] / 2**20:.0f} MiB anonymous, {long:,} frames "
            f"{peaks[1] / 2**20:.0f} MiB, {peaks[1] / peaks[0] - 1:+.1%}",
            flush=True,
        )
        assert peaks[1] <= 1.1 * peaks[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=["row", "presets", "ratio", "full", "memory", []], default=[])
    parser.add_argument("--kept", type=Path, metavar="FILE", help="for memory: go on with the figures in this file")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        case, *rest = arguments.one
        print(
            json.dumps(
                restore_still(int(rest[0]), int(rest[1]), rest[2]) if case == "restore" else measure(case, *rest)
            )
        )
        return
    cases = arguments.cases or ["row", "presets", "ratio", "full", "memory"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if "row" in cases:
        report_row(device)
    if "presets" in cases:
        report_presets(device)
    if "ratio" in cases:
        report_ratio(device)
    if "full" in cases:
        report_full(device)
    if "memory" in cases:
        report_memory(arguments.kept)


if __name__ == "__main__":
    main()
