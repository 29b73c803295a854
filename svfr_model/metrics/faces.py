"""The person in a frame as the identity metrics see them: the face, where it is, and its embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ..faces.face import Face, FaceDetector
from ..faces.follow import Encoder
from ..faces.geometry import align_face, box_iou, landmark_array, largest_box
from ..faces.reduce import Reduction
from ..networks.identity import IResNet
from .temporal import REFERENCE_SIZE

Landmarks: TypeAlias = "Callable[[int], np.ndarray | None]"
"""Frame number to the true five landmarks (5,2) in that frame's pixels, or None where there is no face."""

SAME_FACE = 0.3
"""Two boxes that overlap by at least this much are taken for the same face."""


@dataclass(frozen=True)
class Sighting:
    """A person as seen in one frame. face: None with given landmarks. embedding (512,): None without an encoder."""

    face: Face | None
    embedding: torch.Tensor | None


_Both: TypeAlias = tuple[Sighting | None, Sighting | None]
"""The person in the restored and in the true frame."""


class Embedder:
    """The face recogniser alone, as an `Encoder`: metrics need no identity tokens."""

    def __init__(self, recognizer: IResNet) -> None:
        self._recognizer = recognizer

    @torch.no_grad()
    def embed(self, faces: torch.Tensor) -> torch.Tensor:
        """Aligned faces (B,3,112,112) RGB in [-1,1] to embeddings of length 1, (B,512) float32 on the CPU."""
        embeddings = self._recognizer(faces.to(self._recognizer.conv1.weight))[1]
        return torch.nn.functional.normalize(embeddings.float().cpu(), dim=1)


class Watcher:
    """Follows one person through both clips, frame by frame.

    The person is the largest face of the true clip, or of the restored clip where there is no true one, and is
    followed by the overlap of boxes; after a cut, the largest face is chosen again. In the restored frame it is the
    face in the same place.
    """

    def __init__(self, detector: FaceDetector | None, landmarks: Landmarks | None, encoder: Encoder | None) -> None:
        self._detector, self._landmarks, self._encoder = detector, landmarks, encoder
        self._last: Face | None = None

    def look(self, index: int, restored: np.ndarray, truth: np.ndarray | None) -> _Both:
        """The person in frame `index` of the restored and of the true clip; None where no face was found."""
        places: list[np.ndarray | None]
        if self._landmarks is not None:
            given = self._landmarks(index)
            faces: list[Face | None] = [None, None]
            places = [given, given]
        elif self._detector is not None:
            faces = self._find(self._detector, restored, truth)
            places = [None if face is None else face.landmarks for face in faces]
        else:
            return None, None
        first, second = (
            None if frame is None or place is None else Sighting(face, self._embed(frame, place))
            for frame, place, face in zip((restored, truth), places, faces, strict=True)
        )
        return first, second

    def _find(self, detector: FaceDetector, restored: np.ndarray, truth: np.ndarray | None) -> list[Face | None]:
        """The person's face in the restored and in the true frame."""
        person = None if truth is None else self._follow(detector, truth)
        if person is None:
            return [self._follow(detector, restored), None]
        return [_at(person, _detect(detector, restored)), person]

    def _follow(self, detector: FaceDetector, frame: np.ndarray) -> Face | None:
        candidates = _detect(detector, frame)
        found = (None if self._last is None else _at(self._last, candidates)) or _largest(candidates)
        self._last = found or self._last
        return found

    def _embed(self, frame: np.ndarray, points: np.ndarray) -> torch.Tensor | None:
        if self._encoder is None:
            return None
        return self._encoder.embed(align_face(frame, landmark_array(points))[None])[0]


def difference(first: torch.Tensor, second: torch.Tensor) -> float:
    """L2 distance of two unit embeddings (512,), in [0,2]: sqrt(2 - 2 cosine)."""
    return float(torch.linalg.vector_norm(first.double() - second.double()))


def landmark_distance(restored: np.ndarray, truth: np.ndarray, size: tuple[int, int]) -> float:
    """Mean distance of landmarks (k,2) in a frame of size (width, height), in pixels at a longer side of 512."""
    distances = np.linalg.norm(np.asarray(restored, np.float64) - np.asarray(truth, np.float64), axis=1)
    return float(distances.mean()) * REFERENCE_SIZE / max(size)


def _detect(detector: FaceDetector, frame: np.ndarray) -> list[Face]:
    reduction = Reduction.to(frame.shape[1], frame.shape[0])
    return [reduction.enlarge(face) for face in detector.detect([reduction.shrink(frame)])[0]]


def _largest(faces: list[Face]) -> Face | None:
    return faces[largest_box(np.stack([face.box for face in faces]))] if faces else None


def _at(place: Face, faces: list[Face]) -> Face | None:
    """The face that overlaps most with a known one; None if none overlaps by at least SAME_FACE."""
    if not faces:
        return None
    overlaps = box_iou(place.box, np.stack([face.box for face in faces]))[0]
    best = int(np.argmax(overlaps))
    return faces[best] if overlaps[best] >= SAME_FACE else None
