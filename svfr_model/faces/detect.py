"""Face detectors behind one protocol: frames in, boxes with five landmarks and scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import cv2
import numpy as np

from ..errors import DependencyError, InputError, WeightsError

DetectorKind: TypeAlias = Literal["yunet", "yoloface", "scrfd"]
DETECTOR_KINDS: tuple[DetectorKind, ...] = ("yunet", "yoloface", "scrfd")

YUNET_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Numbers per cell of each of YuNet's outputs."""
YUNET_STRIDES = (8, 16, 32)


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


class FaceDetector(Protocol):
    """Anything that finds faces."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first; an empty list where there is none."""
        ...


def sorted_faces(boxes: np.ndarray, landmarks: np.ndarray, scores: np.ndarray) -> list[Face]:
    """Faces from boxes (n,4), landmarks (n,5,2) and scores (n,), best score first."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    return [
        Face(np.asarray(boxes[i], np.float64), np.asarray(landmarks[i], np.float64), float(scores[i])) for i in order
    ]


def checked_file(path: str | Path, what: str) -> Path:
    """The path of a weight file that exists, or a WeightsError that says how to get it."""
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"No file {path} with the weights of {what}. Put it there, or give the path of one: "
            "`python -m svfr_model weights list` says which are at hand, and where others are from."
        )
    return path


def checked_threshold(threshold: float) -> float:
    """A detection threshold strictly between 0 and 1, or an InputError."""
    if not 0.0 < threshold < 1.0:
        raise InputError(f"The detection threshold must lie between 0 and 1, got {threshold}.")
    return float(threshold)


class YuNetDetector:
    """YuNet through OpenCV's own FaceDetectorYN (OpenCV 4.8 or newer, 5 too). Finds faces of about 10 to 300 pixels."""

    def __init__(self, path: str | Path, threshold: float = 0.6, iou: float = 0.3) -> None:
        """Load the ONNX file; threshold in (0,1), iou of the non-maximum suppression. Raises WeightsError."""
        path = checked_file(path, "the face detector YuNet")
        if not hasattr(cv2, "FaceDetectorYN"):
            raise DependencyError(
                f"OpenCV {cv2.__version__} has no FaceDetectorYN: install opencv-python 4.8 or newer."
            )
        try:
            _check_yunet(path)
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), checked_threshold(threshold), iou)
        except cv2.error as error:
            raise WeightsError(
                f"OpenCV cannot read {path} as the YuNet detector ({str(error.err or error).strip()}). "
                "Expected face_detection_yunet_2023mar.onnx or its like: delete the file, and the one that ships with "
                "this package is used."
            ) from error

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> list[Face]:
        height, width = frame.shape[:2]
        self._net.setInputSize((width, height))
        found = self._net.detect(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR))[1]
        if found is None:
            return []
        # A row is x, y, width, height, five points in image order (YuNet names them from the person's side), score.
        rows = np.asarray(found, dtype=np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return sorted_faces(boxes, rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])


def _check_yunet(path: Path) -> None:
    """WeightsError where the graph's outputs are not YuNet's: OpenCV's decoder reads them without looking.

    Raises cv2.error for a file that is no graph.
    """
    names = [f"{kind}_{stride}" for kind in YUNET_OUTPUTS for stride in YUNET_STRIDES]
    side = 64
    net = cv2.dnn.readNetFromONNX(str(path))
    try:
        net.setInput(np.zeros((1, 3, side, side), np.float32))
        found = [output.shape for output in net.forward(names)]
    except cv2.error:
        found = []
    cells = [(side // stride) ** 2 for stride in YUNET_STRIDES]
    needed = [(1, count, width) for width in YUNET_OUTPUTS.values() for count in cells]
    if found != needed:
        raise WeightsError(
            f"{path} is a network, but not YuNet: it has no outputs cls, obj, bbox and kps for strides 8, 16 and 32. "
            "Expected face_detection_yunet_2023mar.onnx or its like: remove the file, and the one that ships with this "
            "package is used."
        )


def load_detector(
    kind: str,
    path: str | Path,
    threshold: float | None = None,
    device: str = "cpu",
    *,
    trust_torchscript: bool = False,
) -> FaceDetector:
    """A detector from its weight file: "yunet", "yoloface" or "scrfd"; threshold None takes the detector's own.

    trust_torchscript: the user has said that the code in a TorchScript file (yoloface's) may run on this machine.
    Raises InputError for an unknown kind, WeightsError for a file that is missing, broken, another network, or a
    program that nobody vouches for.
    """
    extra = {} if threshold is None else {"threshold": checked_threshold(threshold)}
    if kind == "yunet":
        return YuNetDetector(path, **extra)
    if kind == "yoloface":
        from .yoloface import YoloFaceDetector

        return YoloFaceDetector(path, device=device, trusted=trust_torchscript, **extra)
    if kind == "scrfd":
        from .scrfd import ScrfdDetector

        return ScrfdDetector(path, device=device, **extra)
    raise InputError(f'Unknown face detector "{kind}": use one of {", ".join(DETECTOR_KINDS)}.')
