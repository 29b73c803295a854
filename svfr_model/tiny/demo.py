"""A demonstration on a bare machine: a drawn clip is degraded, then taken through every step of a restoration.

The networks are svfr-tiny's, which were trained on other drawn clips and can restore nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..base.clip import ArrayClip
from ..base.progress import Callback
from ..base.tasks import Task
from ..engine.restore import Networks
from ..engine.self_reference import SelfReferrer
from ..faces.crop import plan_crop
from ..faces.cut import crop_clip
from ..faces.detectors.yunet import YuNetDetector
from ..faces.find import find_tracks
from ..faces.geometry import apply
from ..faces.options import CropOptions, PasteOptions
from ..faces.paste_clip import paste_clip
from ..faces.track import FaceTrack, PlannedCrop
from ..files.paths import Output, check_paths
from ..media import ClipWriter
from ..metrics.evaluate import evaluate
from ..metrics.instruments import Instruments
from ..metrics.report import METRICS, Report
from ..runs.loader import Loader
from ..runs.restore_clip import Request, restore_tracks
from ..synthesis.clips import SyntheticClip, make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.masks import paint_white, random_mask
from ..synthesis.options import DegradeOptions, LowQuality
from ..weights import find
from .evaluate import HELD_OUT
from .model import EVALUATION, bundled
from .stc import bundled_stc
from .stc_demo import PROFILES, VIDEO, run_stc_demo

SCENE = HELD_OUT + 500_004
"""Seed of the clip, beyond all seeds that svfr-tiny was trained on."""
FRAMES, SIDE, VIEW = 32, 256, 3.5
WINDOW = 160
"""Side in pixels of the part of the scene that the camera sees."""
ORIGIN, PAN = (32, 44), (1, 0)
"""Upper left corner of the first view, and how far it moves to the right and down per frame."""
STROKES = 6
"""Seed of the scratches."""
TARGET = "side_by_side.mp4"
CROP = 64
"""The size, in pixels, that svfr-tiny was trained at."""
ENLARGED = 2
TASKS = frozenset({Task.BFR, Task.INPAINTING})
NOTICE = (
    "The faces are drawn, and svfr-tiny and stc-tiny are small models trained on drawn faces: this shows that the "
    "steps work together, not how well the published networks restore."
)


@dataclass(frozen=True)
class Scene:
    """A clip with a known truth. truth, degraded: (N,H,W,3) uint8; masks: (N,H,W) bool; track: where the face is."""

    truth: np.ndarray
    degraded: np.ndarray
    masks: np.ndarray
    track: FaceTrack


def run_demo(
    folder: Path, *, detector_weights: Path | None = None, seed: int = 77, callback: Callback | None = None
) -> str:
    """Make, degrade and restore the clip; write side_by_side.mp4 into folder, and what `stc_demo` shows of
    de-flickering. Returns what to tell the user.

    detector_weights: YuNet's file, by default the one that `find` returns. seed: of the sampler. Raises
    FaceNotFoundError if the detector finds no face.
    """
    options = replace(EVALUATION, seed=seed)
    output = Output(folder, "demonstration", form="folder", contents=(TARGET, VIDEO, PROFILES))
    check_paths([detector_weights] if detector_weights is not None else [], [output])
    scene = make_scene()
    bundled_stc()
    clip = ArrayClip(scene.degraded)
    detector = YuNetDetector(detector_weights or find("yunet"))
    plan = plan_crop(find_tracks(clip, detector).require()[0], CropOptions(size=(CROP, CROP)))
    loader = Loader(folders=[str(bundled())], device="cpu")
    plain = loader.networks(self_referred=False)
    networks = Networks(plain.backend, plain.vae, SelfReferrer(detector, loader.encoder))
    request = Request(TASKS, options)
    restored = restore_tracks(clip, [plan], networks, [request], masks=scene.masks, callback=callback)
    pasted = [entry.frame for entry in paste_clip(clip, restored, PasteOptions(), TASKS, callback=callback)]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / TARGET
    write_side_by_side(target, zip(scene.degraded, pasted, scene.truth, strict=True))
    landmarks = apply(plan.matrices, scene.track.landmarks)
    clips = {"degraded": scene.degraded, "restored": np.stack(pasted), "truth": scene.truth}
    table = compare({name: _crops(frames, plan) for name, frames in clips.items()}, landmarks, loader)
    told = run_stc_demo(folder)
    return (
        f"wrote {target}: from left to right, the degraded clip, the result and the truth. YuNet found the face.\n\n"
        f"{table}\n\n{told}\n\n{NOTICE}"
    )


def make_scene() -> Scene:
    """A person in front of a panning camera; blurred, shrunk, noisy, compressed and scratched."""
    wide = make_clip(SCENE, FRAMES, SIDE, view=VIEW)
    corners = np.array(ORIGIN) + np.arange(FRAMES)[:, None] * np.array(PAN)
    truth = np.stack([f[y : y + WINDOW, x : x + WINDOW] for f, (x, y) in zip(wide.frames, corners, strict=True)])
    # the blur of a 64 px crop, which is what the network was trained on, in a frame that holds such a crop
    weakest, strongest = (sigma * CROP / WINDOW for sigma in LowQuality().sigma)
    degraded, _ = degrade_clip(truth, DegradeOptions(low_quality=LowQuality(sigma=(weakest, strongest))), SCENE)
    track = known_track(wide, corners)
    masks = scratches(track)
    return Scene(truth, paint_white(degraded, masks), masks > 0, track)


def scratches(track: FaceTrack) -> np.ndarray:
    """Strokes that stay in place while the face passes behind them: (N,S,S) uint8, 1 where the picture is covered."""
    strokes = random_mask(np.random.default_rng(STROKES), FRAMES, (CROP, CROP), "brush", moving=False)
    x, y = np.rint(track.boxes.reshape(-1, 2, 2).mean(axis=(0, 1))).astype(int) - CROP // 2
    masks = np.zeros((FRAMES, WINDOW, WINDOW), np.uint8)
    masks[:, y : y + CROP, x : x + CROP] = strokes
    return masks


def known_track(wide: SyntheticClip, corners: np.ndarray) -> FaceTrack:
    """The face's track, from where the generator drew it; its boxes hold the whole face, as a detector's do."""
    boxes = []
    for face in wide.face:
        rows, columns = np.nonzero(face)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    return FaceTrack(
        id=0,
        person=0,
        shot=0,
        start=0,
        boxes=np.array(boxes, np.float64) - np.tile(corners, 2),
        landmarks=wide.five - corners[:, None].astype(np.float64),
        scores=np.ones(FRAMES),
        seen=np.ones(FRAMES, dtype=bool),
        frame_size=(WINDOW, WINDOW),
    )


def write_side_by_side(target: Path, rows: Iterable[tuple[np.ndarray, ...]]) -> None:
    """One video that shows several clips side by side, enlarged; each frame is (H,W,3) uint8."""
    import cv2

    with ClipWriter(target, ArrayClip([]).fps, (3 * ENLARGED * WINDOW, ENLARGED * WINDOW)) as writer:
        for row in rows:
            together = np.concatenate(row, axis=1)
            writer.write(cv2.resize(together, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC))


def compare(clips: Mapping[str, ArrayClip], landmarks: np.ndarray, loader: Loader) -> str:
    """A table that measures clips, one of them the "truth". landmarks (N,5,2): where the face really is."""
    instruments = Instruments(encoder=loader.encoder, landmarks=lambda index: landmarks[index])
    reports = {
        name: evaluate(clip, None if name == "truth" else clips["truth"], instruments) for name, clip in clips.items()
    }
    keys = [key for key in METRICS if any(key in found.values for found in reports.values())]
    rows = [("face crops", *(f"{name:>10}" for name in reports), "  better")]
    rows += [(METRICS[k].label, *(_cell(r, k) for r in reports.values()), f"  {METRICS[k].better}") for k in keys]
    return "\n".join(f"{label:14}" + "".join(cells) for label, *cells in rows)


def _crops(frames: np.ndarray, plan: PlannedCrop) -> ArrayClip:
    (crops,) = crop_clip(ArrayClip(frames), [plan])
    return ArrayClip(crops.permute(0, 2, 3, 1).numpy())


def _cell(found: Report, key: str) -> str:
    value = found.values.get(key)
    return f"{'':>10}" if value is None else f"{value:10.3f}"
