"""Boxes, similarity transforms and the aligned face picture: plain geometry without a network.

Boxes are x1,y1,x2,y2 in pixels. Points are (x, y) in pixels, where the centre of the first pixel is (0, 0). Five
landmarks come in image order: left eye, right eye, nose, left mouth corner, right mouth corner.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch

from ..base.errors import InputError
from ..base.pixels import to_network_range
from .options import MARGIN
from .warp import warp

TEMPLATE_256 = np.array(
    [
        [(30.2946 + 8) * 2 + 16, 51.6963 * 2],
        [(65.5318 + 8) * 2 + 16, 51.5014 * 2],
        [(48.0252 + 8) * 2 + 16, 71.7366 * 2],
        [(33.5493 + 8) * 2 + 16, 92.3655 * 2],
        [(62.7299 + 8) * 2 + 16, 92.2041 * 2],
    ],
    dtype=np.float32,
)
"""Where the five landmarks of an aligned face lie in a 256x256 picture (docs/reference/svfr.md#template)."""

ALIGNED_SIZE = 112
ALIGNED_ROWS = slice(0, 224)
ALIGNED_COLUMNS = slice(16, 240)


def union_box(boxes: np.ndarray) -> np.ndarray:
    """The smallest box (4,) that holds all boxes (n,4)."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if not len(boxes):
        raise InputError("A union of boxes needs at least one box, got none.")
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def square_crop(box: np.ndarray, height: int, width: int, margin: float = MARGIN) -> tuple[int, int, int, int]:
    """The reference's crop square x1,y1,x2,y2 around a box in a frame of height x width.

    Source: docs/reference/svfr.md#geometry.
    The grown box is clamped to the frame and cut to its shorter side, moved back towards the face along the longer
    axis. Each coordinate is rounded half to even on its own, as the reference does, so the sides may differ by one.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    grow_x, grow_y = margin * (x2 - x1), margin * (y2 - y1)
    left, right = max(x1 - grow_x, 0.0), min(x2 + grow_x, float(width))
    top, bottom = max(y1 - grow_y, 0.0), min(y2 + grow_y, float(height))
    wide, high = right - left, bottom - top
    side = min(wide, high)
    center_x, center_y = (left + right) / 2, (top + bottom) / 2
    slack = abs(high - wide) / 2
    if wide > high:
        center_x += float(np.clip((x1 + x2) / 2 - center_x, -slack, slack))
    else:
        center_y += float(np.clip((y1 + y2) / 2 - center_y, -slack, slack))
    half = side / 2
    return round(center_x - half), round(center_y - half), round(center_x + half), round(center_y + half)


def box_area(boxes: np.ndarray) -> np.ndarray:
    """Areas (n,) of boxes (n,4); an inside-out box has none."""
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None)


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n,m) of boxes (n,4) and (m,4)."""
    first = np.asarray(first, dtype=np.float64).reshape(-1, 4)
    second = np.asarray(second, dtype=np.float64).reshape(-1, 4)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    total = box_area(first)[:, None] + box_area(second)[None] - shared
    overlap: np.ndarray = shared / np.maximum(total, 1e-12)
    return overlap


def non_max_suppression(boxes: np.ndarray, scores: np.ndarray, iou: float) -> np.ndarray:
    """Indices of the boxes (n,4) that stay, best score first: none overlaps a better one by more than iou."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    overlap = box_iou(boxes, boxes)
    kept: list[int] = []
    for index in order:
        if not kept or overlap[index, kept].max() <= iou:
            kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def largest_box(boxes: np.ndarray) -> int:
    """Index of the largest of boxes (n,4); the first of equals."""
    return int(np.argmax(box_area(boxes)))


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity (2,3) that takes points (n,2) nearest to target (n,2), by least squares.

    x' = a x - b y + tx, y' = b x + a y + ty; the solution of least norm where the points do not determine one.
    """
    points = np.asarray(points, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    if points.shape != target.shape or points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"A similarity needs two equal sets of (n,2) points, got {points.shape} and {target.shape}.")
    x, y = points[:, 0], points[:, 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    right = np.concatenate([target[:, 0], target[:, 1]])
    # Normal equations, not lstsq on the system: what counts as rank-deficient then agrees with the reference.
    a, b, tx, ty = np.linalg.lstsq(system.T @ system, system.T @ right, rcond=1e-15)[0]
    return np.array([[a, -b, tx], [b, a, ty]])


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of affine matrices (...,2,3), in float64."""
    matrix = np.asarray(matrix, dtype=np.float64)
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (...,n,2) moved by affine matrices (...,2,3)."""
    matrix = np.asarray(matrix, dtype=np.float64)
    moved: np.ndarray = np.asarray(points, dtype=np.float64) @ np.swapaxes(matrix[..., :2], -1, -2)
    moved += matrix[..., None, :, 2]
    return moved


def landmark_array(landmarks: np.ndarray) -> np.ndarray:
    """Five landmarks as (5,2) float64, or an InputError that says how many were found."""
    landmarks = np.asarray(landmarks, dtype=np.float64)
    if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
        raise InputError(
            "Aligning a face needs 5 finite landmarks (eyes, nose, mouth corners), "
            f"got an array of shape {landmarks.shape}: use a detector that finds landmarks."
        )
    return landmarks


def reference_warp(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The aligned picture of the shipped SVFR code and its matrix: image (H,W,3) uint8 -> (H,W,3) uint8, (2,3)."""
    height, width = image.shape[:2]
    matrix = similarity(landmark_array(landmarks), TEMPLATE_256.astype(np.float64) * (height / 256))
    warped = cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (height, width),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_CONSTANT,
    )
    return warped, matrix


def halve_to_input(warped: np.ndarray) -> torch.Tensor:
    """Rows 0:224, columns 16:240 of an aligned (H,W,3) uint8 picture, halved: (3,112,112) float32 in [-1,1]."""
    picture = torch.from_numpy(np.ascontiguousarray(warped[ALIGNED_ROWS, ALIGNED_COLUMNS]))
    if picture.shape[0] != 2 * ALIGNED_SIZE or picture.shape[1] != 2 * ALIGNED_SIZE:
        raise InputError(
            f"The reference's aligned picture must be at least 224x240 pixels, got {warped.shape[0]}x{warped.shape[1]}."
        )
    return torch.nn.functional.avg_pool2d(to_network_range(picture.permute(2, 0, 1)), 2)  # HWC -> CHW


def align_face(
    image: np.ndarray, landmarks: np.ndarray, mode: Literal["arcface", "reference"] = "arcface"
) -> torch.Tensor:
    """What the face recogniser sees: image (H,W,3) uint8 RGB, landmarks (5,2) -> (3,112,112) float32 in [-1,1].

    arcface places the five landmarks on the ArcFace template at any image size. reference repeats the shipped code,
    which at 512 pixels cuts the wrong piece (docs/reference/svfr.md#identity); it is here for parity. Raises
    InputError.
    """
    if mode == "reference":
        return halve_to_input(reference_warp(image, landmarks)[0])
    if mode != "arcface":
        raise InputError(f'Unknown alignment "{mode}": use "arcface" or "reference".')
    offset = np.array([ALIGNED_COLUMNS.start, ALIGNED_ROWS.start], dtype=np.float64)
    # The 2x2 mean of the reference maps the centre of pixel u to 2u + 0.5.
    template = (TEMPLATE_256.astype(np.float64) - offset - 0.5) / 2
    aligned = warp(image, similarity(landmark_array(landmarks), template), (ALIGNED_SIZE, ALIGNED_SIZE), border="zero")
    return to_network_range(torch.from_numpy(aligned).permute(2, 0, 1))  # HWC -> CHW
