"""A person followed through one shot, the crop planned for them, and all that was found in a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.errors import FaceNotFoundError
from .geometry import box_area


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One person followed through one shot, with an entry for every frame from the first to the last.

    Positions are in the frame's pixels. n is the number of frames; frame `start + i` of the clip is entry i.
    """

    id: int
    """Number of the track in its clip, by first appearance, then left to right."""
    person: int
    """Tracks of one person share it, where they were recognised; otherwise every track has its own."""
    shot: int
    start: int
    """First frame in the clip."""
    boxes: np.ndarray
    """x1, y1, x2, y2: (n,4) float64."""
    landmarks: np.ndarray
    """(n,5,2) float64, in the order of `face.Face`."""
    scores: np.ndarray
    """The detector's confidence, (n,) float64; falling with the distance to the next seen frame where unseen."""
    seen: np.ndarray
    """True where the detector saw the face, False where the entry is interpolated: (n,) bool."""
    frame_size: tuple[int, int]
    """Width and height of the frames."""
    embedding: np.ndarray | None = None
    """Unit identity embedding (512,), where an encoder was given."""
    outlines: np.ndarray | None = None
    """68 landmarks per frame, (n,68,2) float64, where a landmark model was given."""

    def state(self) -> dict[str, Any]:
        """All that it holds, as `base.packed.pack` takes it."""
        return {**vars(self), "frame_size": list(self.frame_size)}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> FaceTrack:
        """The track that gave this `state`."""
        return cls(**{**state, "frame_size": tuple(state["frame_size"])})

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + len(self)

    def covers(self, frame: int) -> bool:
        """Whether the person is in this frame of the clip."""
        return self.start <= frame < self.stop

    @property
    def sizes(self) -> np.ndarray:
        """Side of the face in pixels, the square root of the box's area: (n,)."""
        sides: np.ndarray = np.sqrt(box_area(self.boxes))
        return sides

    @property
    def size(self) -> float:
        """Median side of the face in pixels."""
        return float(np.median(self.sizes))

    @property
    def centers(self) -> np.ndarray:
        """Centres of the boxes, (n,2)."""
        centers: np.ndarray = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        return centers


@dataclass(frozen=True, eq=False)
class PlannedCrop:
    """Where a track's face is cut out of each frame and where the crop goes back; made by `crop.plan_crop`.

    n and the entries are the track's.
    """

    track: FaceTrack
    matrices: np.ndarray
    """Affine maps from frame to crop, (n,2,3) float64."""
    size: tuple[int, int]
    """Width and height of the crop in pixels."""
    landmarks: np.ndarray
    """The track's landmarks in the crop's pixels, freed of the detector's noise: (n,5,2) float64."""
    outlines: np.ndarray | None = None
    """The track's outlines, likewise: (n,68,2) float64; None where the track has none."""
    square: tuple[int, int, int, int] | None = None
    """The whole pixels x1, y1, x2, y2 that a static crop is cut from; None where the crop is warped."""
    reduction: float = 1.0
    """How much smaller the crop is made before it gets its size (`CropOptions.pre_downscale`)."""

    def __len__(self) -> int:
        return len(self.track)


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """The people and cuts found in a clip."""

    tracks: list[FaceTrack]
    cuts: list[int]
    """Frames at which a new shot starts, ascending; the first shot's 0 is not among them."""
    frame_count: int
    frame_size: tuple[int, int]
    """Width and height of the frames."""

    def require(self) -> list[FaceTrack]:
        """The tracks; FaceNotFoundError where there is none."""
        return require_tracks(self.tracks)


def require_tracks(tracks: Sequence[FaceTrack]) -> list[FaceTrack]:
    """The tracks, or a FaceNotFoundError that says what to try."""
    if not tracks:
        raise FaceNotFoundError(
            "No face was found in any frame. Lower the detection threshold, raise the detection size for small faces, "
            "try another detector, or work on the whole frame without a crop."
        )
    return list(tracks)
