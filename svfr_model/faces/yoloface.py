"""The reference's detector: a YOLOv5-face TorchScript module (yoloface_v5m.pt) and its pre- and post-processing.

Spec section 4, "Detector wrapper".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from ..errors import WeightsError
from .detect import Face, checked_file, checked_threshold, sorted_faces
from .geometry import non_max_suppression

INPUT_SIZE = 416
STRIDES = (8, 16, 32)
ROW = 16
"""Numbers per candidate: centre x, y, width, height, objectness, five points, class score."""
IOU = 0.45


def input_size(height: int, width: int) -> tuple[int, int]:
    """Height and width the network sees: the shorter side at 416 or a little more, both multiples of 32."""
    ratio = INPUT_SIZE / min(height, width)
    return int(height * ratio + 31) // 32 * 32, int(width * ratio + 31) // 32 * 32


def grids(height: int, width: int) -> list[torch.Tensor]:
    """The cell coordinates the network adds to its offsets: one (1,1,gh,gw,2) float tensor of (x,y) per stride."""
    made = []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        made.append(torch.stack((x, y), dim=-1).float()[None, None])
    return made


def preprocess(frame: np.ndarray) -> torch.Tensor:
    """A frame (H,W,3) uint8 RGB as the network's input (1,3,h,w) in [0,1]."""
    height, width = input_size(*frame.shape[:2])
    resized = cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255  # HWC -> 1CHW


def decode(prediction: np.ndarray, height: int, width: int, threshold: float = 0.5, iou: float = IOU) -> list[Face]:
    """Faces in a frame of height x width from the network's rows (n,16) in its own pixels, best score first."""
    rows = np.asarray(prediction, dtype=np.float32).reshape(-1, ROW)
    scores = rows[:, 4] * rows[:, 15]
    kept = (rows[:, 4] > threshold) & (scores > threshold)
    rows, scores = rows[kept], scores[kept]
    half = rows[:, 2:4] / 2
    boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
    best = non_max_suppression(boxes, scores, iou)
    in_height, in_width = input_size(height, width)
    scale = np.array([width / in_width, height / in_height])
    return sorted_faces(
        (boxes[best].reshape(-1, 2, 2) * scale).reshape(-1, 4),
        rows[best, 5:15].reshape(-1, 5, 2) * scale,
        scores[best],
    )


class YoloFaceDetector:
    """The reference's detector. The module is called as network(picture, [three grids]) and returns (1,n,16)."""

    def __init__(self, path: str | Path, threshold: float = 0.5, iou: float = IOU, device: str = "cpu") -> None:
        """Load the TorchScript file on a torch device; threshold in (0,1). Raises WeightsError."""
        path = checked_file(path, "the face detector yoloface")
        self._threshold, self._iou, self._device = checked_threshold(threshold), iou, device
        self._path = path
        try:
            self._net = torch.jit.load(str(path), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{path} is no TorchScript module ({str(error).splitlines()[0]}). "
                "Expected yoloface_v5m.pt as published with SVFR: delete the file and get it again."
            ) from error

    @torch.inference_mode()
    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first."""
        return [decode(self._run(frame), *frame.shape[:2], self._threshold, self._iou) for frame in frames]

    def _run(self, frame: np.ndarray) -> np.ndarray:
        picture = preprocess(frame).to(self._device)
        cells = [grid.to(self._device) for grid in grids(*picture.shape[2:])]
        try:
            rows = self._net(picture, cells)
        except RuntimeError as error:
            raise WeightsError(f"{self._path} cannot be run as yoloface: {error}") from error
        if not isinstance(rows, torch.Tensor) or rows.ndim != 3 or rows.shape[2] != ROW:
            found = tuple(rows.shape) if isinstance(rows, torch.Tensor) else type(rows).__name__
            raise WeightsError(f"{self._path} returned {found}, expected rows (1,n,{ROW}): it is not yoloface.")
        return rows[0].float().cpu().numpy()
