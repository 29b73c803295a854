"""The YuNet face detector through OpenCV, the one that ships with this package."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ...base.errors import DependencyError, WeightsError
from ...weights.registry import checked_file
from ..face import Face, checked_threshold, sorted_faces

YUNET_OUTPUTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Numbers per cell of each of YuNet's outputs."""
YUNET_STRIDES = (8, 16, 32)


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
            with _quiet_opencv():
                _check_yunet(path)
                self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), checked_threshold(threshold), iou)
        except cv2.error as error:
            raise WeightsError(
                f"OpenCV cannot read {path} as the YuNet detector ({str(error.err or error).strip()}). Expected "
                "face_detection_yunet_2023mar.onnx or a similar file: delete it, and the one that ships with this "
                "package is used."
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


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV off the error stream: failures are raised, and OpenCV 5 warns of one of its own settings."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _check_yunet(path: Path) -> None:
    """WeightsError if the graph's outputs are not YuNet's: OpenCV's decoder reads them without checking.

    Raises cv2.error for a file that is not a graph.
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
            "Expected face_detection_yunet_2023mar.onnx or a similar file: delete it, and the one that ships with "
            "this package is used."
        )
