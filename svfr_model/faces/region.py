"""Which pixels a restored crop may change: soft masks of the face or of the whole crop, in the frame's pixels."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .geometry import TEMPLATE_256, invert, similarity
from .track import PlannedCrop

CANVAS = 320
"""Side of the square on which the face's outline is drawn, in the units of the 256-pixel template."""
CENTER = np.array([128.0, 132.0])
RADII = (80.0, 108.0)
"""The outline is an oval from hairline to chin: eyes are 70 units apart, the mouth 81 below them."""
FACE_UNITS = 150.0
"""Side of a face box in the same units, which is what a feather of 1 means."""
SHIFTED_TEMPLATE = TEMPLATE_256.astype(np.float64) - CENTER + (CANVAS - 1) / 2
EDGE_FEATHER = 0.08
"""Width of the crop's own soft edge, as a fraction of the face's side, where the face's region reaches it."""
BROWS = slice(17, 27)


def soft_step(values: np.ndarray) -> np.ndarray:
    """Values clipped to [0,1] and eased: 3t^2 - 2t^3."""
    t: np.ndarray = np.clip(values, 0.0, 1.0)
    eased: np.ndarray = t * t * (3 - 2 * t)
    return eased


@lru_cache(maxsize=16)
def face_region(feather: float) -> np.ndarray:
    """The oval of a face on the canvas, (320,320) float32: 1 inside, falling to 0 at its outline over the feather's
    width."""
    rows, columns = np.mgrid[:CANVAS, :CANVAS].astype(np.float64) - (CANVAS - 1) / 2
    radius = np.hypot(columns / RADII[0], rows / RADII[1])
    # Distance to the oval to first order: the level's excess over its slope.
    slope = np.hypot(columns / RADII[0] ** 2, rows / RADII[1] ** 2) / np.maximum(radius, 1e-6)
    inside = (1.0 - radius) / np.maximum(slope, 1e-6)
    return soft_step(inside / max(feather * FACE_UNITS, 1.0)).astype(np.float32)


def canonical_to_crop(landmarks: np.ndarray) -> np.ndarray:
    """The similarity (2,3) from the canvas to where these landmarks (5,2) are."""
    return similarity(SHIFTED_TEMPLATE, landmarks)


def face_side(landmarks: np.ndarray) -> float:
    """Side of the face box that these landmarks belong to, in their pixels."""
    return FACE_UNITS * float(np.hypot(*canonical_to_crop(landmarks)[:, 0]))


@lru_cache(maxsize=64)
def crop_region(width: int, height: int, feather: int) -> np.ndarray:
    """The whole crop except a soft edge of `feather` pixels, (height,width) float32; 0 on the outermost pixels."""
    across = np.minimum(np.arange(width), np.arange(width)[::-1]) / max(feather, 1)
    down = np.minimum(np.arange(height), np.arange(height)[::-1]) / max(feather, 1)
    region: np.ndarray = soft_step(down)[:, None] * soft_step(across)[None]
    return region.astype(np.float32)


def outline_region(outline: np.ndarray, landmarks: np.ndarray, size: tuple[int, int], feather: float) -> np.ndarray:
    """The hull of 68 landmarks in the crop, extended over the forehead: (h,w) float32, with the soft edge inside it."""
    left, right = landmarks[0], landmarks[1]
    up = (left + right) / 2 - (landmarks[3] + landmarks[4]) / 2
    hull = cv2.convexHull(np.concatenate([outline, outline[BROWS] + 0.55 * up]).astype(np.float32))
    filled = np.zeros((size[1], size[0]), np.uint8)
    cv2.fillConvexPoly(filled, np.round(hull * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    inside = cv2.distanceTransform((filled > 127).astype(np.uint8), cv2.DIST_L2, 5)
    return soft_step(inside / max(feather * face_side(landmarks), 1.0)).astype(np.float32)


def bounds(plan: PlannedCrop, index: int) -> tuple[int, int, int, int]:
    """The part x1,y1,x2,y2 of the frame that an entry's crop covers; empty if it lies outside."""
    width, height = plan.size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    back = invert(plan.matrices[index])
    places = corners @ back[:, :2].T + back[:, 2]
    low = np.clip(np.floor(places.min(axis=0)), 0, plan.track.frame_size).astype(int)
    high = np.clip(np.ceil(places.max(axis=0)) + 1, 0, plan.track.frame_size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def to_frame(picture: np.ndarray, matrix: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """A soft mask warped by matrix (2,3) from its own pixels to the frame and cut to the window: (h,w) float32."""
    shifted = np.array(matrix, dtype=np.float64)
    shifted[:, 2] -= window[:2]
    size = (window[2] - window[0], window[3] - window[1])
    return cv2.warpAffine(picture, shifted, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def paste_region(
    plan: PlannedCrop, index: int, window: tuple[int, int, int, int], region: str, feather: float
) -> np.ndarray:
    """How much of the restored crop each pixel of the window takes: (h,w) float32 in [0,1]; 0 outside the crop."""
    width, height = plan.size
    back = invert(plan.matrices[index])
    landmarks = plan.landmarks[index]
    side = face_side(landmarks)
    if region == "crop":
        return to_frame(crop_region(width, height, round(feather * side)), back, window)
    edge = to_frame(crop_region(width, height, round(EDGE_FEATHER * side)), back, window)
    if plan.outlines is not None:
        face = to_frame(outline_region(plan.outlines[index], landmarks, plan.size, feather), back, window)
    else:
        matrix = back[:, :2] @ canonical_to_crop(landmarks)
        matrix[:, 2] += back[:, 2]
        face = to_frame(face_region(feather), matrix, window)
    face *= edge
    return face
