"""Test clips whose every motion is known: people cut out of a portrait, moved over synthetic backgrounds.

A `Scene` is rendered frame by frame, so a clip of any length takes no memory. Where a person stands in frame i is the
similarity from the person's picture to the frame, which is the ground truth of tracks and crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import cv2
import numpy as np
from skimage.data import astronaut

Motion = Callable[[int], "tuple[float, float, float, float] | None"]
"""Frame number -> x and y of the face's centre in the frame, scale, roll in degrees; None where the person is away."""

Camera = Callable[[int], "tuple[float, float]"]
"""Frame number -> shift of the background."""


@dataclass(frozen=True)
class Person:
    """Someone to put into a scene: a picture with a soft outline, and where the face is in it."""

    name: str
    picture: np.ndarray
    alpha: np.ndarray
    center: tuple[float, float]
    face: float
    """Side of the face in the picture's pixels: the square root of the box's area."""


@lru_cache
def portrait(name: str = "woman") -> Person:
    """The public-domain portrait that scikit-image ships, or "other": mirrored, darker and of another tint."""
    picture = astronaut()[:300, 60:400].copy()
    center, face = (164.0, 121.0), 101.0
    if name == "other":
        picture = picture[:, ::-1].astype(np.float32)
        picture = np.ascontiguousarray(np.clip(picture * (0.55, 0.7, 0.5) + (15, 0, 30), 0, 255).astype(np.uint8))
        center = (picture.shape[1] - 1 - center[0], center[1])
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    radius = np.hypot((columns - center[0]) / 105, (rows - center[1] + 8) / 125)
    alpha = np.clip((1 - radius) * 12, 0, 1).astype(np.float32)
    return Person(name, picture, alpha, center, face)


@lru_cache
def background(seed: int, width: int, height: int) -> np.ndarray:
    """A smooth random picture, dark for a negative seed; 200 pixels larger than the frame on each side."""
    if seed < 0:
        return background(-seed, width, height) // 2
    random = np.random.default_rng(seed)
    coarse = random.uniform(30, 210, (8, 12, 3)).astype(np.float32)
    fine = random.normal(0, 14, (height // 4 + 100, width // 4 + 100, 3)).astype(np.float32)
    size = (width + 400, height + 400)
    picture = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    picture += cv2.resize(fine, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Actor:
    """A person and how they move."""

    person: Person
    motion: Motion


@dataclass(frozen=True)
class Shot:
    """Frames between two cuts. Actors later in the list stand in front."""

    length: int
    actors: tuple[Actor, ...]
    background: int = 0
    camera: Camera = field(default=lambda i: (0.0, 0.0))
    """Shift of the background in frame i."""


@dataclass(frozen=True)
class Scene:
    """A clip (see svfr_model.base.clip) made on the fly. Frame numbers of motions count from a shot's first frame."""

    shots: tuple[Shot, ...]
    width: int = 640
    height: int = 360
    noise: float = 1.5
    fps: Fraction = Fraction(25)

    def __len__(self) -> int:
        return sum(shot.length for shot in self.shots)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(index) for index in range(len(self)))

    @property
    def cuts(self) -> list[int]:
        """First frames of the second and later shots."""
        return np.cumsum([shot.length for shot in self.shots])[:-1].tolist()

    def locate(self, index: int) -> tuple[Shot, int]:
        """The shot of a frame and the frame's number in it."""
        for shot in self.shots:
            if index < shot.length:
                return shot, index
            index -= shot.length
        raise IndexError(index)

    def matrix(self, index: int, actor: Actor) -> np.ndarray | None:
        """The similarity (2,3) from the actor's picture to frame index; None where the actor is away."""
        place = actor.motion(self.locate(index)[1])
        if place is None:
            return None
        x, y, scale, roll = place
        angle = np.deg2rad(roll)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = np.array([x, y]) - linear @ np.array(actor.person.center)
        return np.concatenate([linear, offset[:, None]], axis=1)

    def frame(self, index: int) -> np.ndarray:
        """Frame index, (H,W,3) uint8 RGB."""
        shot, local = self.locate(index)
        size = (self.width, self.height)
        shift = shot.camera(local)
        base = background(shot.background, self.width, self.height)
        moved = np.array([[1, 0, shift[0] - 200], [0, 1, shift[1] - 200]], dtype=np.float64)
        frame = cv2.warpAffine(base, moved, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        frame = frame.astype(np.float32)
        for actor in shot.actors:
            matrix = self.matrix(index, actor)
            if matrix is None:
                continue
            picture, alpha = actor.person.picture, actor.person.alpha
            scale = float(np.hypot(*matrix[:, 0]))
            if scale < 1:
                blur = 0.5 * np.sqrt(1 / scale**2 - 1) + 1e-3
                picture = cv2.GaussianBlur(picture, (0, 0), blur)
            picture = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            alpha = cv2.warpAffine(alpha, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
            frame = frame * (1 - alpha) + picture * alpha
        grain = np.random.default_rng(1000 + index).normal(0, self.noise, frame.shape).astype(np.float32)
        return np.clip(frame + grain + 0.5, 0, 255).astype(np.uint8)


def still(x: float = 320, y: float = 180, scale: float = 1.0, roll: float = 0.0) -> Motion:
    """Someone who does not move."""
    return lambda i: (x, y, scale, roll)


def one(motion: Motion, length: int = 60, camera: Camera | None = None, **kwargs) -> Scene:
    """A scene of one shot with the portrait alone."""
    shot = Shot(length, (Actor(portrait(), motion),), camera=camera or (lambda i: (0.0, 0.0)))
    return Scene((shot,), **kwargs)


def pan(length: int = 60, **kwargs) -> Scene:
    """The camera pans there and back: face and background move together."""

    def offset(i: int) -> tuple[float, float]:
        return 120 * np.sin(2 * np.pi * i / 60), 25 * np.sin(2 * np.pi * i / 90)

    return one(lambda i: (320 + offset(i)[0], 180 + offset(i)[1], 1.0, 0.0), length, offset, **kwargs)


def zoom(length: int = 60, **kwargs) -> Scene:
    """The face grows from 0.6 to 1.5 of its size."""
    return one(lambda i: (320.0, 180.0, float(0.6 * 2.5 ** (i / max(length - 1, 1))), 0.0), length, **kwargs)


def roll(length: int = 60, **kwargs) -> Scene:
    """The head rolls by 25 degrees to either side."""
    return one(lambda i: (320.0, 180.0, 1.0, 25 * np.sin(2 * np.pi * i / 60)), length, **kwargs)


def shake(length: int = 60, **kwargs) -> Scene:
    """A shaken camera: 8 pixels rms of independent displacement from frame to frame."""
    moves = np.random.default_rng(7).normal(0, 8, (length, 2))
    return one(lambda i: (320 + moves[i, 0], 180 + moves[i, 1], 1.0, 0.0), length, lambda i: tuple(moves[i]), **kwargs)


def static(length: int = 60, **kwargs) -> Scene:
    """Nothing moves but the sensor's noise."""
    return one(still(), length, **kwargs)


def crossing(second: Person, length: int = 80, **kwargs) -> Scene:
    """Two people walk past one another; the one in front hides the other for a while."""
    back = Actor(second, lambda i: (140 + 360 * i / (length - 1), 175.0, 0.8, 0.0))
    front = Actor(portrait(), lambda i: (500 - 360 * i / (length - 1), 190.0, 1.0, 0.0))
    return Scene((Shot(length, (back, front)),), **kwargs)


def reentering(length: int = 90, **kwargs) -> Scene:
    """Someone leaves the frame to the right and comes back after half a second."""

    def motion(i: int) -> tuple[float, float, float, float] | None:
        third = length / 3
        if i < third:
            return 320 + 450 * (i / third) ** 2, 180.0, 1.0, 0.0
        if i < third * 1.5:
            return None
        return 320 + 450 * max(0.0, 1 - (i - third * 1.5) / third) ** 2, 180.0, 1.0, 0.0

    return one(motion, length, **kwargs)


def hard_cut(second: Person, length: int = 60, **kwargs) -> Scene:
    """Two shots: another person, before another background."""
    first = Shot(length // 2 + 3, (Actor(portrait(), still(260, 180)),), background=1)
    then = Shot(length - length // 2 - 3, (Actor(second, still(330, 190, 0.9)),), background=2)
    return Scene((first, then), **kwargs)


def faceless_start(length: int = 60, **kwargs) -> Scene:
    """Nobody for a while, then a face that comes in from the left."""
    return one(lambda i: None if i < 13 else (min(320.0, -120.0 + 22 * (i - 13)), 180.0, 1.0, 0.0), length, **kwargs)


def at_border(length: int = 60, **kwargs) -> Scene:
    """A face that drifts along the frame's left edge, cut off by it now and then."""
    return one(lambda i: (62 + 14 * np.sin(i / 6), 150.0, 1.0, 0.0), length, **kwargs)


def footage(length: int = 85) -> list[np.ndarray]:
    """Close up in 128x128: a head that sways, nods, rolls and comes nearer, and a background that drifts."""

    def motion(i: int) -> tuple[float, float, float, float]:
        return 68 + 5 * np.sin(i / 9), 66 + 3 * np.sin(i / 6), 0.58 + 0.05 * np.sin(i / 15), 5 * np.sin(i / 11)

    return list(one(motion, length, lambda i: (i / 10, 0.0), width=128, height=128, noise=2.5))
