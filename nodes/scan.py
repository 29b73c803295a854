"""The faces of a clip as pictures to choose among: a few frames of each shot, and where the faces are in them."""

from __future__ import annotations

import base64
import io as bytes_io
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..svfr_model.base.clip import Clip
from ..svfr_model.base.pixels import as_uint8
from ..svfr_model.faces.track import FaceTrack, FoundFaces

LONGEST = 960
"""Pixels of a picture's longer side."""


def scan_of(clip: Clip, found: FoundFaces) -> dict[str, Any]:
    """What the dialog shows, as JSON: the clip's size and length, and its shots with their views.

    A view is a frame of the shot as a JPEG, with the faces in it by track, person and box in the frame's pixels. A shot
    has as many views as it takes to show everyone in it, and one where nobody is.
    """
    bounds = [0, *found.cuts, found.frame_count]
    shots: list[dict[str, Any]] = [
        {"first": first, "stop": stop, "views": _views([t for t in found.tracks if t.shot == number], first, stop)}
        for number, (first, stop) in enumerate(itertools.pairwise(bounds))
    ]
    pictures = _pictures(clip, {view["frame"] for shot in shots for view in shot["views"]})
    for shot in shots:
        for view in shot["views"]:
            view["picture"] = pictures[view["frame"]]
    return {"size": list(found.frame_size), "frames": found.frame_count, "shots": shots}


def _views(tracks: Sequence[FaceTrack], first: int, stop: int) -> list[dict[str, Any]]:
    """The fewest frames, greedily, in which every track is seen; each track in the first that shows it."""
    left, views = list(tracks), []
    while left:
        frame = max(range(first, stop), key=lambda frame: _worth(left, frame, (first + stop) // 2))
        here = [track for track in left if _sees(track, frame)] or left[:1]
        frame = frame if _sees(here[0], frame) else here[0].start
        views.append({"frame": frame, "faces": [_face(track, frame) for track in here]})
        left = [track for track in left if track not in here]
    return views or [{"frame": (first + stop) // 2, "faces": []}]


def _sees(track: FaceTrack, frame: int) -> bool:
    return track.covers(frame) and bool(track.seen[frame - track.start])


def _worth(tracks: Sequence[FaceTrack], frame: int, middle: int) -> tuple[int, int]:
    """How many faces a frame shows, and how near it is to the middle of the shot."""
    return sum(_sees(track, frame) for track in tracks), -abs(frame - middle)


def _face(track: FaceTrack, frame: int) -> dict[str, Any]:
    box = [round(float(side)) for side in track.boxes[frame - track.start]]
    return {"track": track.id, "person": track.person, "box": box}


def _pictures(clip: Clip, wanted: set[int]) -> dict[int, str]:
    """Frames by number as data addresses, in a walk that ends with the last of them."""
    found: dict[int, str] = {}
    for number, frame in enumerate(clip):
        if number in wanted:
            found[number] = _address(as_uint8(frame))
        if len(found) == len(wanted):
            break
    return found


def _address(frame: np.ndarray) -> str:
    picture = Image.fromarray(frame)
    picture.thumbnail((LONGEST, LONGEST))
    file = bytes_io.BytesIO()
    picture.save(file, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
