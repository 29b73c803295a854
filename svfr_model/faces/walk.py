"""One walk of a clip for all of its tracks, shot by shot, so that its length alone decides how long that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..base.clip import Clip, picked
from ..base.errors import InputError
from .track import FaceTrack


class TrackWalk:
    """Gives the frames in which there is somebody. Those between are passed over, and not even made pictures."""

    def __init__(self, clip: Clip) -> None:
        """Start before the clip's first frame."""
        self._tracks: Sequence[FaceTrack] = ()
        self._number = self._begin = 0
        self._frames = picked(clip, self._is_wanted)

    def _is_wanted(self, number: int) -> bool:
        return number >= self._begin and any(track.covers(number) for track in self._tracks)

    def frames(self, tracks: Sequence[FaceTrack], begin: int = 0) -> Iterator[tuple[int, np.ndarray]]:
        """The number and the picture of every frame, from `begin` on, that one of the tracks covers.

        The tracks are those of one shot, or of several, and no shot comes before one that was walked already. Raises
        InputError where the clip ends before they do.
        """
        self._tracks, self._begin = tracks, begin
        last = max((track.stop for track in tracks), default=0)
        while self._number < last:
            number = self._number
            try:
                frame = next(self._frames)
            except StopIteration:
                raise InputError(
                    f"The tracks reach to frame {last - 1}, but the clip has only {number} frames."
                ) from None
            self._number += 1
            if frame is not None:
                yield number, frame

    def close(self) -> None:
        """End the walk before the clip has ended."""
        close = getattr(self._frames, "close", None)
        if close is not None:
            close()
