"""A few frames out of the middle of a video, without decoding all that comes before them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from ..base.errors import InputError
from .carried import is_cover
from .convert import RgbReader
from .reader import VideoClip


def frame_stamps(clip: VideoClip) -> np.ndarray:
    """When each frame is shown, in ticks of its stream: (N,) int64. Empty where frames cannot be told apart by that.

    The clip is decoded once if it was not before.
    """
    ticks = [(time + clip.origin) / clip.time_base for time in clip.timestamps]
    stamps = np.array([round(tick) for tick in ticks], np.int64)
    exact = all(tick.denominator == 1 for tick in ticks)
    return stamps if exact and bool((np.diff(stamps) > 0).all()) else np.zeros(0, np.int64)


def read_frames(path: Path | str, first: int, stop: int, stamps: np.ndarray) -> list[np.ndarray]:
    """Frames first to stop - 1 of a video, each (H,W,3) uint8 RGB, the same as `VideoClip` gives.

    stamps: what `frame_stamps` said of just these frames, or empty. Decoding begins at the keyframe before; where a
    file cannot be searched, or says other times than it did, at the beginning. Raises InputError for what cannot be
    read, and for a file with fewer frames.
    """
    path = Path(path)
    if len(stamps):
        frames = _sought(path, stamps)
        if frames is not None:
            return frames
    wanted = VideoClip(path).picked(lambda number: first <= number < stop)
    frames = []
    for frame in wanted:
        if frame is not None:
            frames.append(frame)
        if len(frames) == stop - first:
            break
    if len(frames) < stop - first:
        raise InputError(
            f"{path}: frames {first} to {stop - 1} are needed, but {len(frames)} of them could be read. The file has "
            "changed since its faces were found, or is damaged: prepare it again."
        )
    return frames


def _sought(path: Path, stamps: np.ndarray) -> list[np.ndarray] | None:
    """The frames with just these times, or None where they do not come out like that."""
    import av

    to_rgb = RgbReader()
    try:
        with closing(av.open(os.path.abspath(path))) as container:
            stream = next((found for found in container.streams.video if not is_cover(found)), None)
            if stream is None or stream.codec_context is None:
                return None
            stream.codec_context.thread_count = 1  # several of these run beside each other
            container.seek(int(stamps[0]), stream=stream)
            found = _from(container.decode(stream), int(stamps[0]))
            frames = []
            for stamp in stamps:
                frame = next(found, None)
                if frame is None or frame.pts != stamp:
                    return None
                frames.append(to_rgb(frame))
            return frames
    except (av.error.FFmpegError, OSError):
        return None


def _from(frames: Iterator, first: int) -> Iterator:  # type: ignore[type-arg]  # PyAV's frames of any kind
    return (frame for frame in frames if frame.pts is None or frame.pts >= first)
