"""A face in a frame, and what finds faces: frames in, boxes with five landmarks and scores out."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..base.errors import InputError


@dataclass(frozen=True)
class Face:
    """One face in one frame, in the frame's pixels."""

    box: np.ndarray
    """x1, y1, x2, y2 as (4,) float64; may reach beyond the frame."""
    landmarks: np.ndarray
    """Left eye, right eye, nose, left and right mouth corner as the picture shows them: (5,2) float64."""
    score: float
    """The detector's confidence in [0,1]."""

    def scaled(self, factor_x: float, factor_y: float) -> Face:
        """The same face in the picture enlarged by the factors: the centre of pixel u goes to (u + 0.5) * f - 0.5."""
        factor = np.array([factor_x, factor_y])
        shift = 0.5 * factor - 0.5
        box = self.box.reshape(2, 2) * factor + shift
        return Face(box.reshape(4), self.landmarks * factor + shift, self.score)


def faces_as_arrays(faces: Sequence[Face]) -> dict[str, np.ndarray]:
    """The boxes (n,4), landmarks (n,5,2) and scores (n,) of faces, by these names."""
    return {
        "boxes": np.array([face.box for face in faces]).reshape(-1, 4),
        "landmarks": np.array([face.landmarks for face in faces]).reshape(-1, 5, 2),
        "scores": np.array([face.score for face in faces], np.float64),
    }


def faces_of(arrays: Mapping[str, np.ndarray]) -> list[Face]:
    """The faces that gave these arrays, see `faces_as_arrays`, in their order."""
    parts = arrays["boxes"], arrays["landmarks"], arrays["scores"].tolist()
    return [Face(*face) for face in zip(*parts, strict=True)]


class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first; an empty list where there is none."""
        ...


class SharedDetector:
    """A detector for several threads: one at a time, because detectors keep the size of what they see."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector, self._lock = detector, threading.Lock()

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """See `FaceDetector.detect`."""
        with self._lock:
            return self._detector.detect(frames)


def sorted_faces(boxes: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> list[Face]:
    """Faces from boxes (n,4), landmarks (n,5,2) and scores (n,), best score first."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return [
        Face(np.asarray(boxes[i], np.float64), np.asarray(landmarks[i], np.float64), float(scores[i])) for i in order
    ]


def checked_threshold(threshold: float) -> float:
    """A detection threshold strictly between 0 and 1, or an InputError."""
    if not 0.0 < threshold < 1.0:
        raise InputError(f"The detection threshold must lie between 0 and 1, got {threshold}.")
    return float(threshold)
