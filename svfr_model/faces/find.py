"""From a clip to the tracks of its people and the cuts between its shots, in one walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..base.clip import Clip, expected_length
from ..base.errors import InputError
from ..base.pixels import as_uint8
from ..base.progress import Callback, report
from .closeup import CANONICAL
from .face import Face, FaceDetector
from .follow import Encoder, Followed, Follower, FollowOptions
from .geometry import apply, box_area, invert, similarity
from .options import TrackOptions
from .reduce import Reduction
from .shots import CutDetector
from .smooth import smooth
from .track import FaceTrack, FoundFaces

BOX_PERIOD = 25.0
"""Changes of a box relative to its landmarks that are faster than this many frames count as detector noise."""
UNSURE = 0.02
"""Weight of a frame in which the face was not seen, or not whole."""
WHOLE = 0.99
"""Part of a face and its surroundings that must be inside the frame for its box to be trusted."""


def find_tracks(
    clip: Clip,
    detector: FaceDetector,
    options: TrackOptions | None = None,
    encoder: Encoder | None = None,
    callback: Callback | None = None,
) -> FoundFaces:
    """Find every person and every cut of a clip in one walk, holding one batch of reduced frames at a time.

    encoder tells people apart where they leave and come back; without it their appearance within a shot must do. A
    clip without any face gives no tracks, which is not an error here (see `FoundFaces.require`). Reports stage
    "detect".
    """
    options = options or TrackOptions()
    follower = Follower(detector, FollowOptions(options.stride, options.looks, options.max_gap), encoder)
    cutter = CutDetector(options.shots)
    reduction = Reduction.to(clip.width, clip.height, options.detect_size)
    total = expected_length(clip)
    count = 0
    for batch in _batches(_reduced(clip, reduction), options.batch):
        breaks = {count + i for i, frame in enumerate(batch) if cutter.add(frame)}
        follower.feed(count, batch, breaks)
        count += len(batch)
        report(callback, "detect", count, max(total, count))
    if not count:
        raise InputError("The clip has no frames.")
    pieces = _pieces(follower.people, cutter.cuts, count, options)
    tracks = _build(pieces, options, reduction)
    return FoundFaces(tracks, cutter.cuts, count, (clip.width, clip.height))


def _reduced(clip: Clip, reduction: Reduction) -> Iterator[np.ndarray]:
    for frame in clip:
        if frame.shape[:2] != (clip.height, clip.width):
            raise InputError(
                f"All frames of a clip must have the same size: expected {clip.width}x{clip.height}, got "
                f"{frame.shape[1]}x{frame.shape[0]}."
            )
        yield as_uint8(reduction.shrink(frame))


def _batches(frames: Iterator[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    batch: list[np.ndarray] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@dataclass(eq=False)
class _Piece:
    """What was seen of one person between two cuts."""

    shot: int
    frames: list[int]
    faces: list[Face]
    look: np.ndarray | None
    embedding: np.ndarray | None
    person: int = -1


def _pieces(people: Sequence[Followed], cuts: Sequence[int], count: int, options: TrackOptions) -> list[_Piece]:
    """What was followed, divided at the cuts, named and joined, without what is too short or too weak."""
    lengths = np.diff([0, *cuts, count])
    pieces = []
    for person in people:
        shots = np.searchsorted(cuts, person.frames, side="right")
        for shot in np.unique(shots):
            inside = np.flatnonzero(shots == shot)
            seen = len(inside) if options.looks else len(inside) * options.stride
            faces = [person.faces[i] for i in inside]
            weak = np.mean([face.score for face in faces]) < options.min_score
            if weak or seen < min(options.min_length, (lengths[shot] + 1) // 2):
                continue
            frames = [person.frames[i] for i in inside]
            samples = [person.samples[frame] for frame in frames if frame in person.samples]
            look = _mean_direction([sample.look for sample in samples])
            known = _mean_direction([sample.embedding for sample in samples if sample.embedding is not None])
            pieces.append(_Piece(int(shot), frames, faces, look, known))
    pieces.sort(key=lambda piece: (piece.frames[0], piece.faces[0].box[0]))
    _name_people(pieces, options)
    return _join(pieces, options.max_gap)


def _mean_direction(vectors: Sequence[np.ndarray]) -> np.ndarray | None:
    """The unit vector along the mean of unit vectors; the vectors far from it are left out."""
    if not vectors:
        return None
    stack = np.stack(vectors)
    first = int(np.argmax((stack @ stack.T).sum(axis=1)))
    near = stack @ stack[first] >= 0.5
    near[first] = True  # the look of a blank picture is zero, and so is its product with itself
    mean: np.ndarray = stack[near].mean(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-6)
    return mean


def _name_people(pieces: list[_Piece], options: TrackOptions) -> None:
    """Give pieces of one person one number: by identity, or by appearance within a shot. Nobody is in two places."""
    named: list[list[_Piece]] = []
    for piece in pieces:
        best, best_likeness = None, 0.0
        for group in named:
            if any(_together(piece, other) for other in group):
                continue
            likeness = max(_likeness(piece, other, options) for other in group)
            if likeness > best_likeness:
                best, best_likeness = group, likeness
        if best is None:
            best = []
            named.append(best)
        best.append(piece)
        piece.person = named.index(best)


def _together(first: _Piece, second: _Piece) -> bool:
    return first.frames[0] <= second.frames[-1] and second.frames[0] <= first.frames[-1]


def _likeness(first: _Piece, second: _Piece, options: TrackOptions) -> float:
    """How surely two pieces are one person, in (0,1]; 0 where they are not taken for one."""
    if first.embedding is not None and second.embedding is not None:
        cosine = float(first.embedding @ second.embedding)
        return cosine if cosine >= options.same_person else 0.0
    if first.shot != second.shot or first.look is None or second.look is None:
        return 0.0
    likeness = float(first.look @ second.look)
    return likeness if likeness >= options.same_look else 0.0


def _join(pieces: list[_Piece], max_gap: int) -> list[_Piece]:
    """Join pieces of one person in one shot whose gap may be filled."""
    joined: list[_Piece] = []
    for piece in pieces:
        before = [p for p in joined if p.person == piece.person and p.shot == piece.shot]
        last = max(before, key=lambda p: p.frames[-1]) if before else None
        if last is not None and piece.frames[0] - last.frames[-1] - 1 <= max_gap:
            last.frames += piece.frames
            last.faces += piece.faces
        else:
            joined.append(piece)
    return joined


def _build(pieces: Sequence[_Piece], options: TrackOptions, reduction: Reduction) -> list[FaceTrack]:
    tracks = []
    for number, piece in enumerate(pieces):
        frames = np.array(piece.frames)
        index = np.arange(frames[0], frames[-1] + 1)
        faces = [reduction.enlarge(face) for face in piece.faces]
        landmarks = _fill(index, frames, np.stack([face.landmarks for face in faces]))
        boxes = _fill(index, frames, np.stack([face.box for face in faces]))
        seen = np.isin(index, frames)
        whole = _inside(boxes, reduction.size) >= WHOLE
        boxes = _steady_boxes(boxes, landmarks, np.where(seen & whole, 1.0, UNSURE))
        distance = np.abs(index[:, None] - frames[None]).min(axis=1)
        # Between two searches nothing was looked for, so nothing was missed.
        missed = np.maximum(0, distance - (0 if options.looks else options.stride // 2))
        doubt = 1.0 - np.minimum(1.0, missed / (options.max_gap / 2 + 1))
        scores = _fill(index, frames, np.array([face.score for face in faces])) * doubt
        tracks.append(
            FaceTrack(
                number,
                piece.person,
                piece.shot,
                int(index[0]),
                boxes,
                landmarks,
                scores,
                seen,
                reduction.size,
                embedding=piece.embedding,
            )
        )
    return tracks


def _fill(index: np.ndarray, frames: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (m,...) of some frames, interpolated linearly to all."""
    flat = values.reshape(len(frames), -1)
    filled = np.stack([np.interp(index, frames, column) for column in flat.T], axis=1)
    return filled.reshape(len(index), *values.shape[1:])


def _inside(boxes: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
    """The part of each box (n,4), with a little around it, that lies within the frame: (n,)."""
    limits = np.array([*frame_size, *frame_size], dtype=np.float64)
    grow = 0.1 * (boxes[:, 2:] - boxes[:, :2])
    boxes = np.concatenate([boxes[:, :2] - grow, boxes[:, 2:] + grow], axis=1)
    inside: np.ndarray = box_area(np.clip(boxes, 0, limits)) / np.maximum(box_area(boxes), 1e-6)
    return inside


def _steady_boxes(boxes: np.ndarray, landmarks: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Boxes (n,4) that keep their place against the landmarks (n,5,2), but for slow changes; weights (n,).

    The landmarks of a detector are steadier than its box; the box moves against them only as the head turns.
    """
    views = np.stack([similarity(points, CANONICAL) for points in landmarks])
    scales = np.hypot(views[:, 0, 0], views[:, 1, 0])
    centers = apply(views, ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None])[:, 0]
    sides = (boxes[:, 2:] - boxes[:, :2]) * scales[:, None]
    steady = smooth(np.concatenate([centers, np.log(np.maximum(sides, 1e-6))], axis=1), BOX_PERIOD, weights)
    centers = apply(invert(views), steady[:, None, :2])[:, 0]
    half = np.exp(steady[:, 2:]) / scales[:, None] / 2
    return np.concatenate([centers - half, centers + half], axis=1)
