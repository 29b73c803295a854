"""From tracks to crops: where to cut each frame, and the cutting of one."""

from __future__ import annotations

import cv2
import numpy as np

from ..base.errors import InputError
from ..base.pixels import as_uint8
from .geometry import apply, similarity, square_crop, union_box
from .options import CropOptions
from .smooth import smooth
from .track import FaceTrack, PlannedCrop
from .warp import Border, shrinkage, warp

LEAST_SCALE, MOST_SCALE = 1 / 16, 16.0
"""Least and most pixels of a tracked crop per pixel of the frame."""
BORDER: Border = "reflect"
"""What a crop shows beyond the frame's edge."""
UNSEEN = 0.05
"""Weight of an interpolated frame when a track is smoothed."""
LANDMARK_PERIOD = 5.0
"""Landmark motion within the crop that is faster than this many frames counts as noise."""
CONTAIN_ROUNDS = 8
SLACK = 1.02
"""The face box stays this much inside the crop, so that rounding cannot cut it."""


def plan_crop(track: FaceTrack, options: CropOptions | None = None) -> PlannedCrop:
    """Where a track's crops are cut, options None for the defaults.

    Raises InputError where the face lies outside the frame, so that a static crop would hold nothing.
    """
    options = options or CropOptions()
    square = None
    if options.mode == "static":
        matrices, square = _static(track, options)
    else:
        matrices = _tracked(track, options)
    landmarks = _smoothed(track, matrices, track.landmarks)
    outlines = None if track.outlines is None else _smoothed(track, matrices, track.outlines)
    return PlannedCrop(track, matrices, options.size, landmarks, outlines, square, options.pre_downscale)


def _smoothed(track: FaceTrack, matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points of the track (n,k,2) in the crop, without the detector's noise."""
    return smooth(apply(matrices, points), LANDMARK_PERIOD, _weights(track))


def _weights(track: FaceTrack) -> np.ndarray:
    return np.where(track.seen, np.maximum(track.scores, UNSEEN), UNSEEN)


def _static(track: FaceTrack, options: CropOptions) -> tuple[np.ndarray, tuple[int, int, int, int] | None]:
    """One matrix for all frames: the reference's square, widened to the proportions of a crop that is not."""
    frame_width, frame_height = track.frame_size
    square: tuple[int, int, int, int] | None
    square = square_crop(union_box(track.boxes), frame_height, frame_width, options.margin)
    x1, y1, x2, y2 = (float(v) for v in square)
    if x2 - x1 < 2 or y2 - y1 < 2:
        raise InputError(
            f"Track {track.id} leaves a static crop of {x2 - x1:.0f}x{y2 - y1:.0f} pixels: the face lies outside the "
            "frame or is too small. Choose another track or the tracked crop."
        )
    width, height = options.size
    if width != height:
        square = None
        side = min(x2 - x1, y2 - y1)
        wide, high = side * width / min(width, height), side * height / min(width, height)
        x1 = _fit((x1 + x2 - wide) / 2, wide, frame_width)
        y1 = _fit((y1 + y2 - high) / 2, high, frame_height)
        x2, y2 = x1 + wide, y1 + high
    kx, ky = width / (x2 - x1), height / (y2 - y1)
    # Pixel u of the crop has its centre at (u + 0.5) / k + x1 - 0.5 in the frame.
    matrix = np.array([[kx, 0.0, (0.5 - x1) * kx - 0.5], [0.0, ky, (0.5 - y1) * ky - 0.5]])
    return np.repeat(matrix[None], len(track), axis=0), square


def _fit(start: float, length: float, limit: float) -> float:
    """The start of an interval moved so that it lies within 0..limit, or centred where it is longer."""
    return (limit - length) / 2 if length > limit else float(np.clip(start, 0.0, limit - length))


def _tracked(track: FaceTrack, options: CropOptions) -> np.ndarray:
    """A matrix per frame from smoothed centre, size and roll; the face box stays inside the crop."""
    boxes = track.boxes
    extent = boxes[:, 2:] - boxes[:, :2]
    sides = np.maximum((1 + 2 * options.margin) * extent.min(axis=1), SLACK**2 * extent.max(axis=1))
    shorter = min(options.size)
    sides = np.clip(sides, shorter / MOST_SCALE, shorter / LEAST_SCALE)
    angles = _roll_angles(track.landmarks) if options.roll else np.zeros(len(track))
    wanted = np.column_stack([track.centers, np.log(sides), angles])
    weights = _weights(track)
    for _ in range(CONTAIN_ROUNDS):
        path = smooth(wanted, options.smoothing, weights)
        outside = _escape(path, track, options).any(axis=1)
        if not outside.any():
            return _matrices(path, options)
        # Frames in which the smoothed crop loses the face pull harder; the others stay as smooth as they were.
        weights = np.where(outside, 4 * weights, weights)
    # What still leaves the crop is brought in by moving the crop, at the price of a jolt.
    path[:, :2] += _escape(path, track, options)
    return _matrices(path, options)


def _roll_angles(landmarks: np.ndarray) -> np.ndarray:
    """How far the head is turned in the picture plane in each frame, in radians without jumps: (n,)."""
    upright = np.array([[-35.0, -39.0], [35.0, -39.0], [0.0, 1.0], [-29.0, 42.0], [29.0, 42.0]])
    turns = [similarity(upright, points - points.mean(0)) for points in landmarks]
    return np.unwrap([np.arctan2(turn[1, 0], turn[0, 0]) for turn in turns])


def _escape(path: np.ndarray, track: FaceTrack, options: CropOptions) -> np.ndarray:
    """How the crop must move, in frame pixels, to hold the whole face box: (n,2), zero where it does."""
    cosine, sine = np.cos(path[:, 3]), np.sin(path[:, 3])
    turns = np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], axis=1)
    away = (turns @ (track.centers - path[:, :2])[..., None])[..., 0]
    half_face = (np.abs(turns) @ (track.boxes[:, 2:] - track.boxes[:, :2])[..., None])[..., 0] / 2
    shape = np.array(options.size) / min(options.size)
    half_crop = np.exp(path[:, 2:3]) * shape / 2 / SLACK
    excess = np.sign(away) * np.maximum(0.0, np.abs(away) + half_face - half_crop)
    moves: np.ndarray = turns.transpose(0, 2, 1) @ excess[..., None]
    return moves[..., 0]


def _matrices(path: np.ndarray, options: CropOptions) -> np.ndarray:
    """Frame-to-crop matrices (n,2,3) from centre x, y, log side and angle (n,4)."""
    width, height = options.size
    scales = min(options.size) / np.exp(path[:, 2])
    cosines, sines = scales * np.cos(path[:, 3]), scales * np.sin(path[:, 3])
    linear = np.stack([np.stack([cosines, sines], -1), np.stack([-sines, cosines], -1)], axis=1)
    offsets = np.array([(width - 1) / 2, (height - 1) / 2]) - (linear @ path[:, :2, None])[..., 0]
    return np.concatenate([linear, offsets[..., None]], axis=2)


def crop_resize(frame: np.ndarray, square: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The piece x1,y1,x2,y2 of a frame (H,W,3) uint8, resized to (width, height) as the reference does: (h,w,3) uint8.

    That is Pillow's bicubic (docs/reference/svfr.md#frames). What lies outside the frame is black, as Pillow has it.
    """
    from PIL import Image

    piece = Image.fromarray(np.ascontiguousarray(frame)).crop(square)
    return np.array(piece.resize(size, Image.Resampling.BICUBIC))


def crop_frame(frame: np.ndarray, plan: PlannedCrop, index: int) -> np.ndarray:
    """The crop (h,w,3) uint8 of entry `index` of a plan, from its frame (H,W,3), uint8 or float in [0,1]."""
    track, (width, height) = plan.track, plan.size
    picture = as_uint8(frame)
    if (picture.shape[1], picture.shape[0]) != track.frame_size:
        raise InputError(
            f"Track {track.id} was found in frames of {track.frame_size[0]}x{track.frame_size[1]}, "
            f"this one is {picture.shape[1]}x{picture.shape[0]}."
        )
    if plan.reduction > 1:
        small = (max(8, round(width / plan.reduction)), max(8, round(height / plan.reduction)))
        matrix = rescaled(plan.matrices[index], plan.size, small)
        reduced = warp(picture, matrix, small, BORDER)
        return cv2.resize(reduced, plan.size, interpolation=cv2.INTER_CUBIC)
    if plan.square is not None:
        return crop_resize(picture, plan.square, plan.size)
    return warp(picture, plan.matrices[index], plan.size, BORDER)


def rescaled(matrix: np.ndarray, size: tuple[int, int], other: tuple[int, int]) -> np.ndarray:
    """A frame-to-crop matrix (2,3) for a crop of another size: pixel u goes to (u + 0.5) * factor - 0.5."""
    factor = np.array([other[0] / size[0], other[1] / size[1]])
    rescaled: np.ndarray = matrix * factor[:, None]
    rescaled[:, 2] += 0.5 * factor - 0.5
    return rescaled


def crop_mask(mask: np.ndarray, plan: PlannedCrop, index: int) -> np.ndarray:
    """A mask (H,W) of a frame, float in [0,1], uint8 up to 255 or bool, in the crop: (h,w) float32 in [0,1].

    A mask of another size than the frame's is stretched to it first. It is widened by the frame's pixels that one
    pixel of the crop blends, so that only the filter's ringing of the masked area shows beside it.
    """
    matrix, frame_size = plan.matrices[index], plan.track.frame_size
    if mask.ndim != 2:
        raise InputError(f"A mask must be an (H,W) array, got one of shape {mask.shape}.")
    values: np.ndarray = mask.astype(np.float32) / (255.0 if mask.dtype == np.uint8 else 1.0)
    if (mask.shape[1], mask.shape[0]) != frame_size:
        values = cv2.resize(values, frame_size, interpolation=cv2.INTER_LINEAR)
    reach = 2 * int(np.ceil(shrinkage(matrix) * plan.reduction)) + 1
    values = cv2.dilate(values, np.ones((reach, reach), np.uint8))
    cropped: np.ndarray = np.clip(warp(values, matrix, plan.size, BORDER, interpolation="linear"), 0.0, 1.0)
    return cropped
