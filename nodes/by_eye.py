"""Faces that were chosen by eye in the dialog of web/js/faces.js, as the widget `faces` keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io

from ..svfr_model.base.errors import InputError
from ..svfr_model.faces.select import Mark, select_marked
from ..svfr_model.faces.track import FaceTrack, FoundFaces

NAME = "faces"


def by_eye_input() -> io.String.Input:
    """The widget that holds the choice; the dialog writes it, and it comes last in saved workflows."""
    return io.String.Input(
        NAME,
        default="",
        optional=True,
        socketless=True,
        advanced=True,
        extra_dict={"hidden": True},  # a button stands for it
        tooltip="The faces that were chosen by eye: press Choose faces. They go before all other ways to choose. "
        "Default: empty.",
    )


@dataclass(frozen=True)
class ByEye:
    """A choice, and the clip that it was made in."""

    size: tuple[int, int]
    """Width and height of the frames."""
    frames: int
    marks: tuple[Mark, ...]

    def pick(self, found: FoundFaces) -> tuple[list[FaceTrack], list[str]]:
        """The tracks that were chosen, and what to tell; no tracks where the clip is another one."""
        if self.size != found.frame_size:
            return [], [self._gone(found)]
        tracks, missed = select_marked(found.tracks, self.marks)
        if not tracks:
            return [], [self._gone(found)]
        if missed:
            frames = ", ".join(str(mark.frame) for mark in missed)
            return tracks, [
                f"{len(missed)} of the {len(self.marks)} faces that were chosen by eye are not there any more (seen in "
                f"frame {frames}): they are left as they are. Press Choose faces to choose anew."
            ]
        return tracks, []

    def _gone(self, found: FoundFaces) -> str:
        was, now = (f"{count} frames of {w}x{h}" for count, (w, h) in ((self.frames, self.size), _clip(found)))
        return (
            f"The faces that were chosen by eye are not in this clip (it was {was} and is {now}): the input choice "
            "decides instead. Press Choose faces to choose anew."
        )


def parse_by_eye(text: str) -> ByEye | None:
    """What the widget holds; None for an empty one. Raises InputError for what the dialog has not written."""
    if not text.strip():
        return None
    try:
        stored = json.loads(text)
        marks = tuple(_mark(*face) for face in stored["marks"])
        width, height = (int(side) for side in stored["size"])
        chosen = ByEye((width, height), int(stored["frames"]), marks)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"The input {NAME} holds {text[:60]!r}, which is no choice of faces: empty it, and press Choose faces."
        ) from error
    return chosen if marks else None


def _mark(frame: Any, *box: Any) -> Mark:
    x1, y1, x2, y2 = map(float, box)
    return Mark(int(frame), (x1, y1, x2, y2))


def _clip(found: FoundFaces) -> tuple[int, Sequence[int]]:
    return found.frame_count, found.frame_size
