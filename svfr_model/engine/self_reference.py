"""From the first pass to the second: which restored frame to refer to, and whose face it shows.

SVFR paper, self-referred refinement. The reference takes the last frame of the first pass whatever it looks like; we
take the best one unless told otherwise.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from torch import Tensor

from ..base.errors import FaceNotFoundError, InputError
from ..base.pixels import from_network_range
from ..faces.geometry import align_face, largest_box

if TYPE_CHECKING:
    from ..faces.face import Face, FaceDetector
    from ..networks.identity import Identity, IdentityEncoder

log = logging.getLogger(__name__)

Alignment: TypeAlias = Literal["arcface", "reference"]


@dataclass(frozen=True)
class SelfReference:
    """What the first pass hands to the second.

    picture: the chosen frame (3,H,W), float32 in [-1,1], unclamped as the decoder gave it. index: its number in the
    window. identity: of the face in it. score: in [0,1], see frame_score; 0 where no detector saw the face.
    """

    picture: Tensor
    index: int
    identity: Identity
    score: float


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

        landmarks (n,5,2) in pixels of these frames, from the degraded clip: used, with a warning, where the detector
        finds no face in any of the restored frames. Raises FaceNotFoundError where neither shows a face, and
        InputError for a frame number outside the window.
        """
        pictures = [frame.permute(1, 2, 0).numpy() for frame in from_network_range(frames, truncate=True).cpu()]
        faces = [_largest(found) for found in self.detector.detect(pictures)]
        index, score = self._choose(pictures, faces)
        if index is None:
            points = self._fallback(landmarks)
            index = self._wanted(len(pictures)) if self.choice != "best" else len(pictures) // 2
            points = points[index]
        else:
            points = faces[index].landmarks
        aligned = align_face(pictures[index], points, self.alignment)
        return SelfReference(frames[index], index, self.encoder.encode(aligned[None]), score)

    def _choose(self, pictures: list[np.ndarray], faces: list[Face | None]) -> tuple[int | None, float]:
        """The frame and its score; no frame where no face was detected at all."""
        seen = [index for index, face in enumerate(faces) if face is not None]
        wanted = None if self.choice == "best" else self._wanted(len(pictures))
        if not seen:
            return None, 0.0
        sharpness = {index: face_sharpness(pictures[index], faces[index]) for index in seen}
        top = max(sharpness.values()) or 1.0
        scores = {i: frame_score(faces[i], sharpness[i] / top) for i in seen}
        if wanted is None:
            index = max(seen, key=lambda i: scores[i])
        else:
            # A detector may miss the very frame that was asked for: its nearest neighbour with a face serves.
            index = min(seen, key=lambda i: abs(i - wanted))
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
                "Lower the detection threshold, give a reference picture or an identity, or run one pass only."
            )
        log.warning("No face was detected in the first pass; the landmarks of the degraded clip are used.")
        return landmarks.cpu().numpy()


def _largest(faces: Sequence[Face]) -> Face | None:
    return faces[largest_box(np.stack([face.box for face in faces]))] if faces else None


def frame_score(face: Face, sharpness: float) -> float:
    """Fitness of a frame as reference, in [0,1]: detector score times frontality times relative sharpness."""
    return float(face.score) * frontality(face.landmarks) * sharpness


def frontality(landmarks: np.ndarray) -> float:
    """1 for a face seen from the front, towards 0 in profile: how evenly the nose divides the distance of the eyes.

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
