"""A frame with everything drawn over it that was found in it, for people to look at."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import cv2
import numpy as np

from ..base.pixels import as_uint8
from .geometry import apply, invert
from .region import bounds, paste_region
from .track import FaceTrack, PlannedCrop

COLORS = ((80, 220, 80), (255, 140, 40), (90, 160, 255), (240, 90, 220), (250, 230, 70), (70, 230, 230))
WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 60, 60)
CUT_FRAMES = 8
"""Frames for which a cut stays marked."""


def draw(
    frame: np.ndarray,
    tracks: Sequence[FaceTrack],
    index: int,
    cuts: Sequence[int] = (),
    mask: np.ndarray | None = None,
    plans: Sequence[PlannedCrop] = (),
) -> np.ndarray:
    """Frame number `index` of the clip, (H,W,3) uint8 or float in [0,1], with its faces drawn: (H,W,3) uint8.

    Each track: box (thin where interpolated), landmarks, number, person, score; for those that have one of the plans,
    the crop's outline and the region of paste-back too. Frame and shot number in the corner; a red frame after a cut.
    mask: (H,W) bool, where the frame is missing something, tinted red with an outline.
    """
    picture = as_uint8(frame).copy()
    thickness = max(1, round(min(picture.shape[:2]) / 240))
    if mask is not None:
        _draw_mask(picture, mask, thickness)
    planned = {plan.track.id: plan for plan in plans}
    for track in tracks:
        if track.covers(index) and track.id in planned:
            _draw_crop(picture, planned[track.id], index - track.start)
        if track.covers(index):
            _draw_track(picture, track, index - track.start, thickness)
    shot = bisect_right(list(cuts), index)
    since = index - cuts[shot - 1] if shot else CUT_FRAMES
    _label(picture, f"frame {index}  shot {shot}", (4 * thickness, picture.shape[0] - 5 * thickness), WHITE, thickness)
    if since < CUT_FRAMES:
        cv2.rectangle(picture, (0, 0), (picture.shape[1] - 1, picture.shape[0] - 1), RED, 3 * thickness)
        _label(picture, f"CUT at {cuts[shot - 1]}", (8 * thickness, 16 * thickness), RED, thickness)
    return picture


def _draw_mask(picture: np.ndarray, mask: np.ndarray, thickness: int) -> None:
    picture[mask] = (picture[mask] * 0.5 + np.array(RED) * 0.5 + 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outlines, -1, RED, thickness)


def _draw_track(picture: np.ndarray, track: FaceTrack, entry: int, thickness: int) -> None:
    color = _color(track)
    x1, y1, x2, y2 = track.boxes[entry]
    _polygon(
        picture, np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), color, 2 * thickness if track.seen[entry] else 1
    )
    points = track.landmarks[entry] if track.outlines is None else track.outlines[entry]
    for x, y in points:
        cv2.circle(picture, (round(x * 8), round(y * 8)), 12 * thickness, color, -1, cv2.LINE_AA, 3)
    doubt = "" if track.seen[entry] else " interpolated"
    text = f"#{track.id} person {track.person} {track.scores[entry]:.2f}{doubt}"
    _label(picture, text, (round(x1), max(10 * thickness, round(y1) - 4 * thickness)), color, thickness)


def _draw_crop(picture: np.ndarray, plan: PlannedCrop, entry: int) -> None:
    """Tint what paste-back would change, and outline the crop."""
    x1, y1, x2, y2 = window = bounds(plan, entry)
    if x1 < x2 and y1 < y2:
        weight = paste_region(plan, entry, window, "face", 0.12)[..., None] * 0.25
        piece = picture[y1:y2, x1:x2]
        piece[...] = (piece * (1 - weight) + np.array(_color(plan.track)) * weight + 0.5).astype(np.uint8)
    width, height = plan.size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    _polygon(picture, apply(invert(plan.matrices[entry]), corners), WHITE, 1)


def _color(track: FaceTrack) -> tuple[int, int, int]:
    """One colour per person."""
    return COLORS[track.person % len(COLORS)]


def _polygon(picture: np.ndarray, corners: np.ndarray, color: tuple[int, int, int], thickness: int) -> None:
    points = np.round(corners * 8).astype(np.int32)
    cv2.polylines(picture, [points], True, color, thickness, cv2.LINE_AA, 3)


def _label(picture: np.ndarray, text: str, place: tuple[int, int], color: tuple[int, int, int], thickness: int) -> None:
    """Text with a dark outline."""
    for ink, width in ((BLACK, thickness + 2), (color, thickness)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4 * thickness, ink, width, cv2.LINE_AA)
