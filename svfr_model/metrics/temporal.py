"""How a clip changes over time: the flow score, and a picture of one pixel column over time."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ..base.clip import Clip
from ..base.errors import InputError
from ..base.pixels import as_uint8

REFERENCE_SIZE = 512
"""Distances are reported in pixels of a frame whose longer side has this length, the size that the papers use."""

FLOW_MINIMUM = 12
"""The shortest side that OpenCV's dense flow accepts."""


def flow_frame(frame: np.ndarray) -> np.ndarray:
    """Prepare a frame for `flow_magnitude`: (H,W,3) uint8 RGB to grey (h,w) uint8, its longer side at most 512 pixels.

    Raises InputError for frames with a side of fewer than 12 pixels.
    """
    if min(frame.shape[:2]) < FLOW_MINIMUM:
        raise InputError(
            f"Motion cannot be measured in frames of {frame.shape[1]}x{frame.shape[0]} pixels: "
            f"both sides must have at least {FLOW_MINIMUM}. Enlarge the clip first."
        )
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    factor = REFERENCE_SIZE / max(grey.shape)
    if factor >= 1:
        return grey
    size = (max(FLOW_MINIMUM, round(grey.shape[1] * factor)), max(FLOW_MINIMUM, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def flow_magnitude(before: np.ndarray, after: np.ndarray) -> float:
    """Mean length of the dense optical flow between two grey (h,w) uint8 frames, in pixels at a longer side of 512.

    OpenCV's dense inverse search (Kroeger et al. 2016), preset medium. The papers use RAFT, so these figures compare
    with each other only.
    """
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # its types leave out "no first guess"
    flow = method.calc(before, after, None)
    length: float = float(np.linalg.norm(flow, axis=2).mean()) * REFERENCE_SIZE / max(before.shape)
    return length


def temporal_profile(clip: Clip, column: int | None = None) -> np.ndarray:
    """One pixel column of every frame, side by side: (H,N,3) uint8 RGB, time running to the right.

    Smooth streaks mean a steady video, ragged ones flicker. column: counted from the left; by default the middle one.
    Raises InputError for a column outside the frame or a clip without frames.
    """
    column = clip.width // 2 if column is None else column
    if not 0 <= column < clip.width:
        raise InputError(
            f"There is no column {column} in frames that are {clip.width} pixels wide: use 0 to {clip.width - 1}."
        )
    columns = [as_uint8(frame[:, column : column + 1]) for frame in clip]
    if not columns:
        raise InputError("A temporal profile needs at least one frame; the clip has none.")
    return np.concatenate(columns, axis=1)
