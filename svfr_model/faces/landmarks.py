"""68 landmarks by insightface's 1k3d68.onnx, so that paste-back can follow the real outline of a face.

insightface's own reader (model_zoo.Landmark, read in version 2.1) is not used: it decides from the names of a graph's
first nodes how to normalise, so that the same network saved anew gives other points; it takes a graph of any outputs,
or fails by `assert`; it reads a file of 144 MB twice, and fits a pose to every face, which is not needed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..base.clip import Clip
from ..base.errors import InputError, WeightsError
from ..base.memory import ASIDE, PLAIN, Memory
from ..base.pixels import as_uint8
from ..base.progress import Callback, report
from ..weights.onnx import open_session, run_session
from .geometry import apply, invert
from .track import FaceTrack
from .walk import TrackWalk
from .warp import warp

COUNT = 68
OUTLINED = "outlined"
"""The stage that a memory knows by how far the outlines of some tracks are found, in frames of the clip."""
INPUT_SIZE = 192
ENLARGED = 1.5
"""The network sees the box's longer side enlarged this many times."""


class LandmarkModel:
    """1k3d68 through onnxruntime: 3-D points of a face mesh, of which the last 68 are the iBUG landmarks.

    The network's input is RGB in 0..255, as its graph normalises by itself; its output is in [-1,1] over the view.
    """

    def __init__(self, path: str | Path, device: str = "cpu") -> None:
        """Load the ONNX file on "cpu", "cuda" or "mps". Raises WeightsError."""
        self._session = open_session(path, "the landmark model 1k3d68", device)
        self._path = path
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = [entry.shape for entry in (*inputs, *outputs)]
        if len(shapes) != 2 or not _fits(shapes[0], (None, 3, INPUT_SIZE, INPUT_SIZE)) or not _holds_points(shapes[1]):
            raise WeightsError(
                f"{path} is a network, but not 1k3d68: its inputs are {[entry.shape for entry in inputs]} and its "
                f"outputs {[entry.shape for entry in outputs]}. Expected a picture (1,3,{INPUT_SIZE},{INPUT_SIZE}) "
                f"in, and at least {COUNT} 3-D points out: use 1k3d68.onnx from insightface's buffalo_l."
            )

    def detect(self, frame: np.ndarray, boxes: Sequence[np.ndarray]) -> np.ndarray:
        """68 landmarks per box, in the frame's pixels: frame (H,W,3) uint8 RGB, boxes (n,4) -> (n,68,2) float64."""
        found = [self._detect_one(frame, np.asarray(box, dtype=np.float64)) for box in boxes]
        return np.stack(found) if found else np.zeros((0, COUNT, 2))

    def _detect_one(self, frame: np.ndarray, box: np.ndarray) -> np.ndarray:
        side = ENLARGED * float((box[2:] - box[:2]).max())
        if side <= 0:
            raise InputError(f"A box needs an area, got {box.tolist()}.")
        scale = INPUT_SIZE / side
        offset = INPUT_SIZE / 2 - scale * (box[:2] + box[2:]) / 2
        matrix = np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])
        view = warp(frame, matrix, (INPUT_SIZE, INPUT_SIZE), border="zero", interpolation="linear")
        batch = np.ascontiguousarray(view.astype(np.float32).transpose(2, 0, 1)[None])  # HWC -> 1CHW
        points = np.asarray(run_session(self._session, batch, self._path)[0], dtype=np.float64).reshape(-1)
        if points.size % 3 or points.size < 3 * COUNT:
            raise WeightsError(f"{self._path} gave {points.size} numbers, expected at least {COUNT} 3-D points.")
        points = points.reshape(-1, 3)[-COUNT:, :2]
        return apply(invert(matrix), (points + 1) * (INPUT_SIZE / 2))


def _fits(shape: Sequence[int | str | None], wanted: Sequence[int | None]) -> bool:
    """Whether a shape of a graph can be the one wanted; a side left open in the file is a string or None."""
    return len(shape) == len(wanted) and all(
        not isinstance(found, int) or need is None or found == need for found, need in zip(shape, wanted, strict=True)
    )


def _holds_points(shape: Sequence[int | str | None]) -> bool:
    """Whether an output can be 3-D points; where the file leaves its size open, the first picture tells."""
    sizes = [size for size in shape if isinstance(size, int)]
    count = int(np.prod(sizes)) if len(sizes) == len(shape) else 0
    return not count or (count % 3 == 0 and count >= 3 * COUNT)


def add_outlines(
    clip: Clip | TrackWalk,
    tracks: Sequence[FaceTrack],
    model: LandmarkModel,
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> list[FaceTrack]:
    """The tracks with 68 landmarks in every frame, in one walk of the clip; to be called before `plan_crop`.

    clip: or a walk of it, which goes on where it is, for the tracks of one shot after the other. memory: keeps what
    was found of these tracks, so that a later run goes on from there.
    """
    walk = clip if isinstance(clip, TrackWalk) else TrackWalk(clip)
    own = memory.part(f"{ASIDE}outlines-{min((track.id for track in tracks), default=0)}")
    outlines = [own.array(f"points-{track.id}", (len(track), COUNT, 2), torch.float64).numpy() for track in tracks]
    last = max((track.stop for track in tracks), default=0)
    for number, frame in walk.frames(tracks, own.done(OUTLINED)):
        inside = [i for i, track in enumerate(tracks) if track.covers(number)]
        boxes = [tracks[i].boxes[number - tracks[i].start] for i in inside]
        for i, points in zip(inside, model.detect(as_uint8(frame), boxes), strict=True):
            outlines[i][number - tracks[i].start] = points
        own.save(OUTLINED, number + 1, seldom=number + 1 < last)
        report(callback, "landmarks", number + 1, last)
    return [replace(track, outlines=points) for track, points in zip(tracks, outlines, strict=True)]
