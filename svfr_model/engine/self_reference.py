"""From the first pass to the second: which restored frame to refer to, and whose face it shows.

SVFR paper, self-referred refinement. The reference always takes the last frame of the first pass; by default we take
the best one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..base.errors import FaceNotFoundError, InputError
from ..base.memory import Memory
from ..base.pixels import from_network_range
from ..faces.geometry import align_face, largest_box
from .options import Alignment

if TYPE_CHECKING:
    from ..faces.face import Face, FaceDetector
    from ..networks.identity import Identity, IdentityEncoder

log = logging.getLogger(__name__)

REFERRED = "referred"
"""The stage that a memory knows a found reference by."""


@dataclass(frozen=True)
class SelfReference:
    """What the first pass gives to the second.

    picture: the chosen frame (3,H,W), float32 in [-1,1], unclamped as the decoder gave it. index: its number in the
    window. identity: of the face in it. score: in [0,1], see frame_score; 0 if the face was not detected.
    """

    picture: Tensor
    index: int
    identity: Identity
    score: float


def keep(reference: SelfReference, memory: Memory) -> None:
    """Keep a reference in a memory, so that a later run need not find it again."""
    identity = reference.identity
    number = torch.tensor([reference.index, reference.score], dtype=torch.float64)
    kept = {"picture": reference.picture, "tokens": identity.tokens, "embedding": identity.embedding, "number": number}
    memory.save(REFERRED, 1, kept)


def recall(memory: Memory) -> SelfReference:
    """The reference that `keep` kept; the memory knows the stage REFERRED."""
    from ..networks.identity import Identity

    picture, tokens, embedding, number = map(memory.kept, ("picture", "tokens", "embedding", "number"))
    return SelfReference(picture, int(number[0]), Identity(tokens, embedding), float(number[1]))


class Referrer(Protocol):
    """Whatever chooses the reference for the second pass, such as SelfReferrer."""

    def __call__(self, frames: Tensor, landmarks: Tensor | None = None) -> SelfReference:
        """Choose from frames (n,3,H,W), float32 in [-1,1]. landmarks: (n,5,2), in pixels of these frames."""
        ...


@dataclass(frozen=True)
class SelfReferrer:
    """Chooses the reference frame and reads the identity from it.

    choice: "best" (sharpness, frontality and detector score together), "last" (the reference's rule), or a frame
    number. alignment: how the face is cut out for the identity network; "arcface" is what that network was trained on,
    "reference" the published code's crop of the frame's upper left (docs/reference/svfr.md#identity).
    """

    detector: FaceDetector
    encoder: IdentityEncoder
    choice: Literal["best", "last"] | int = "best"
    alignment: Alignment = "arcface"

    def __call__(self, frames: Tensor, landmarks: Tensor | None = None) -> SelfReference:
        """Choose from frames (n,3,H,W), float32 in [-1,1].

        landmarks (n,5,2) in pixels of these frames, from the degraded clip: used, with a warning, if the detector finds
        no face in any of the restored frames. Raises FaceNotFoundError without these, and InputError for a frame number
        outside the window.
        """
        pictures = list(rearrange(from_network_range(frames, truncate=True), "n c h w -> n h w c").cpu().numpy())
        largest = map(_largest, self.detector.detect(pictures))
        faces = {index: face for index, face in enumerate(largest) if face is not None}
        if faces:
            index, score = self._choose(pictures, faces)
            points = faces[index].landmarks
        else:
            index = len(pictures) // 2 if self.choice == "best" else self._wanted(len(pictures))
            points, score = self._fallback(landmarks)[index], 0.0
        aligned = align_face(pictures[index], points, self.alignment)
        return SelfReference(frames[index], index, self.encoder.encode(aligned[None]), score)

    def _choose(self, pictures: list[np.ndarray], faces: Mapping[int, Face]) -> tuple[int, float]:
        """The number of the chosen frame, and its score. faces: of the frames in which a face was detected."""
        sharpness = {index: face_sharpness(pictures[index], face) for index, face in faces.items()}
        top = max(sharpness.values()) or 1.0
        scores = {index: frame_score(face, sharpness[index] / top) for index, face in faces.items()}
        if self.choice == "best":
            index = max(faces, key=lambda i: scores[i])
        else:
            # The detector may miss the very frame that was asked for: then its nearest neighbour with a face is used.
            wanted = self._wanted(len(pictures))
            index = min(faces, key=lambda i: abs(i - wanted))
            if index != wanted:
                log.warning("No face was detected in frame %d of the first pass; frame %d is used.", wanted, index)
        return index, scores[index]

    def _wanted(self, count: int) -> int:
        index = count - 1 if self.choice == "last" else int(self.choice)
        if not 0 <= index < count:
            raise InputError(f"Reference frame {index} was chosen, but the first pass has frames 0 to {count - 1}.")
        return index

    @staticmethod
    def _fallback(landmarks: Tensor | None) -> np.ndarray:
        if landmarks is None:
            raise FaceNotFoundError(
                "No face was found in any frame of the first pass, so there is no identity for the second. "
                "Lower the detection threshold, provide a reference picture or an identity, or use one pass."
            )
        log.warning("No face was detected in the first pass; the landmarks of the degraded clip are used.")
        return landmarks.cpu().numpy()


def _largest(faces: Sequence[Face]) -> Face | None:
    return faces[largest_box(np.stack([face.box for face in faces]))] if faces else None


def frame_score(face: Face, sharpness: float) -> float:
    """Fitness of a frame as reference, in [0,1]: detector score times frontality times relative sharpness."""
    return float(face.score) * frontality(face.landmarks) * sharpness


def frontality(landmarks: np.ndarray) -> float:
    """1 for a face seen from the front, down to 0 in profile: how evenly the nose divides the distance of the eyes.

    landmarks (5,2): left eye, right eye, nose, mouth corners. The ratio is the one the papers clean their data with
    (docs/reference/training.md#cleaning), folded to at most 1.
    """
    left, right, nose = landmarks[0, 0], landmarks[1, 0], landmarks[2, 0]
    near, far = sorted((abs(float(nose - left)), abs(float(right - nose))))
    return near / far if far > 0 and left < nose < right else 0.0


def face_sharpness(picture: np.ndarray, face: Face) -> float:
    """Variance of the Laplacian of luma inside the face's box; picture (H,W,3) uint8."""
    import cv2

    x1, y1, x2, y2 = (round(float(v)) for v in face.box)
    region = picture[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if region.size == 0:
        return 0.0
    return float(cv2.Laplacian(cv2.cvtColor(region, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())
