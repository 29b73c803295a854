"""A clip whose truth is known, made from one picture of a face: the camera moves, and the clip is degraded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..base.tasks import Task
from ..faces.face import Face
from ..faces.geometry import apply
from ..faces.warp import warp
from ..synthesis.degrade import degrade_clip
from ..synthesis.options import options_for

PORTRAIT = Path(__file__).resolve().parent.parent / "models" / "portrait" / "eileen_collins.jpg"
"""The picture that ships with this package; models/portrait/README.md names its source."""
TASKS = frozenset({Task.BFR})
PERIOD = 32
"""Frames until the camera is where it was."""
SURROUNDING = 2.0
"""Side of what the camera sees over the longer side of the face's box."""
SHIFT, ZOOM, TILT = 0.05, 0.06, 4.0
"""How far the camera moves: parts of what it sees, part of its zoom, and degrees."""
SEED = 7
"""Of the degradation."""


@dataclass(frozen=True)
class Scene:
    """truth, degraded: (N,S,S,3) uint8. landmarks: (N,5,2) in their pixels."""

    truth: np.ndarray
    degraded: np.ndarray
    landmarks: np.ndarray


def make_scene(picture: np.ndarray, face: Face, frames: int, size: int) -> Scene:
    """picture (H,W,3) uint8 with its face; the clip has frames of size x size pixels."""
    matrices = np.stack([camera(face, number, size) for number in range(frames)])
    truth = np.stack([warp(picture, matrix, (size, size)) for matrix in matrices])
    degraded, _ = degrade_clip(truth, options_for(TASKS), SEED)
    return Scene(truth, degraded, apply(matrices, face.landmarks))


def camera(face: Face, number: int, size: int) -> np.ndarray:
    """The similarity (2,3) from the picture to a frame."""
    turn = 2 * np.pi * number / PERIOD
    x1, y1, x2, y2 = face.box
    side = SURROUNDING * max(x2 - x1, y2 - y1)
    scale, angle = size / side * (1 + ZOOM * np.sin(turn)), np.radians(TILT) * np.sin(2 * turn)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([x1 + x2, y1 + y2]) / 2 + SHIFT * side * np.array([np.sin(turn), np.cos(turn) - 1])
    return np.concatenate([linear, (size / 2 - linear @ middle)[:, None]], axis=1)
