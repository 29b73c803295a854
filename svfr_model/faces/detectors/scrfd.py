"""SCRFD face detectors of insightface (det_10g.onnx, det_500m.onnx) through onnxruntime.

Guo et al. 2021, "Sample and Computation Redistribution for Efficient Face Detection". The files have nine outputs:
for strides 8, 16 and 32 in turn the scores, then the boxes, then the landmarks, with two anchors at each cell. Boxes
are four distances from the cell to their sides, landmarks five offsets from it, both in strides.

insightface's own reader (model_zoo.SCRFD, read in version 2.1) is not used: it accepts files without landmarks and does
not check a file's anchors, where ours names and refuses the file; it rounds the fitted side down and scales both axes
by the ratio of the heights; and importing it imports the whole package, which sets an environment variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ...base.errors import WeightsError
from ...weights.onnx import open_session, run_session
from ..face import Face, checked_threshold, sorted_faces
from ..geometry import non_max_suppression

STRIDES = (8, 16, 32)
ANCHORS = 2
WIDTHS = (1, 4, 10)
"""Numbers per anchor: score, box, landmarks."""
INPUT_SIZE = 640
MEAN, SCALE = 127.5, 128.0


def letterbox(frame: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """The frame (H,W,3) uint8 as input (1,3,h,w), fitted into the upper left of (w,h) = size, and its scale."""
    scale = min(size[0] / frame.shape[1], size[1] / frame.shape[0])
    fitted = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(np.ascontiguousarray(frame), fitted, interpolation=cv2.INTER_LINEAR)
    batch = (canvas.astype(np.float32) - MEAN) / SCALE
    return np.ascontiguousarray(batch.transpose(2, 0, 1)[None]), scale  # HWC -> 1CHW


def decode(
    outputs: Sequence[np.ndarray], size: tuple[int, int], scale: float, threshold: float, iou: float
) -> list[Face]:
    """Faces in the frame from the nine outputs for an input of (w,h) = size that shows the frame at this scale."""
    boxes, points, scores = [], [], []
    for level, stride in enumerate(STRIDES):
        score, box, kps = (np.asarray(outputs[level + 3 * kind]).reshape(-1, WIDTHS[kind]) for kind in range(3))
        rows, columns = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells = np.repeat(np.stack([columns, rows], -1).reshape(-1, 2) * stride, ANCHORS, axis=0).astype(np.float32)
        kept = np.flatnonzero(score[:, 0] >= threshold)
        cells, distance = cells[kept], box[kept] * stride
        boxes.append(np.concatenate([cells - distance[:, :2], cells + distance[:, 2:]], axis=1))
        points.append(cells[:, None] + kps[kept].reshape(-1, 5, 2) * stride)
        scores.append(score[kept, 0])
    all_boxes, all_scores = np.concatenate(boxes), np.concatenate(scores)
    best = non_max_suppression(all_boxes, all_scores, iou)
    return sorted_faces(all_boxes[best] / scale, np.concatenate(points)[best] / scale, all_scores[best])


class ScrfdDetector:
    """SCRFD through onnxruntime."""

    def __init__(self, path: str | Path, threshold: float = 0.5, iou: float = 0.4, device: str = "cpu") -> None:
        """Load the ONNX file on "cpu", "cuda" or "mps"; threshold in (0,1). Raises WeightsError."""
        self._session = open_session(path, "the face detector SCRFD", device)
        self._threshold, self._iou, self._path = checked_threshold(threshold), iou, path
        outputs = self._session.get_outputs()
        widths = [output.shape[-1] for output in outputs]
        expected = [width for width in WIDTHS for _ in STRIDES]
        # A width left open in the file is a string or None; the count of cells is checked with the first frame.
        if len(widths) != len(expected) or any(
            isinstance(found, int) and found != width for found, width in zip(widths, expected, strict=True)
        ):
            raise WeightsError(
                f"{path} has outputs of widths {widths}; SCRFD with landmarks has nine: three scores, three boxes, "
                "three sets of landmarks. Use det_10g.onnx or det_500m.onnx from insightface."
            )
        shape = self._session.get_inputs()[0].shape
        width, height = (n if isinstance(n, int) and n > 0 else INPUT_SIZE for n in (shape[3], shape[2]))
        self._size = width, height

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> list[Face]:
        batch, scale = letterbox(frame, self._size)
        outputs = run_session(self._session, batch, self._path)
        cells = sum((self._size[0] // stride) * (self._size[1] // stride) * ANCHORS for stride in STRIDES)
        if sum(np.asarray(output).size for output in outputs) != cells * sum(WIDTHS):
            raise WeightsError(
                f"{self._path} does not have two anchors per cell at strides 8, 16 and 32: it is not SCRFD."
            )
        return decode(outputs, self._size, scale, self._threshold, self._iou)
