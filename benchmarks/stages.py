"""What a restoration costs outside of the network. Run by hand: python benchmarks/stages.py [each] [beside] [tracks]

each    milliseconds a frame, of all threads together, stage by stage, at 1280x720 with one crop of 512.
beside  a whole run from file to file at 1280x720 with six shots, behind a stub network that only sleeps, 65 ms a frame:
        wall time against the network's own. Put it on two cores, as with taskset -c 0,1.
tracks  reading and cutting 20 tracks, one after the other, in clips of 500, 1,000 and 2,000 frames: seconds a frame.

Clips are drawn: scikit-image's portrait moves before a panning background, encoded by x264. OpenCV and torch are held
to one thread each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import cv2
import numpy as np
import torch
from support import clips

from svfr_model.base.clip import ArrayClip
from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Networks
from svfr_model.engine.windows import WindowPlan
from svfr_model.faces.color import ColorStatistics
from svfr_model.faces.crop import crop_frame, plan_crop
from svfr_model.faces.cut import crop_clip, cut_shots
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.find import find_tracks
from svfr_model.faces.options import CropOptions
from svfr_model.faces.paste import Patch, paste_frame
from svfr_model.media import ClipWriter, open_clip
from svfr_model.media.convert import EncoderFrames
from svfr_model.runs.loader import Loader
from svfr_model.runs.options import FaceOptions
from svfr_model.runs.restore_file import Job, run
from svfr_model.weights import find

WIDTH, HEIGHT, CROP = 1280, 720, 512
ASLEEP = 0.065
"""Seconds a frame that the stub network takes: the 3 + 5 levels on a fast card, by the roofline."""
BFR = frozenset({Task.BFR})


def shot(length: int, number: int) -> clips.Shot:
    """A face of 220 pixels that sways before a background that pans."""
    actor = clips.Actor(clips.portrait("woman" if number % 2 else "other"), sway)
    return clips.Shot(length, (actor,), background=number + 1, camera=lambda index: (float(index), 0.0))


def sway(index: int) -> tuple[float, float, float, float]:
    return 640 + 100 * np.sin(index / 15), 360.0, 2.0, 0.0


def draw(path: Path, shots: int, length: int) -> Path:
    scene = clips.Scene(tuple(shot(length, number) for number in range(shots)), WIDTH, HEIGHT, 1.0)
    with ClipWriter(path, Fraction(25), (WIDTH, HEIGHT)) as writer:
        for frame in scene:
            writer.write(frame)
    return path


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


class Meter:
    """Processor times of a stage: the least of three, because other work on the machine only ever adds to them."""

    def __init__(self, count: int) -> None:
        self.count, self.total = count, 0.0

    def __call__(self, name: str, work: Callable[[], object], walks: int = 1) -> object:
        """Print what the work takes in all its threads; it is counted `walks` times."""
        times = []
        for _ in range(3):
            began = time.process_time()
            result = work()
            times.append((time.process_time() - began) / self.count * 1000)
        self.total += walks * min(times)
        print(f"  {name:34} {walks} x {min(times):6.1f} ms   (at most {max(times):.1f})")
        return result


def report_each(folder: Path, count: int) -> None:
    clip = open_clip(draw(folder / "each.mp4", 1, count))
    print(f"Stages at {WIDTH}x{HEIGHT}, one crop of {CROP}, {count} frames, {load()}; processor time of a frame:")
    meter = Meter(count)
    meter("decoding and RGB", lambda: sum(1 for _ in clip), walks=3)
    frames = list(clip)
    memory = ArrayClip(frames)
    detector = YuNetDetector(find("yunet"))
    (track, *_) = searched(meter, memory, detector)
    plan = plan_crop(track, CropOptions(size=(CROP, CROP)))
    (crops,) = meter("cutting", lambda: crop_clip(memory, [plan]))
    meter("colours, of originals and results", lambda: gather(ColorStatistics(), plan, crops))
    color = gather(ColorStatistics(), plan, crops).match("lab")
    patches = [Patch(plan, index, crop, color) for index, crop in enumerate(crops)]
    pairs = list(zip(frames, patches, strict=True))
    pasted = meter("pasting", lambda: [paste_frame(frame, [patch]).frame for frame, patch in pairs])
    to_yuv = EncoderFrames((WIDTH, HEIGHT), 8, "yuv420p")
    meter("RGB to YUV", lambda: [to_yuv(frame) for frame in pasted])
    print(f"  sum {meter.total:.0f} ms; apart from it:")
    meter("encoding, with RGB to YUV", lambda: write(folder / "out.mp4", pasted))


def searched(meter: Meter, clip: ArrayClip, detector: YuNetDetector) -> list:
    """The frames are read ahead in a thread; where they are in memory, that thread only makes them smaller."""
    return meter("searching and following", lambda: find_tracks(clip, detector)).tracks


def gather(statistics: ColorStatistics, plan, crops) -> ColorStatistics:
    for index, crop in enumerate(crops):
        statistics.add(crop, crop, plan.landmarks[index], None)
    return statistics


def write(path: Path, frames: list) -> None:
    with ClipWriter(path, Fraction(25), (WIDTH, HEIGHT)) as writer:
        for frame in frames:
            writer.write(frame)


class SleepingVAE:
    """Means of 8x8 for latents, and those repeated for frames."""

    factor, scaling_factor = 8, 0.18215

    def encode(self, pixels, *, full_precision=False):
        mean = torch.nn.functional.avg_pool2d(pixels, 8)
        return torch.cat([mean, mean[:, :1]], 1)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents[:, :3], scale_factor=8.0)


class SleepingUNet:
    """Sleeps for every frame of every window, and finds the degraded clip perfect."""

    device, token_width, size_multiple_factor = torch.device("cpu"), 8, 8

    def __init__(self) -> None:
        self.slept = 0.0

    def __call__(self, x, sigma, degraded, reference, tokens, task):
        begun = time.perf_counter()
        time.sleep(ASLEEP * x.shape[0] * x.shape[1])
        self.slept += time.perf_counter() - begun
        return degraded * SleepingVAE.scaling_factor


class SleepingLoader(Loader):
    """The bundled detector, and networks that sleep."""

    def require(self, **needed: bool) -> None:
        """Nothing is needed."""

    def check_size(self, width: int, height: int) -> None:
        """Any size fits."""

    def networks(self, *, self_referred: bool) -> Networks:
        return Networks(NETWORK, SleepingVAE())


NETWORK = SleepingUNet()


def report_beside(folder: Path, count: int) -> None:
    source = draw(folder / "beside.mp4", 6, count)
    # One window after the other, one step, unguided: every frame goes through the network once.
    options = RestoreOptions(steps=1, passes=1, plan=WindowPlan(8, 0, "linear"))
    job = Job(source, folder / "restored.mp4", BFR, options, faces=FaceOptions(choice="all"))
    NETWORK.slept = 0.0
    began, spent = time.perf_counter(), time.process_time()
    run(job, SleepingLoader(device="cpu"))
    wall, cpu = time.perf_counter() - began, time.process_time() - spent
    frames = 6 * count
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(
        f"Six shots of {count} frames, {cores} cores, {load()}: network {NETWORK.slept:.1f} s "
        f"({NETWORK.slept / frames * 1000:.0f} ms a frame), wall {wall:.1f} s, ratio {wall / NETWORK.slept:.2f}; "
        f"processor {cpu / frames * 1000:.0f} ms a frame, so at least "
        f"{cpu / cores / NETWORK.slept:.2f} of the network's time on these cores"
    )


def report_tracks(folder: Path) -> None:
    print(f"20 tracks, one after the other, cut out of 320x180, {load()}; processor time:")
    for count in (500, 1000, 2000):
        path = folder / f"{count}.mp4"
        with ClipWriter(path, Fraction(25), (320, 180)) as writer:
            for number in range(count):
                writer.write(np.full((180, 320, 3), 40 + number % 100, np.uint8))
        plans = [plan_crop(track, CropOptions(size=(128, 128))) for track in tracks_of(count)]
        began = time.process_time()
        shots = sum(1 for _ in cut_shots(open_clip(path), [[plan] for plan in plans], colors=True))
        spent = time.process_time() - began
        assert shots == 20
        apart = sum(crop_seconds(path, plan) for plan in plans[::5]) * 5
        print(
            f"  {count:5d} frames: {spent / count * 1000:6.2f} ms a frame; "
            f"each track in a walk of its own {apart / count * 1000:6.2f}"
        )


def crop_seconds(path: Path, plan) -> float:
    """What it takes to walk to a track and cut it, with every frame on the way turned into RGB, as before."""
    began = time.process_time()
    for number, frame in enumerate(open_clip(path)):
        if number >= plan.track.stop:
            break
        if plan.track.covers(number):
            crop_frame(frame, plan, number - plan.track.start)
    return time.process_time() - began


def tracks_of(count: int) -> list:
    from support.tracks import make_track

    length = count // 20
    return [make_track([(160, 90)] * length, 60.0, start=number * length, number=number) for number in range(20)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=["each", "beside", "tracks", []], default=[])
    parser.add_argument("--frames", type=int, default=50, help="of the clip, or of each shot")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cases = arguments.cases or ["each", "beside", "tracks"]
    with tempfile.TemporaryDirectory() as folder:
        if "each" in cases:
            report_each(Path(folder), arguments.frames)
        if "beside" in cases:
            report_beside(Path(folder), arguments.frames)
        if "tracks" in cases:
            report_tracks(Path(folder))


if __name__ == "__main__":
    main()
