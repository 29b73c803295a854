"""Whose faces to work on: everyone's, the largest, one by number or place, or those of a person in a picture."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.errors import FaceNotFoundError, InputError
from ..base.pixels import as_uint8
from .face import Face, FaceDetector
from .follow import Encoder
from .geometry import align_face, box_iou, largest_box
from .reduce import Reduction
from .track import FaceTrack, require_tracks

log = logging.getLogger(__name__)

SAME_PERSON = 0.3
"""Least cosine for a track to be the person in the reference picture. Soft footage lowers it, so this is below what
verification uses."""
SAME_PLACE = 0.3
"""Least overlap of a mark and a face, common area over joint area: two searches place a box a little differently."""
NEAR = 5
"""Frames by which a track may begin later, or end sooner, than in the search that was looked at."""


_ORDERS: dict[str, Callable[[FaceTrack], float]] = {
    "largest": lambda track: -track.size,
    "left": lambda track: float(track.centers[:, 0].mean()),
    "right": lambda track: -float(track.centers[:, 0].mean()),
}


def select_tracks(tracks: Sequence[FaceTrack], choice: str | int | tuple[float, float]) -> list[FaceTrack]:
    """The chosen tracks, in their order.

    "all"; "largest", "left" or "right": one person at any moment, the largest or outermost of those who are there long
    enough (see _one_at_a_time); a number: the track with that id; (x, y) in pixels: the track that starts nearest to
    that place. Raises FaceNotFoundError where there are no tracks or none of that number, InputError for an unknown
    choice.
    """
    tracks = require_tracks(tracks)
    if isinstance(choice, tuple):
        place = np.asarray(choice, dtype=np.float64)
        return [min(tracks, key=lambda track: float(np.hypot(*(track.centers[0] - place))))]
    if isinstance(choice, int) or is_number(choice):
        return [_by_number(tracks, int(choice))]
    if choice not in ("all", *_ORDERS):
        raise InputError(
            f'Unknown choice of faces "{choice[:40]}": use all, largest, left, right, a number or a picture.'
        )
    return tracks if choice == "all" else _one_at_a_time(tracks, _ORDERS[choice])


@dataclass(frozen=True)
class Mark:
    """A face that somebody has pointed at in one frame of a clip."""

    frame: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels."""


def select_marked(tracks: Sequence[FaceTrack], marks: Sequence[Mark]) -> tuple[list[FaceTrack], list[Mark]]:
    """The tracks that were pointed at, in their order, and the marks that meet none.

    A mark means the track whose box in its frame, or in the nearest one of the track within NEAR frames, overlaps it
    most, by at least SAME_PLACE: numbers of tracks change with the detector and its options, places do not.
    """
    met: dict[int, FaceTrack] = {}
    missed = []
    for mark in marks:
        track = max(tracks, key=lambda track: _overlap(track, mark), default=None)
        if track is None or _overlap(track, mark) < SAME_PLACE:
            missed.append(mark)
        else:
            met[track.id] = track
    return [track for track in tracks if track.id in met], missed


def _overlap(track: FaceTrack, mark: Mark) -> float:
    """How much of two boxes is common to both, 0 to 1; 0 where the track is not there at that time."""
    frame = min(max(mark.frame, track.start), track.stop - 1)
    if abs(frame - mark.frame) > NEAR:
        return 0.0
    return float(box_iou(np.asarray(mark.box), track.boxes[frame - track.start]).item())


def is_number(choice: str) -> bool:
    """Whether a choice given as text is the number of a track: a few digits."""
    return re.fullmatch(r"[0-9]{1,9}", choice) is not None


def _by_number(tracks: Sequence[FaceTrack], number: int) -> FaceTrack:
    for track in tracks:
        if track.id == number:
            return track
    found = ", ".join(f"{t.id} (frames {t.start} to {t.stop - 1}, {t.size:.0f} pixels)" for t in tracks)
    raise FaceNotFoundError(f"There is no face number {number}. Found: {found}.")


def _one_at_a_time(tracks: Sequence[FaceTrack], rank: Callable[[FaceTrack], float]) -> list[FaceTrack]:
    """The first by rank, then each next one that shares no frame with those already taken.

    Someone who is there less than half as long as another person at the same time comes last: a passer-by must not take
    the place of the person the shot is about.
    """

    def brief(track: FaceTrack) -> bool:
        return any(len(track) < len(other) / 2 for other in tracks if _together(track, other))

    taken: list[FaceTrack] = []
    for track in sorted(tracks, key=lambda track: (brief(track), rank(track))):
        if not any(_together(track, other) for other in taken):
            taken.append(track)
    left = [track.id for track in tracks if track not in taken]
    if left:
        log.info("Faces that are left unchanged: %s", left)
    return sorted(taken, key=lambda track: track.id)


def _together(track: FaceTrack, other: FaceTrack) -> bool:
    """Whether two tracks share a frame."""
    return track.start < other.stop and other.start < track.stop


def largest_face(picture: np.ndarray, detector: FaceDetector, name: str) -> Face:
    """The largest face of a still picture (H,W,3) uint8, in the picture's pixels.

    Detectors find several faces in one that spans thousands of pixels, so large pictures are reduced first. name: what
    a FaceNotFoundError calls the picture.
    """
    height, width = picture.shape[:2]
    reduction = Reduction.to(width, height)
    (faces,) = detector.detect([reduction.shrink(picture)])
    if not faces:
        raise FaceNotFoundError(
            f"No face was found in {name} ({width}x{height}). Give a picture that shows the face clearly, or lower "
            "the detector's threshold."
        )
    return reduction.enlarge(faces[largest_box(np.stack([face.box for face in faces]))])


def reference_embedding(picture: np.ndarray, detector: FaceDetector, encoder: Encoder) -> np.ndarray:
    """The unit identity embedding (512,) of the largest face of a picture (H,W,3), uint8 or float in [0,1].

    Raises FaceNotFoundError if the picture shows no face.
    """
    image = as_uint8(picture)
    face = largest_face(image, detector, "the reference picture")
    return encoder.embed(align_face(image, face.landmarks)[None])[0].float().cpu().numpy()


def select_similar(
    tracks: Sequence[FaceTrack], embedding: np.ndarray, threshold: float = SAME_PERSON
) -> list[FaceTrack]:
    """All tracks of the person whose embedding (512,) is given (see `reference_embedding`), in their order.

    The tracks must have been found with an encoder. Raises FaceNotFoundError if nobody reaches the threshold.
    """
    tracks = require_tracks(tracks)
    known = [track for track in tracks if track.embedding is not None]
    if not known:
        raise InputError("Tracks found without an identity encoder cannot be compared: give find_tracks an encoder.")
    likeness = {track.id: float(track.embedding @ embedding) for track in known}
    best = max(known, key=lambda track: likeness[track.id])
    if likeness[best.id] < threshold:
        raise FaceNotFoundError(
            f"Nobody in the clip resembles the reference picture: the closest is face {best.id} with a similarity of "
            f"{likeness[best.id]:.2f}, but {threshold:.2f} is needed. Choose the face by number, or give another "
            "picture."
        )
    chosen = [t for t in known if t.person == best.person or likeness[t.id] >= threshold]
    log.info("Similarity to the reference picture: %s", {track.id: round(likeness[track.id], 2) for track in known})
    return _one_at_a_time(chosen, lambda track: -likeness[track.id])
