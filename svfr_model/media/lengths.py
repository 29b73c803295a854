"""How long a clip is said to be, told by its header alone: for the order of many clips, and for progress."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .carried import is_cover
from .pictures import is_picture


def stated_frames(path: Path) -> int:
    """The number of frames that a video's header states, or its duration comes to; of a folder, its pictures.

    1 for a picture, 0 for what says nothing or cannot be read. No frame is decoded.
    """
    import av

    with contextlib.suppress(av.error.FFmpegError, OSError):
        if path.is_dir():
            return sum(is_picture(Path(name)) for name in os.listdir(path))
        if is_picture(path):
            return 1
        if path.is_file():
            return _stated(path)
    return 0


def _stated(path: Path) -> int:
    import av

    with contextlib.closing(av.open(os.path.abspath(path))) as container:
        pictures = [stream for stream in container.streams.video if not is_cover(stream)]
        if not pictures:
            return 0
        stream = pictures[0]
        rate = stream.average_rate or stream.guessed_rate
        if stream.frames or not rate:
            return stream.frames
        if stream.duration and stream.time_base:
            return round(stream.duration * stream.time_base * rate)
        return round(container.duration * rate / av.time_base) if container.duration else 0
