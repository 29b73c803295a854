"""Looking at a known face again: the detector sees it upright, centred and at one size, so its reading is steady.

A detector reads the same face differently at every position, size and roll. Where a face is roughly known, the frame
is warped to a small view in which the face always lies the same way, and the detector's reading there is mapped back:
what remains of its error moves with the face. The view is small, so a look costs little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .face import Face, FaceDetector
from .geometry import TEMPLATE_256, apply, invert, similarity
from .warp import warp

VIEW_SIDE = 224
FACE_SIDE = 120
"""A face box in the view is about this wide, whatever it is in the frame."""
CANONICAL = (TEMPLATE_256.astype(np.float64) - (128.0, 130.0)) * (FACE_SIDE / 150.0) + VIEW_SIDE / 2
SETTLED = 0.03
"""A face read this near to where the view was centred, in sides of the face, needs no further look."""
SIDE_PER_SPREAD = 1.6
"""Side of a face over the root of the summed squared distances of its landmarks from their centre."""
LOOK_SIDE = 24
LOOK = (TEMPLATE_256.astype(np.float64) - (128.0, 118.0)) * (LOOK_SIDE / 230.0) + LOOK_SIDE / 2


def view_matrix(landmarks: np.ndarray) -> np.ndarray:
    """The similarity (2,3) from the frame to the view of a face with these landmarks (5,2)."""
    return similarity(landmarks, CANONICAL)


def look_again(jobs: Sequence[tuple[np.ndarray, np.ndarray]], detector: FaceDetector, rounds: int) -> list[list[Face]]:
    """The faces in the view of each (frame, landmarks) guess, in the frame's pixels, the one nearest the guess first.

    A view that turns out not to be centred on that face is made anew, so that a guess may be far off: at most `rounds`
    looks in all. The views of a round are given to the detector together.
    """
    guesses = [landmarks for _, landmarks in jobs]
    found: list[list[Face]] = [[] for _ in jobs]
    active = list(range(len(jobs)))
    for _ in range(rounds):
        matrices = [view_matrix(guesses[job]) for job in active]
        views = [
            warp(jobs[job][0], matrix, (VIEW_SIDE, VIEW_SIDE), border="replicate", interpolation="linear")
            for job, matrix in zip(active, matrices, strict=True)
        ]
        for job, matrix, faces in zip(active, matrices, detector.detect(views) if views else [], strict=True):
            ordered = sorted(faces, key=lambda face: float(np.hypot(*(face.landmarks.mean(0) - VIEW_SIDE / 2))))
            found[job] = [from_view(face, matrix) for face in ordered]
        active = [job for job in active if found[job] and not _settled(guesses[job], found[job][0].landmarks)]
        for job in active:
            guesses[job] = found[job][0].landmarks
    return found


def _settled(guess: np.ndarray, landmarks: np.ndarray) -> bool:
    """Whether all landmarks (5,2) lie near where the view expected them."""
    side = SIDE_PER_SPREAD * float(np.linalg.norm(landmarks - landmarks.mean(0)))
    return float(np.abs(landmarks - guess).max()) < SETTLED * side


def from_view(face: Face, matrix: np.ndarray) -> Face:
    """A face of the view in the frame's pixels; its box keeps its proportions and stays upright in the frame."""
    back = invert(matrix)
    scale = float(np.hypot(*back[:, 0]))
    center = apply(back, (face.box[:2] + face.box[2:])[None] / 2)[0]
    half = (face.box[2:] - face.box[:2]) * scale / 2
    return Face(np.concatenate([center - half, center + half]), apply(back, face.landmarks), face.score)


def appearance(frame: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """A tiny aligned picture of a face, centred and scaled to unit length: the dot product of two is their likeness."""
    matrix = similarity(landmarks, LOOK)
    picture = warp(frame, matrix, (LOOK_SIDE, LOOK_SIDE), border="replicate", interpolation="linear")
    values = picture.astype(np.float32)
    values -= values.mean(axis=(0, 1))
    values = values.ravel()
    return values / max(float(np.linalg.norm(values)), 1e-6)
