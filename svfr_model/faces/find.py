"""From a clip to the tracks of its people and the cuts between its shots, in one walk."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..base.background import Ahead
from ..base.clip import Clip, expected_length, picked
from ..base.errors import InputError
from ..base.memory import ASIDE, PLAIN, Memory
from ..base.packed import pack, unpack
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

SEARCH = "search"
"""The part of a memory that belongs to a search, and the stage that it knows its saves by."""
BOX_PERIOD = 25.0
"""Changes of a box relative to its landmarks that are faster than this many frames count as detector noise."""
UNSURE = 0.02
"""Weight of a frame in which the face was not seen, or not whole."""
WHOLE = 0.99
"""Part of a face and its surroundings that must be inside the frame for its box to be trusted."""


@dataclass(frozen=True, eq=False)
class FoundShot:
    """The frames from one cut to the next, and who is in them."""

    first: int
    stop: int
    """The frame after the last."""
    tracks: list[FaceTrack]

    def state(self) -> dict[str, Any]:
        """All that it holds, as `base.packed.pack` takes it."""
        return {"first": self.first, "stop": self.stop, "tracks": [track.state() for track in self.tracks]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> FoundShot:
        """The shot that gave this `state`."""
        return cls(state["first"], state["stop"], [FaceTrack.of(track) for track in state["tracks"]])


def find_tracks(
    clip: Clip,
    detector: FaceDetector,
    options: TrackOptions | None = None,
    encoder: Encoder | None = None,
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> FoundFaces:
    """Find every person and every cut of a clip in one walk, holding two batches of reduced frames at a time.

    encoder tells people apart where they leave and come back; without it their appearance within a shot must do. A
    clip without any face gives no tracks, which is not an error here (see `FoundFaces.require`). memory: see
    `track_shots`. Reports stage "detect".
    """
    return found_faces(clip, list(track_shots(clip, detector, options, encoder, callback, memory)))


def found_faces(clip: Clip, shots: Sequence[FoundShot]) -> FoundFaces:
    """What was found in a whole clip, from all of its shots."""
    tracks = [track for shot in shots for track in shot.tracks]
    return FoundFaces(tracks, [shot.first for shot in shots[1:]], shots[-1].stop, (clip.width, clip.height))


def track_shots(
    clip: Clip,
    detector: FaceDetector,
    options: TrackOptions | None = None,
    encoder: Encoder | None = None,
    callback: Callback | None = None,
    memory: Memory = PLAIN,
) -> Iterator[FoundShot]:
    """The shots of a clip with their people, as in `find_tracks`, each as soon as the walk has left it behind.

    Frames are read and reduced in a thread. memory: keeps what was found, from where an earlier search of the same
    clip with the same detector, encoder and options goes on. Raises InputError for a clip without frames or with
    frames of several sizes.
    """
    options = options or TrackOptions()
    reduction = Reduction.to(clip.width, clip.height, options.detect_size)
    search = _Search(options, reduction, detector, encoder, memory.part(ASIDE + SEARCH))
    yield from search.found
    if search.ended:
        return
    total = expected_length(clip)
    with Ahead(lambda _: _reduced(clip, reduction, search.read_from), options.batch) as frames:
        search.see_again(frames)
        for batch in _batches(frames, options.batch):
            search.feed(batch)
            report(callback, "detect", search.count, max(total, search.count))
            yield from search.decided()
            search.save(seldom=True)
    if not search.count:
        raise InputError("The clip has no frames.")
    yield from search.end()


def _reduced(clip: Clip, reduction: Reduction, first: int) -> Iterator[np.ndarray]:
    """The frames from this one on."""
    for frame in picked(clip, lambda number: number >= first):
        if frame is None:
            continue
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


class _Search:
    """A search that knows how far it has come, and goes on where an earlier one was."""

    def __init__(
        self,
        options: TrackOptions,
        reduction: Reduction,
        detector: FaceDetector,
        encoder: Encoder | None,
        memory: Memory,
    ) -> None:
        """memory: of its own."""
        self._follower = Follower(detector, FollowOptions(options.stride, options.looks, options.max_gap), encoder)
        self._cutter = CutDetector(options.shots)
        self._people = _People(options, reduction)
        self._memory = memory
        self.count = self._first = self._decided = self._kept = 0
        self.found: list[FoundShot] = []
        self.ended = False
        self._state: dict[str, Any] | None = None
        saves = memory.done(SEARCH)
        state = unpack(memory.kept(f"state-{saves % 2}")) if saves else None
        shots = [unpack(memory.kept(f"shot-{i}")) for i in range(state["found"])] if state else []
        if state and all(shots):
            self._take_up(state, shots)

    def _take_up(self, state: dict[str, Any], shots: Sequence[Mapping[str, Any]]) -> None:
        """Go on where a search was."""
        self.found = [FoundShot.of(shot) for shot in shots]
        self.count, self._first, self._decided = state["count"], state["first"], state["decided"]
        self._kept, self.ended, self._state = len(self.found), state["ended"], state
        self._cutter.go_on(state["cutter"])
        self._people.go_on(state["people"])

    @property
    def read_from(self) -> int:
        """The first frame that is needed."""
        recent: list[int] = [] if self._state is None else self._state["follower"]["recent"]
        return min([self.count, *recent])

    def see_again(self, frames: Iterator[np.ndarray]) -> None:
        """Take the last frames that an earlier search had seen, if there was one, out of those from `read_from` on."""
        if self._state is None:
            return
        again = dict(zip(range(self.read_from, self.count), frames, strict=False))
        follower = self._state["follower"]
        self._follower.go_on(follower, [again[number] for number in follower["recent"]])
        self._state = None

    def feed(self, batch: Sequence[np.ndarray]) -> None:
        """Take the next reduced frames."""
        breaks = {self.count + i for i, frame in enumerate(batch) if self._cutter.add(frame)}
        self._follower.feed(self.count, batch, breaks)
        self.count += len(batch)

    def decided(self) -> Iterator[FoundShot]:
        """The shots that no later frame can change."""
        yield from self._until(self._cutter.cuts_among(range(self._decided, self._cutter.decided)))
        self._decided = self._cutter.decided

    def end(self) -> Iterator[FoundShot]:
        """The shots that are left when there are no more frames."""
        yield from self._until([*self._cutter.cuts_among(range(self._decided, self.count)), self.count])
        self.ended = True
        self.save()

    def _until(self, stops: Sequence[int]) -> Iterator[FoundShot]:
        for stop in stops:
            self.found.append(self._people.shot(self._follower.people, self._first, stop))
            self._first = stop
            self._follower.forget_before(stop)
            yield self.found[-1]

    def save(self, *, seldom: bool = False) -> None:
        """Keep what was found so far, so that a later search goes on from here."""
        if not self._memory.is_due(seldom=seldom):
            return
        state = {
            "count": self.count,
            "first": self._first,
            "decided": self._decided,
            "found": len(self.found),
            "ended": self.ended,
            "cutter": self._cutter.state(),
            "follower": self._follower.state(),
            "people": self._people.state(),
        }
        saves = self._memory.done(SEARCH) + 1
        fresh = {f"shot-{i}": pack(self.found[i].state()) for i in range(self._kept, len(self.found))}
        self._memory.save(SEARCH, saves, {f"state-{saves % 2}": pack(state), **fresh})
        self._kept = len(self.found)


@dataclass(eq=False)
class _Piece:
    """What was seen of one person between two cuts."""

    shot: int
    frames: list[int]
    faces: list[Face]
    look: np.ndarray | None
    embedding: np.ndarray | None
    person: int = -1

    def settle(self) -> None:
        """The shot is over: keep what people in later shots are compared with."""
        self.frames, self.faces, self.look = [self.frames[0], self.frames[-1]], [], None

    def state(self) -> dict[str, Any]:
        """What is left of it then, as `base.packed.pack` takes it."""
        return {"shot": self.shot, "frames": list(self.frames), "embedding": self.embedding, "person": self.person}


class _People:
    """Makes tracks of what was followed, one shot after the other, and knows who was in the shots before."""

    def __init__(self, options: TrackOptions, reduction: Reduction) -> None:
        self._options, self._reduction = options, reduction
        self._named: list[list[_Piece]] = []
        self._shots = self._tracks = 0

    def shot(self, people: Sequence[Followed], first: int, stop: int) -> FoundShot:
        """The tracks of the frames from first to stop, which the next shot begins with."""
        pieces = _join(self._pieces(people, first, stop), self._options.max_gap)
        tracks = _build(pieces, self._options, self._reduction, self._tracks)
        self._shots += 1
        self._tracks += len(tracks)
        for group in self._named:
            for piece in group:
                piece.settle()
        return FoundShot(first, stop, tracks)

    def state(self) -> dict[str, Any]:
        """Who was in the shots before, as `base.packed.pack` takes it."""
        named = [[piece.state() for piece in group] for group in self._named]
        return {"named": named, "shots": self._shots, "tracks": self._tracks}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Know what the one knew that gave this `state`."""
        self._named = [[_Piece(**piece, faces=[], look=None) for piece in group] for group in state["named"]]
        self._shots, self._tracks = state["shots"], state["tracks"]

    def _pieces(self, people: Sequence[Followed], first: int, stop: int) -> list[_Piece]:
        """What was seen of each person there, named, without what is too short or too weak."""
        pieces = []
        for person in people:
            inside = slice(bisect_left(person.frames, first), bisect_left(person.frames, stop))
            frames, faces = person.frames[inside], person.faces[inside]
            if not frames or self._is_poor(faces, stop - first):
                continue
            samples = [person.samples[frame] for frame in frames if frame in person.samples]
            look = _mean_direction([sample.look for sample in samples])
            known = _mean_direction([sample.embedding for sample in samples if sample.embedding is not None])
            pieces.append(_Piece(self._shots, frames, faces, look, known))
        pieces.sort(key=lambda piece: (piece.frames[0], piece.faces[0].box[0]))
        self._name(pieces)
        return pieces

    def _is_poor(self, faces: Sequence[Face], length: int) -> bool:
        """Whether these faces of one person in a shot are too few, or too unsure, for a track."""
        options = self._options
        seen = len(faces) if options.looks else len(faces) * options.stride
        weak = np.mean([face.score for face in faces]) < options.min_score
        return bool(weak) or seen < min(options.min_length, (length + 1) // 2)

    def _name(self, pieces: Sequence[_Piece]) -> None:
        """Give pieces of one person one number: by identity, or by appearance in a shot. Nobody is in two places."""
        for piece in pieces:
            best, best_likeness = None, 0.0
            for group in self._named:
                if any(_together(piece, other) for other in group):
                    continue
                likeness = max(_likeness(piece, other, self._options) for other in group)
                if likeness > best_likeness:
                    best, best_likeness = group, likeness
            if best is None:
                best = []
                self._named.append(best)
            best.append(piece)
            piece.person = self._named.index(best)


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


def _build(pieces: Sequence[_Piece], options: TrackOptions, reduction: Reduction, before: int) -> list[FaceTrack]:
    """The tracks of a shot's pieces, numbered after those of the shots before."""
    tracks = []
    for number, piece in enumerate(pieces, before):
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
