"""Figures of face detection, tracking, cropping and paste-back on clips whose motion is known.

    python benchmarks/faces.py [--detector face_detection_yunet.onnx] [--video lq1.mp4] [--frames 100]

Without --video the second person is a mirrored, darkened copy of the first. Needs scikit-image (requirements-dev.txt).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import clips
from support import face_metrics as metrics
from support.pasting import match_colors, paste

from svfr_model.base.clip import ArrayClip
from svfr_model.faces.crop import crop_frame, plan_crop
from svfr_model.faces.cut import crop_clip
from svfr_model.faces.detectors.yunet import YuNetDetector
from svfr_model.faces.find import find_tracks
from svfr_model.faces.options import CropOptions, PasteOptions, TrackOptions
from svfr_model.faces.paste import Patch

SHARED = ROOT.parent / "shared" / "data"


def scenes(second):
    return {
        "static": clips.static(),
        "pan": clips.pan(),
        "zoom": clips.zoom(),
        "roll": clips.roll(),
        "shake": clips.shake(),
        "crossing": clips.crossing(second),
        "re-entering": clips.reentering(),
        "hard cut": clips.hard_cut(second),
        "faceless start": clips.faceless_start(),
        "at the border": clips.at_border(),
    }


def tracking(detector, second):
    print("Tracks (errors in % of the side of the face; full view / partly hidden or cut off)")
    print("clip             purity switches  cover  max err  rms err  partial  cuts found/true  crop err  jitter ratio")
    truths = {person.name: metrics.calibrate(person, detector) for person in (clips.portrait(), second)}
    for name, scene in scenes(second).items():
        found = find_tracks(scene, detector)
        report = metrics.report_tracks(scene, found.tracks, truths)
        extra = ""
        if name in ("static", "pan", "zoom", "roll", "shake"):
            actor = scene.shots[0].actors[0]
            plan = plan_crop(found.tracks[0])
            error = metrics.crop_error(scene, plan, actor, truths["woman"])
            ratio = metrics.jitter(plan.matrices) / metrics.jitter(metrics.per_frame_matrices(scene, detector))
            inside = metrics.face_inside_crop(scene, plan, actor, truths["woman"])
            extra = f"{100 * error:7.2f}   {ratio:7.3f}   face inside: {inside}"
        print(
            f"{name:15s} {report.purity:7.3f} {report.switches:6d} {report.coverage:8.3f} {100 * report.error:8.2f} "
            f"{100 * report.error_rms:8.2f} {100 * report.partial_error:8.2f}  "
            f"{found.cuts!s:>8s} {scene.cuts!s:8s}{extra}"
        )


def round_trip(detector, video):
    print("\nIdentity round trip: PSNR in dB where the mask is above 0, and gradient ratio in the band at its edge")
    footage = {"pan": clips.pan(16), "roll": clips.roll(16)}
    if video is not None:
        footage["lq1"] = ArrayClip(read(video, 16))
    for name, clip in footage.items():
        found = find_tracks(clip, detector)
        for mode in ("tracked", "static"):
            native = metrics.native_size(plan_crop(found.tracks[0], CropOptions(mode=mode)))
            for factor in (1.0, 1.5, 2.5):
                size = round(native * factor)
                plan = plan_crop(found.tracks[0], CropOptions(mode=mode, size=(size, size)))
                for region in ("face", "crop"):
                    options = PasteOptions(region=region)
                    figures = [figure(frame, plan, i, options) for i, frame in enumerate(clip) if i % 5 == 0]
                    worst_psnr, seam = min(f[0] for f in figures), max(f[1] for f in figures)
                    label = f"{name:5s} {mode:8s} {region:5s} {factor:3.1f}x native"
                    print(f"  {label}: {worst_psnr:5.1f} dB, seam {seam:.3f}")


def figure(frame, plan, entry, options):
    crop = torch.from_numpy(crop_frame(frame, plan, entry)).permute(2, 0, 1)
    pasted = paste(frame, [Patch(plan, entry, crop)], options)
    mask = metrics.paste_mask(plan, entry, options)
    if not np.array_equal(pasted[mask == 0], frame[mask == 0]):
        raise SystemExit("paste changed pixels outside its mask")
    band = metrics.edge_band(mask)
    return metrics.psnr(pasted, frame, mask > 0), metrics.gradient(pasted)[band].mean() / metrics.gradient(frame)[
        band
    ].mean()


def seams(detector):
    print("\nA crop with shifted colour (+18,-12,+25) and noise (sigma 6)")
    print("clip    colours  seam at edge  seam at half  temporal at edge  mean colour off  ms per paste")
    for name, clip in {"static": clips.static(20), "pan": clips.pan(20)}.items():
        plan = plan_crop(find_tracks(clip, detector).tracks[0])
        (crops,) = crop_clip(clip, [plan])
        noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(0)) * 6
        shift = torch.tensor([18.0, -12.0, 25.0])[:, None, None]
        restored = (crops.float() + shift + noise).clamp(0, 255).to(torch.uint8)
        for mode in ("none", "lab", "wavelet"):
            options = PasteOptions(color_match=mode)
            color = match_colors(mode, plan, crops, restored)
            started = time.perf_counter()
            frames = [paste(f, [Patch(plan, i, restored[i], color)], options) for i, f in enumerate(clip)]
            spent = (time.perf_counter() - started) / len(frames) * 1000
            print(f"{name:7s} {mode:8s}" + seam_figures(list(clip), frames, plan, options) + f"{spent:12.1f}")


def seam_figures(originals, pasted, plan, options):
    masks = [metrics.paste_mask(plan, i, options) for i in range(len(pasted))]
    ratios = []
    for level in (0.0, 0.5):
        bands = [metrics.edge_band(mask, level) for mask in masks]
        ratios.append(
            max(
                metrics.gradient(p)[b].mean() / metrics.gradient(o)[b].mean()
                for o, p, b in zip(originals, pasted, bands, strict=True)
            )
        )
    changes = np.zeros(2)
    for i in range(len(pasted) - 1):
        band = metrics.edge_band(masks[i]) | metrics.edge_band(masks[i + 1])
        for row, frames in enumerate((originals, pasted)):
            changes[row] += np.abs(frames[i + 1][band].astype(int) - frames[i][band]).sum()
    off = np.mean(
        [
            np.abs((p[m > 0.9].astype(float) - o[m > 0.9]).mean(0)).max()
            for o, p, m in zip(originals, pasted, masks, strict=True)
        ]
    )
    return f"{ratios[0]:13.3f} {ratios[1]:13.3f} {changes[1] / changes[0]:17.3f} {off:16.2f} "


def speed(detector, count):
    frames = [cv2.resize(frame, (1280, 720), interpolation=cv2.INTER_CUBIC) for frame in clips.pan(count)]
    clip = ArrayClip(frames)
    detector.detect(frames[:1])
    print(f"\nSpeed on {count} frames of 1280x720, milliseconds per frame, {cv2.getNumThreads()} OpenCV threads")

    def timed(work):
        started = time.perf_counter()
        result = work()
        return (time.perf_counter() - started) / count * 1000, result

    every, _ = timed(lambda: [detector.detect([frame]) for frame in frames])
    stage, found = timed(lambda: find_tracks(clip, detector))
    plan = plan_crop(found.tracks[0])
    cropping, (crops,) = timed(lambda: crop_clip(clip, [plan]))
    colors, color = timed(lambda: match_colors("lab", plan, crops, crops))
    pasting, _ = timed(lambda: [paste(f, [Patch(plan, i, crops[i], color)]) for i, f in enumerate(frames)])
    print(f"  every full-size frame detected   {every:7.1f}")
    print(f"  find_tracks (cuts, stride 5)     {stage:7.1f}   {every / stage:.1f} times faster")
    print(f"  crop_clip to 512x512             {cropping:7.1f}")
    print(f"  colours fitted                   {colors:7.1f}")
    print(f"  paste                            {pasting:7.1f}")


def memory(arguments):
    print("\nPeak memory of find_tracks, each in its own process")
    for count in (200, 1000):
        command = [sys.executable, __file__, "--detector", str(arguments.detector), "--memory", str(count)]
        print(
            f"  {count:5d} frames of 1280x720: {subprocess.run(command, capture_output=True, text=True).stdout.strip()}"
        )


def memory_of(detector, count):
    scene = clips.pan(count, width=1280, height=720)
    find_tracks(scene, detector, TrackOptions())
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def read(path, count):
    capture, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < count:
        ok, frame = capture.read()
        if not ok:
            break
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    return frames


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=Path, default=SHARED / "face_detection_yunet_n_640.onnx")
    parser.add_argument("--video", type=Path, default=SHARED / "lq1.mp4")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    detector = YuNetDetector(arguments.detector)
    if arguments.memory:
        memory_of(detector, arguments.memory)
        return
    video = arguments.video if arguments.video.exists() else None
    tracking(detector, clips.from_video(video) if video else clips.portrait("other"))
    round_trip(detector, video)
    seams(detector)
    speed(detector, arguments.frames)
    memory(arguments)


if __name__ == "__main__":
    main()
