"""Faces for a detector that needs no weights: heads with five coloured dots, found by their colours.

The detector really looks at pixels, so reduced frames, views and warps all go through it; logic of tracks is tested
with it where the real detector's accuracy does not matter.
"""

from __future__ import annotations

import numpy as np
import torch

from svfr_model.faces.face import Face, sorted_faces
from svfr_model.faces.geometry import TEMPLATE_256, apply, similarity

from .clips import Person

SIDE = 100.0
LANDMARKS = (TEMPLATE_256.astype(np.float64) - (128, 130)) * (SIDE / 150) + 80
HEADS = ((150, 60, 60), (60, 60, 150), (60, 140, 60))
RADIUS = 7


def dot_color(person: int, landmark: int) -> np.ndarray:
    """No two dots of any two people share a colour."""
    return np.array([25 + 50 * landmark, 255, 40 + 90 * person], dtype=np.float64)


def dot_person(number: int) -> Person:
    """Person 0, 1 or 2: a coloured disc with five dots where a face has its landmarks."""
    rows, columns = np.mgrid[:160, :160]
    picture = np.empty((160, 160, 3), np.float64)
    picture[:] = HEADS[number]
    for landmark, (x, y) in enumerate(LANDMARKS):
        picture[np.hypot(columns - x, rows - y) <= RADIUS] = dot_color(number, landmark)
    alpha = (np.hypot(columns - 80, rows - 80) < 76).astype(np.float32)
    return Person(f"dots{number}", picture.astype(np.uint8), alpha, (80.0, 80.0), SIDE)


class DotDetector:
    """Finds dot people. Counts the frames it was shown, and the sizes of its batches."""

    def __init__(self, people: int = 3, score: float = 0.9) -> None:
        self.people, self.score = people, score
        self.frames = 0
        self.batches: list[int] = []

    def detect(self, frames) -> list[list[Face]]:
        self.frames += len(frames)
        self.batches.append(len(frames))
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> list[Face]:
        rows, columns = np.nonzero(frame[..., 1] > 225)
        colors = frame[rows, columns].astype(np.float64)
        places = np.stack([columns, rows], axis=1)
        found = []
        for person in range(self.people):
            dots = [places[np.abs(colors - dot_color(person, i)).max(axis=1) < 22] for i in range(5)]
            if min(len(dot) for dot in dots) >= 3:
                found.append(np.array([dot.mean(axis=0) for dot in dots]))
        boxes = []
        for points in found:
            matrix = similarity(LANDMARKS, points)
            center = apply(matrix, np.array([[80.0, 80.0]]))[0]
            half = SIDE / 2 * np.hypot(*matrix[:, 0])
            boxes.append([*(center - half), *(center + half)])
        return sorted_faces(np.array(boxes), np.array(found), np.full(len(found), self.score))


class HeadColorEncoder:
    """Tells dot people apart by the colour of their heads; counts what it was shown."""

    def __init__(self) -> None:
        self.faces = 0

    def embed(self, faces: torch.Tensor) -> torch.Tensor:
        assert faces.shape[1:] == (3, 112, 112)
        assert faces.abs().max() <= 1
        self.faces += len(faces)
        colors = faces[:, :, 14:24, 45:65].mean(dim=(2, 3))
        vectors = torch.zeros(len(faces), 512)
        vectors[:, :3] = colors - colors.mean(dim=1, keepdim=True)
        return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)
