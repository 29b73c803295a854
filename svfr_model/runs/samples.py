"""Clips to try a restoration with, of people who are drawn and of a portrait: damaged, and with their truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import cv2
import numpy as np

from ..base.options import MOST_SEED, Range, Widget, option, options
from ..base.tasks import Task
from ..faces.detectors.yunet import YuNetDetector
from ..faces.select import largest_face
from ..media.pictures import read_picture
from ..synthesis.clips import make_clip
from ..synthesis.degrade import degrade_clip
from ..synthesis.masks import paint_white, random_mask
from ..synthesis.options import DegradeOptions, LowQuality, options_for
from ..weights import find
from .portrait_scene import PORTRAIT, SURROUNDING, camera

SampleKind: TypeAlias = Literal["drawn person", "two drawn people", "drawn face, close up", "portrait photograph"]
Damage: TypeAlias = Literal[
    "low quality",
    "low quality, no colours",
    "low quality, scratches",
    "low quality, no colours, scratches",
    "scratches",
    "flicker",
    "none",
]
FIRST = 1_500_004
"""Added to the numbers below: beyond all people that svfr-tiny was trained on."""
PEOPLE = (6, 2, 12, 17, 22, 11, 5, 19)
"""Drawn people whom YuNet finds under low quality too; of 26 that were tried it missed four."""
CLOSE_UP = 64
"""Side in pixels of the faces that svfr-tiny knows."""
SIDE, VIEW, WINDOW = 256, 3.5, 160
"""Of a drawn scene: its side, how much wider than a face it is, and the side of what the camera sees."""
LEFT, TOP, SWAY, PERIOD = 32, 44, 24, 96
"""Where the camera is first, how far it sways to the right of that, and after how many frames it is back."""
PHOTOGRAPH = 384
FLICKER = 0.3
"""Chance that a frame is darker or brighter, BFVR-STC's."""
STROKES = 2
"""Added to the seed of the damage for that of the scratches."""


@options
class SampleOptions:
    """Which clip, and what is wrong with it."""

    clip: SampleKind = option(
        default="drawn person",
        help="Whom the clip shows. Drawn people are what the bundled svfr-tiny can restore; the close-up has "
        f"{CLOSE_UP}x{CLOSE_UP} pixels, for work on whole frames. The photograph, of Eileen Collins and in the public "
        "domain, is for the published networks.",
        flag=None,
    )
    damage: Damage = option(
        default="low quality",
        help="What a restoration will have to undo: blur, low resolution, noise and compression; missing colours; "
        "white strokes, which the mask shows; or changing brightness.",
        flag=None,
    )
    length: int = option(
        default=29, within=Range(1, 300), unit="frames", help="How long the clip is, at 25 frames a second.", flag=None
    )
    seed: int = option(
        default=0,
        within=Range(0, MOST_SEED),
        help=f"Which of {len(PEOPLE)} people is drawn, and which damage: the same seed gives the same clip.",
        flag=None,
        widget=Widget(control=False),
    )


@dataclass(frozen=True)
class Sample:
    """A clip of whom the truth is known.

    truth, damaged: (N,H,W,3) uint8 RGB. masks: (N,H,W) uint8, 1 where something is missing. portrait: another picture
    (h,w,3) of the first person shown.
    """

    truth: np.ndarray
    damaged: np.ndarray
    masks: np.ndarray
    portrait: np.ndarray


@dataclass(frozen=True)
class _Shown:
    """An undamaged clip.

    faces: of each person, the x, y and side of the square around the face. share: the side of a face's crop over that
    of the frame.
    """

    truth: np.ndarray
    faces: tuple[tuple[float, float, float], ...]
    share: float
    portrait: np.ndarray


def make_sample(options: SampleOptions) -> Sample:
    """Draw the clip, or move the portrait, and damage it."""
    first, second = (FIRST + PEOPLE[(options.seed + place) % len(PEOPLE)] for place in (0, 1))
    shown = {
        "drawn person": lambda: _drawn(first, options.length),
        "two drawn people": lambda: _beside(_drawn(first, options.length), _drawn(second, options.length)),
        "drawn face, close up": lambda: _close_up(first, options.length),
        "portrait photograph": lambda: _photograph(options.length),
    }[options.clip]()
    return _damaged(shown, options.damage, options.seed)


def _drawn(number: int, length: int) -> _Shown:
    """A person in front of a camera that sways."""
    wide = make_clip(number, length, SIDE, view=VIEW)
    turns = 2 * np.pi * np.arange(length) / PERIOD
    corners = np.stack([LEFT + np.rint(SWAY * (1 - np.cos(turns))), np.full(length, TOP)], axis=1).astype(int)
    placed = zip(wide.frames, corners, strict=True)
    truth = np.stack([frame[y : y + WINDOW, x : x + WINDOW] for frame, (x, y) in placed])
    x, y = (wide.landmarks - corners[:, None]).mean(axis=(0, 1))
    return _Shown(truth, ((float(x), float(y), float(CLOSE_UP)),), CLOSE_UP / WINDOW, _picture_of(number))


def _beside(left: _Shown, right: _Shown) -> _Shown:
    """Both in one frame, as in a video call."""
    faces = (*left.faces, *((x + left.truth.shape[2], y, side) for x, y, side in right.faces))
    return _Shown(np.concatenate([left.truth, right.truth], axis=2), faces, left.share / 2, left.portrait)


def _close_up(number: int, length: int) -> _Shown:
    half = CLOSE_UP / 2
    return _Shown(make_clip(number, length, CLOSE_UP).frames, ((half, half, CLOSE_UP),), 1.0, _picture_of(number))


def _picture_of(number: int) -> np.ndarray:
    """The person at another moment."""
    picture: np.ndarray = make_clip(number + FIRST, 1, SIDE, person=number).frames[0]
    return picture


def _photograph(length: int) -> _Shown:
    picture = read_picture(PORTRAIT)
    face = largest_face(picture, YuNetDetector(find("yunet")), PORTRAIT.name)
    matrices = [camera(face, number, PHOTOGRAPH) for number in range(length)]
    size = (PHOTOGRAPH, PHOTOGRAPH)
    truth = np.stack([cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REFLECT_101) for matrix in matrices])
    half = PHOTOGRAPH / 2
    return _Shown(truth, ((half, half, PHOTOGRAPH / SURROUNDING),), 1.0, picture)


def _damaged(shown: _Shown, damage: Damage, seed: int) -> Sample:
    """Low quality is drawn for the size of a face's crop, which is what a network will see."""
    tasks = {task for task, word in ((Task.BFR, "low quality"), (Task.COLORIZATION, "no colours")) if word in damage}
    weakest, strongest = (sigma * shown.share for sigma in LowQuality().sigma)
    flicker = DegradeOptions(brightness_flicker=FLICKER if damage == "flicker" else 0.0)
    options = options_for(frozenset(tasks), LowQuality(sigma=(weakest, strongest)), flicker)
    masks = np.zeros(shown.truth.shape[:3], np.uint8)
    if "scratches" in damage:
        masks[:] = _scratches(shown, seed)
    damaged, _ = degrade_clip(shown.truth, replace(options, mask=None), seed)
    return Sample(shown.truth, paint_white(damaged, masks), masks, shown.portrait)


def _scratches(shown: _Shown, seed: int) -> np.ndarray:
    """Strokes over every face, which stay in place while it passes behind them: (H,W) uint8."""
    rng = np.random.default_rng(seed + STROKES)
    height, width = shown.truth.shape[1:3]
    mask = np.zeros((height, width), np.uint8)
    for x, y, side in shown.faces:
        whole = round(side)
        (strokes,) = random_mask(rng, 1, (whole, whole), "brush", moving=False)
        top = min(max(round(y - side / 2), 0), height - whole)
        left = min(max(round(x - side / 2), 0), width - whole)
        mask[top : top + whole, left : left + whole] |= strokes
    return mask
