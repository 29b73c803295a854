"""Following faces through consecutive frames: predict, look again, assign, start and end.

Everything here is causal and sees one batch of reduced frames at a time. Shots are not known yet: `find` later splits
what was followed at the cuts. Where a cut is likely, the whole frame is searched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from ..base.errors import InputError
from .closeup import appearance, look_again
from .face import Face, FaceDetector, faces_as_arrays, faces_of
from .geometry import align_face, box_area, box_iou, non_max_suppression

SAME_FACE_IOU = 0.4
CROWDED_IOU = 0.1
VELOCITY_FRAMES = 6
REACH = 0.6
"""How far a face may be from its predicted place, in sides of the face; grows while it is out of sight."""
LARGEST_REACH = 1.5
SIZE_CHANGE = 0.45
"""Largest change of a face's size from the last one seen, as a natural logarithm."""
APPEARANCE_WEIGHT = 1.0
LEAST_LIKENESS = 0.2
"""Similarity below which a face cannot be a person seen in the last frame; light and expression change slowly."""
LEAST_LIKENESS_AFTER_GAP = 0.5
"""The same for a person who was out of sight: two people are rarely more alike, and one person rarely less."""
PATIENCE = 3
"""Frames out of sight allowed for each frame in which a person was seen."""
SAMPLES = 64
"""Most appearances and identities kept of a person; beyond that, every other one is dropped."""


class Encoder(Protocol):
    """Anything that can tell people apart; see `svfr_model.networks.identity.IdentityEncoder`."""

    def embed(self, faces: torch.Tensor) -> torch.Tensor:
        """Faces (B,3,112,112) float32 in [-1,1] -> unit embeddings (B,512)."""
        ...


@dataclass(frozen=True, eq=False)
class Sample:
    """What a person looked like in one frame, as unit vectors."""

    look: np.ndarray
    embedding: np.ndarray | None


@dataclass(eq=False)
class Followed:
    """A person being followed: the faces seen so far, in the reduced frames' pixels."""

    frames: list[int] = field(default_factory=list)
    faces: list[Face] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    """What the person looked like, by frame, at the spacing below."""
    spacing: int = 1
    look: np.ndarray | None = None

    @property
    def size(self) -> float:
        """Side of the face where it was last seen."""
        return float(np.sqrt(box_area(self.faces[-1].box)[0]))

    def predict(self, frame: int) -> np.ndarray:
        """Landmarks (5,2) at a later frame, extrapolated with the mean velocity of the last frames."""
        last = self.faces[-1].landmarks
        if len(self.frames) < 2:
            return last
        recent = slice(max(0, len(self.frames) - VELOCITY_FRAMES), None)
        times = np.array(self.frames[recent], dtype=np.float64)
        centers = np.array([face.landmarks.mean(0) for face in self.faces[recent]])
        times = times - times.mean()
        velocity = (times[:, None] * (centers - centers.mean(0))).sum(0) / (times**2).sum()
        predicted: np.ndarray = last + velocity * (frame - self.frames[-1])
        return predicted

    def take(self, frame: int, face: Face, look: np.ndarray, crowded: bool) -> None:
        """Add the face seen in a frame; its appearance counts only if nobody else is near."""
        self.frames.append(frame)
        self.faces.append(face)
        if self.look is None:
            self.look = look
        elif not crowded:
            mixed = 0.9 * self.look + 0.1 * look
            self.look = mixed / max(float(np.linalg.norm(mixed)), 1e-6)

    def keep(self, frame: int, sample: Sample) -> None:
        """Keep a sample; if there are too many, drop every other one and take the next ones half as often."""
        self.samples[frame] = sample
        if len(self.samples) > SAMPLES:
            self.samples = dict(list(self.samples.items())[::2])
            self.spacing *= 2

    def prepend(self, frame: int, face: Face) -> None:
        """Add a face seen in the frame before the first."""
        self.frames.insert(0, frame)
        self.faces.insert(0, face)

    def state(self) -> dict[str, Any]:
        """All that is known of the person, as `base.packed.pack` takes it."""
        samples = self.samples.values()
        return {
            "frames": list(self.frames),
            **faces_as_arrays(self.faces),
            "samples": list(self.samples),
            "looks": [sample.look for sample in samples],
            "embeddings": [sample.embedding for sample in samples],
            "spacing": self.spacing,
            "look": self.look,
        }

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Followed:
        """The person who gave this `state`."""
        samples = map(Sample, state["looks"], state["embeddings"])
        return cls(
            state["frames"],
            faces_of(state),
            dict(zip(state["samples"], samples, strict=True)),
            state["spacing"],
            state["look"],
        )


@dataclass(frozen=True)
class FollowOptions:
    """How faces are followed; see `find.TrackOptions` for the meaning of each."""

    stride: int
    looks: int
    max_gap: int


class Follower:
    """Follows every face of a clip. Give it all frames in order, batch by batch; `people` holds the result."""

    def __init__(self, detector: FaceDetector, options: FollowOptions, encoder: Encoder | None = None) -> None:
        """Start before the first frame; without an encoder there are no identities."""
        self.people: list[Followed] = []
        self._live: list[Followed] = []
        self._detector, self._options, self._encoder = detector, options, encoder
        self._recent: deque[tuple[int, np.ndarray]] = deque(maxlen=max(options.stride - 1, 1))

    def forget_before(self, frame: int) -> None:
        """Let go of those who were last seen before this frame and are followed no more."""
        living = set(map(id, self._live))
        self.people = [person for person in self.people if id(person) in living or person.frames[-1] >= frame]

    def state(self) -> dict[str, Any]:
        """All that is needed to go on with the next frame, as `base.packed.pack` takes it.

        But for the pictures of the last frames, which are many: "recent" are their numbers.
        """
        return {
            "people": [person.state() for person in self.people],
            "live": [self.people.index(person) for person in self._live],
            "recent": [number for number, _ in self._recent],
        }

    def go_on(self, state: Mapping[str, Any], recent: Sequence[np.ndarray]) -> None:
        """Go on where the one was that gave this `state`. recent: the frames that it names."""
        self.people = [Followed.of(person) for person in state["people"]]
        self._live = [self.people[number] for number in state["live"]]
        self._recent.extend(zip(state["recent"], recent, strict=True))

    def feed(self, first: int, frames: Sequence[np.ndarray], breaks: set[int]) -> None:
        """Take reduced frames (h,w,3) uint8, the first of them number `first`; breaks are likely cuts."""
        keys = [i for i in range(len(frames)) if (first + i) % self._options.stride == 0 or first + i in breaks]
        found = dict(zip(keys, self._detect([frames[i] for i in keys]), strict=True))
        for i, frame in enumerate(frames):
            if first + i in breaks:
                self._recent.clear()
            self._step(first + i, frame, found.get(i), new_shot=first + i in breaks)
            self._recent.append((first + i, frame))

    def _detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        found = self._detector.detect(frames) if len(frames) else []
        for faces in found:
            for face in faces:
                if face.landmarks.shape != (5, 2):
                    raise InputError(
                        f"Following a face needs 5 landmarks, but the detector gave {len(face.landmarks)}: choose "
                        "yunet, scrfd or yoloface."
                    )
        return found

    def _step(self, index: int, frame: np.ndarray, searched: list[Face] | None, new_shot: bool) -> None:
        self._live = [p for p in self._live if index - p.frames[-1] - 1 <= self._patience(p)]
        seen = self._look_at_live(index, frame) if self._options.looks else []
        seen = self._merge(seen, frame, searched)
        pairs = self._assign(index, frame, seen)
        just_lost = any(p not in pairs and p.frames[-1] == index - 1 for p in self._live)
        if just_lost and searched is None and self._options.looks:
            seen = self._merge(seen, frame, self._detect([frame])[0])
            pairs = self._assign(index, frame, seen)
        for person, (face, look) in pairs.items():
            crowded = sum(float(box_iou(face.box, other.box)[0, 0]) > CROWDED_IOU for other in seen) > 1
            person.take(index, face, look, crowded)
            self._remember(index, frame, person, look, fresh=new_shot)
        taken = [face for face, _ in pairs.values()]
        for face in seen:
            if not any(face is other for other in taken):
                self._start(index, frame, face)

    def _patience(self, person: Followed) -> int:
        """How many frames a person may be out of sight; fewer if little was seen of them."""
        if not self._options.looks:
            return self._options.max_gap
        return min(self._options.max_gap, PATIENCE * len(person.frames))

    def _look_at_live(self, index: int, frame: np.ndarray) -> list[Face]:
        """The faces seen where the people being followed should be."""
        jobs = [(frame, person.predict(index)) for person in self._live]
        views = look_again(jobs, self._detector, self._options.looks)
        # Several views may show one face. The reading is best in the view that was made for it.
        own = [(faces[0], guess) for faces, (_, guess) in zip(views, jobs, strict=True) if faces]
        surprise = [float(np.hypot(*(face.landmarks - guess).mean(0))) for face, guess in own]
        first = _distinct([face for face, _ in own], -np.array(surprise))
        others = _distinct([face for faces in views for face in faces[1:]])
        return first + [face for face in others if not _overlaps(face, first)]

    def _merge(self, seen: list[Face], frame: np.ndarray, searched: list[Face] | None) -> list[Face]:
        """Add what a search of the whole frame found; known faces keep their more accurate position."""
        fresh = [face for face in searched or [] if not _overlaps(face, seen)]
        if fresh and self._options.looks:
            views = look_again([(frame, face.landmarks) for face in fresh], self._detector, self._options.looks)
            fresh = _distinct([_nearest_reading(face, view) for face, view in zip(fresh, views, strict=True)])
        return seen + [face for face in fresh if not _overlaps(face, seen)]

    def _assign(self, index: int, frame: np.ndarray, faces: Sequence[Face]) -> dict[Followed, tuple[Face, np.ndarray]]:
        """Match the people being followed with faces: cheapest pairs first, each person and each face once."""
        looks = [appearance(frame, face.landmarks) for face in faces]
        costs = []
        for person in self._live:
            expected, gap = person.predict(index).mean(0), index - person.frames[-1]
            for number, face in enumerate(faces):
                cost = _cost(person, expected, gap, face, looks[number])
                if cost is not None:
                    costs.append((cost, person, number))
        pairs: dict[Followed, tuple[Face, np.ndarray]] = {}
        used: set[int] = set()
        for _, person, number in sorted(costs, key=lambda entry: entry[0]):
            if person not in pairs and number not in used:
                pairs[person] = (faces[number], looks[number])
                used.add(number)
        return pairs

    def _start(self, index: int, frame: np.ndarray, face: Face) -> None:
        """Follow a new face, first backwards through the frames since the last search of a whole frame."""
        person = Followed()
        look = appearance(frame, face.landmarks)
        person.take(index, face, look, crowded=False)
        self._remember(index, frame, person, look, fresh=True)
        if self._options.looks:
            for earlier, picture in reversed(self._recent):
                views = look_again([(picture, person.faces[0].landmarks)], self._detector, self._options.looks)[0]
                taken = [p.faces[p.frames.index(earlier)] for p in self._live if earlier in p.frames[-8:]]
                if not views or not _plausible(person.faces[0], views[0]) or _overlaps(views[0], taken):
                    break
                person.prepend(earlier, views[0])
        self._live.append(person)
        self.people.append(person)

    def _remember(self, index: int, frame: np.ndarray, person: Followed, look: np.ndarray, fresh: bool) -> None:
        """Keep what the person looks like now and then, so that pieces can be joined later; always if fresh."""
        last = next(reversed(person.samples), None)
        if last is not None and index - last < person.spacing * self._options.stride and not fresh:
            return
        embedding = None
        if self._encoder is not None:
            aligned = align_face(frame, person.faces[-1].landmarks)
            embedding = self._encoder.embed(aligned[None])[0].float().cpu().numpy()
        person.keep(index, Sample(look, embedding))


def _cost(person: Followed, expected: np.ndarray, gap: int, face: Face, look: np.ndarray) -> float | None:
    """How much a face differs from the person in place, size and appearance; None if it cannot be them."""
    size = float(np.sqrt(box_area(face.box)[0]))
    distance = float(np.hypot(*(face.landmarks.mean(0) - expected))) / max(person.size, 1e-6)
    change = abs(float(np.log(max(size, 1e-6) / max(person.size, 1e-6))))
    likeness = float(look @ person.look)
    if distance > min(REACH + 0.05 * (gap - 1), LARGEST_REACH) or change > SIZE_CHANGE + 0.03 * (gap - 1):
        return None
    if likeness < (LEAST_LIKENESS if gap == 1 else LEAST_LIKENESS_AFTER_GAP):
        return None
    return distance + change + APPEARANCE_WEIGHT * (1.0 - likeness)


def _plausible(known: Face, face: Face) -> bool:
    """Whether a face in the next or previous frame can be the known one, by place and size alone."""
    side, other = float(np.sqrt(box_area(known.box)[0])), float(np.sqrt(box_area(face.box)[0]))
    near = float(np.hypot(*(face.landmarks.mean(0) - known.landmarks.mean(0)))) <= REACH * side
    return near and abs(float(np.log(max(other, 1e-6) / max(side, 1e-6)))) <= SIZE_CHANGE


def _nearest_reading(face: Face, readings: Sequence[Face]) -> Face:
    """The second look at a face if it shows that face, else the first."""
    return readings[0] if readings and _plausible(face, readings[0]) else face


def _overlaps(face: Face, others: Sequence[Face]) -> bool:
    return any(float(box_iou(face.box, other.box)[0, 0]) > SAME_FACE_IOU for other in others)


def _distinct(faces: Sequence[Face], ranks: np.ndarray | None = None) -> list[Face]:
    """The faces without duplicates: of overlapping ones, the one with the highest rank, by default the score."""
    if not faces:
        return []
    ranks = np.array([face.score for face in faces]) if ranks is None else ranks
    return [faces[i] for i in non_max_suppression(np.stack([face.box for face in faces]), ranks, SAME_FACE_IOU)]
