"""A demonstration on a bare machine: a portrait in motion is degraded and goes through every step of a restoration.

The networks are tiny and random, so the picture that comes out is noise; what is shown is that everything runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from .clip import ArrayClip
from .errors import DependencyError
from .faces.crop import CropOptions, plan_crop
from .faces.detect import Face, YuNetDetector
from .faces.find import find_tracks
from .faces.paste import PasteOptions
from .faces.track import FaceTrack
from .load import Loader
from .pipeline import Request, pasted_frames, restore_tracks
from .progress import Callback
from .restore import Networks, RestoreOptions
from .self_reference import SelfReferrer
from .tasks import Task
from .tiny import write_random_weights
from .video import ClipWriter

FRAMES = 20
SIDE = 256
PAN = (2, 1)
"""Pixels that the view moves right and down per frame."""
ORIGIN = (80, 0)
"""Left upper corner of the first view in the portrait."""
FACE_BOX = (178.1, 65.0, 269.5, 176.4)
FACE_POINTS = ((203.4, 103.6), (247.5, 104.4), (224.1, 127.7), (204.0, 143.1), (242.9, 143.7))
"""Where YuNet sees the face in the portrait (measured once), for machines without a detector's weights."""
CROP = 64
NOTICE = (
    "The networks of this demonstration are tiny and random: they restore nothing, and the right half shows noise. "
    "It shows that detection, crop, two passes and paste-back run here."
)


@dataclass(frozen=True)
class PortraitClip:
    """The public-domain portrait that scikit-image ships (NASA, Eileen Collins), slowly panned; 25 fps, uint8."""

    fps: Fraction = Fraction(25)
    width: int = SIDE
    height: int = SIDE

    @cached_property
    def portrait(self) -> np.ndarray:
        """The whole picture, (512,512,3) uint8."""
        try:
            from skimage.data import astronaut
        except ImportError as error:
            raise DependencyError(
                "The demonstration's portrait ships with scikit-image: python -m pip install scikit-image"
            ) from error
        return astronaut()

    @staticmethod
    def corner(frame: int) -> tuple[int, int]:
        """Left upper corner of the view in a frame."""
        return ORIGIN[0] + frame * PAN[0], ORIGIN[1] + frame * PAN[1]

    def __len__(self) -> int:
        return FRAMES

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in range(FRAMES):
            left, top = self.corner(frame)
            yield np.ascontiguousarray(self.portrait[top : top + SIDE, left : left + SIDE])


class _NoDetector:
    """Stands where a detector's weights are missing: sees nothing, so that known landmarks are used."""

    def detect(self, frames: list[np.ndarray]) -> list[list[Face]]:
        """No face in any frame."""
        return [[] for _ in frames]


def run_demo(
    folder: Path, *, detector_weights: Path | None = None, seed: int = 77, callback: Callback | None = None
) -> str:
    """Make, degrade and restore the clip; write side_by_side.mp4 into folder. Returns what to tell the user.

    detector_weights: YuNet's file; without it the face's place is known beforehand, and the report says so.
    """
    clean = PortraitClip()
    clip = ArrayClip(degrade(clean, seed), clean.fps)
    detector = YuNetDetector(detector_weights) if detector_weights else _NoDetector()
    track = find_tracks(clip, detector).require()[0] if detector_weights else known_track()
    track = plan_crop(track, CropOptions(mode="static", size=(CROP, CROP)))
    with tempfile.TemporaryDirectory() as weights:
        write_random_weights(weights, seed)
        loader = Loader([weights], device="cpu")
        plain = loader.networks(self_referred=False)
        networks = Networks(plain.backend, plain.vae, SelfReferrer(detector, loader.encoder))
    request = Request(frozenset({Task.BFR}), RestoreOptions(steps=8, seed=seed))
    restored = restore_tracks(clip, [track], networks, [request], "lab", callback=callback)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "side_by_side.mp4"
    with ClipWriter(target, clip.fps, (2 * SIDE, SIDE)) as writer:
        pasted = pasted_frames(clip, restored, PasteOptions(), request.tasks)
        for before, after in zip(clip, pasted, strict=True):
            writer.write(np.concatenate([before, after], axis=1))
    found = "found by YuNet" if detector_weights else "known beforehand (no detector weights were given)"
    return f"wrote {target}: left the degraded clip, right the result; the face was {found}.\n{NOTICE}"


def degrade(clip: PortraitClip, seed: int) -> np.ndarray:
    """The clip reduced four times, with noise, and enlarged again: (N,H,W,3) uint8."""
    import cv2

    random = np.random.default_rng(seed)
    frames = []
    for frame in clip:
        small = cv2.resize(frame, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA).astype(np.float32)
        small += random.normal(0, 5, small.shape)
        large = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        frames.append((large.clip(0, 255) + 0.5).astype(np.uint8))
    return np.stack(frames)


def known_track() -> FaceTrack:
    """The face's track as the view moves over the portrait."""
    corners = np.array([PortraitClip.corner(frame) for frame in range(FRAMES)], dtype=np.float64)
    return FaceTrack(
        id=0,
        person=0,
        shot=0,
        start=0,
        boxes=np.array(FACE_BOX) - np.tile(corners, 2),
        landmarks=np.array(FACE_POINTS) - corners[:, None],
        scores=np.ones(FRAMES),
        seen=np.ones(FRAMES, dtype=bool),
        frame_size=(SIDE, SIDE),
    )
