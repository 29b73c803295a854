"""Writing a clip: a video, a folder of PNGs or a single picture, complete or not at all."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np

from ..base.clip import Clip
from ..base.errors import InputError, cannot_write
from ..files.paths import Output, check_paths
from ..files.staging import Staging
from .carry import Carrier
from .codecs import CODECS, VIDEO_FORMATS, check_codec, set_up
from .convert import EncoderFrames, white_level
from .options import VideoOptions
from .pictures import PictureClip, write_picture
from .plan import plan_streams
from .reader import VideoClip

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

PICTURE_OUT_SUFFIXES = (".png", ".jpg", ".jpeg")

TimedClip: TypeAlias = VideoClip | PictureClip

_WHITE = 255
_MIN_TICKS = 10000  # per second: fine enough to place a clip that starts late


class ClipWriter:
    """Writes frames to path; use it in a `with` statement.

    The path decides the form: .mp4, .mov or .mkv is a video, H.264 if the options say nothing else; an existing folder
    or a path without suffix becomes a folder of 000000.png, 000001.png, ...; .png or .jpg takes a single frame.

    H.264 and HEVC are 4:2:0; H.264 of odd sides is 4:4:4 (which keeps the exact size, but not every player shows
    it), ProRes is 4:2:2 or 4:4:4, all in limited-range BT.709, and tagged as such; FFV1 is RGB, without any loss. A
    source that is read with more than 8 bits is written with more, if the codec is to keep them. The same frames give
    the same bytes. With a source VideoClip, frame k is
    shown at the time of the source's frame k, the pixels' aspect ratio is kept, and the source's sound, subtitles,
    further streams, chapters and tags are carried over: copied if the container can hold them; sound is encoded to AAC
    otherwise. A warning names what is lost, before any work.

    Everything is staged (see `staging`) and put in place when the block ends. If it ends with an exception, nothing is
    left behind.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: Fraction,
        size: tuple[int, int],
        *,
        source: Clip | None = None,
        options: VideoOptions | None = None,
    ) -> None:
        """size is (width, height) in pixels. Nothing is created yet.

        Raises InputError as `check_paths` does (for an unknown suffix, a folder that is missing, not empty or
        protected, a name that is too long, or the path of the source itself), for a codec that does not go into the
        container, and for a size that the codec does not allow.
        """
        self.path = Path(path)
        self.size = size
        check_paths([source.path] if isinstance(source, VideoClip | PictureClip) else [], [clip_output(self.path)])
        self._sink: _Sink
        if self.path.is_dir() or not self.path.suffix:
            self._sink = _FolderSink(self.path)
        elif self.path.suffix.lower() in PICTURE_OUT_SUFFIXES:
            self._sink = _PictureSink(self.path)
        else:
            self._sink = _VideoSink(self.path, fps, size, _timed(source), options or VideoOptions())
        self._count = 0

    def __enter__(self) -> ClipWriter:
        try:
            with self._own_errors():
                self._sink.open()
        except BaseException:
            self._sink.discard()
            raise
        return self

    def write(self, frame: np.ndarray, timestamp: Fraction | None = None) -> None:
        """Add one (H,W,3) RGB frame: uint8, or float in [0,1] (clipped and rounded).

        timestamp is its presentation time in seconds, by default that of the source, else the frame number over fps.
        Raises InputError for another shape, for values that are not finite, and when writing fails.
        """
        if frame.shape != (self.size[1], self.size[0], 3):
            raise InputError(
                f"{self.path}: frame {self._count} has shape {tuple(frame.shape)}, but the clip was begun with "
                f"(height, width, 3) = {(self.size[1], self.size[0], 3)}. All frames must have one size."
            )
        with self._own_errors():
            self._sink.write(self._count, _levels(frame, self._count, self._sink.white), timestamp)
        self._count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None:
            self._sink.discard()
            return
        try:
            if self._count == 0:
                raise InputError(f"{self.path}: no frame was given, so nothing was written.")
            with self._own_errors():
                self._sink.finish()
        except BaseException:
            self._sink.discard()
            raise

    @contextlib.contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turn errors of FFmpeg and the file system into an InputError that names the target."""
        import av

        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self.path, error) from error


def write_clip(
    path: str | os.PathLike[str], clip: Clip, *, source: Clip | None = None, options: VideoOptions | None = None
) -> None:
    """Write a whole clip at its own rate; see `ClipWriter`."""
    with ClipWriter(path, clip.fps, (clip.width, clip.height), source=source, options=options) as writer:
        for frame in clip:
            writer.write(frame)


def clip_output(path: Path, name: str = "output", *, numbered: str = "") -> Output:
    """The output of a `ClipWriter`, for `check_paths`."""
    return Output(path, name, (*VIDEO_FORMATS, *PICTURE_OUT_SUFFIXES), "clip", numbered=numbered)


def _levels(frame: np.ndarray, number: int, white: int) -> np.ndarray:
    """A frame, uint8 or float in [0,1], as uint8 where white is 255, and else as uint16."""
    if frame.dtype == np.uint8:
        return frame if white == _WHITE else _levels(frame / np.float32(_WHITE), number, white)
    if not np.issubdtype(frame.dtype, np.floating):
        raise InputError(f"frame {number} has values of type {frame.dtype}; uint8 or float in [0,1] is needed.")
    if not np.isfinite(frame).all():
        raise InputError(f"frame {number} holds values that are not finite, so it cannot be written.")
    levels: np.ndarray = np.rint(frame.clip(0, 1) * white)
    return levels.astype(np.uint8 if white == _WHITE else np.uint16)


class _Sink(Protocol):
    """Where frames go. open, write..., then finish or discard; discard may be called at any time after open.

    white: the level of full white, 255 in uint8 frames and more in uint16 frames.
    """

    @property
    def white(self) -> int: ...

    def open(self) -> None: ...

    def write(self, number: int, frame: np.ndarray, timestamp: Fraction | None) -> None: ...

    def finish(self) -> None: ...

    def discard(self) -> None: ...


class _Staged:
    """Where a sink writes until it is finished."""

    white = _WHITE

    def __init__(self, path: Path) -> None:
        self._path = path
        self._staging: Staging | None = None

    @property
    def _place(self) -> Staging:
        if self._staging is None:
            raise InputError(f"{self._path}: the writer is not open. Use ClipWriter in a `with` statement.")
        return self._staging

    def open(self) -> None:
        self._staging = Staging(self._path)

    def finish(self) -> None:
        self._place.commit()

    def discard(self) -> None:
        if self._staging is not None:
            self._staging.discard()


class _FolderSink(_Staged):
    """000000.png, 000001.png, ... in a folder that is new or empty."""

    def open(self) -> None:
        self._staging = Staging(self._path, folder=True, inside=self._path.is_dir())

    def write(self, number: int, frame: np.ndarray, timestamp: Fraction | None) -> None:  # noqa: ARG002
        write_picture(self._place.path / f"{number:06d}.png", frame)


class _PictureSink(_Staged):
    """A single PNG or JPEG."""

    def write(self, number: int, frame: np.ndarray, timestamp: Fraction | None) -> None:  # noqa: ARG002
        if number > 0:
            raise InputError(
                f"{self._path}: a picture holds one frame, but the clip has more. Use {', '.join(VIDEO_FORMATS)}, "
                "or no suffix for a folder of PNGs."
            )
        write_picture(self._place.path, frame)


class _VideoSink(_Staged):
    """A video in MP4, MOV or Matroska, with the source's sound."""

    def __init__(
        self, path: Path, fps: Fraction, size: tuple[int, int], source: TimedClip | None, options: VideoOptions
    ) -> None:
        super().__init__(path)
        self._fps = Fraction(fps)
        self._size = size
        self._source = source
        self._options = options
        self._bits = 16 if isinstance(source, VideoClip) and source.deep and options.keeps_depth else 8
        self._format = VIDEO_FORMATS[path.suffix.lower()]
        self._plan = plan_streams(source, self._format) if isinstance(source, VideoClip) else ()
        check_codec(path, options, size, self._bits, self._fps)
        self._pixel_format = CODECS[options.codec].pixel_format(size, self._bits)
        self.white = white_level(self._bits, self._pixel_format)
        self._output: OutputContainer | None = None
        self._carrier: Carrier | None = None

    def open(self) -> None:
        import av

        super().open()
        self._times, self._time_base = _schedule(self._source, self._fps)
        self._last_pts = -1
        self._output = output = av.open(
            str(self._place.path),
            "w",
            format=self._format,
            container_options={"fflags": "+bitexact", "movflags": "+faststart"},
        )
        encoder = CODECS[self._options.codec].encoder
        self._stream = cast("VideoStream", output.add_stream(encoder, rate=self._fps))
        context = self._stream.codec_context
        aspect = None if self._source is None else self._source.sample_aspect_ratio
        set_up(context, self._options, self._size, self._bits, aspect)
        context.time_base = self._time_base
        self._to_encoder = EncoderFrames(self._size, self._bits, self._pixel_format)
        if isinstance(self._source, VideoClip):
            self._carrier = Carrier(self._source, output, self._plan)

    def write(self, number: int, frame: np.ndarray, timestamp: Fraction | None) -> None:
        if timestamp is None:
            timestamp = self._time_of(number)
        picture = self._to_encoder(frame)
        # The container would refuse times that do not increase, which some broken sources have.
        self._last_pts = max(round(timestamp / self._time_base), self._last_pts + 1)
        picture.pts, picture.time_base = self._last_pts, self._time_base
        self._mux(picture)
        if self._carrier is not None:
            self._carrier.advance(timestamp)

    def _time_of(self, number: int) -> Fraction:
        if self._times is None or self._source is None:
            return number / self._fps
        if number >= len(self._times):
            raise InputError(
                f"{self._path}: frame {number} has no time, because {self._source.path} has {len(self._times)} "
                "frames only. Write as many frames as the source has, or give each its time."
            )
        return self._times[number]

    def _mux(self, picture: VideoFrame | None) -> None:
        if self._output is not None:
            self._output.mux(self._stream.encode(picture))

    def finish(self) -> None:
        self._mux(None)
        if self._carrier is not None:
            self._carrier.finish()
            self._carrier.close()
        if self._output is not None:
            self._output.close()
        super().finish()

    def discard(self) -> None:
        import av

        if self._carrier is not None:
            self._carrier.close()
        if self._output is not None:
            # Closing writes the trailer, which may fail for the very reason that brought us here.
            with contextlib.suppress(av.error.FFmpegError):
                self._output.close()
        super().discard()


def _timed(source: Clip | None) -> TimedClip | None:
    """The source, if its frames have times of their own."""
    if isinstance(source, VideoClip) or (isinstance(source, PictureClip) and source.animated):
        return source
    return None


def _schedule(source: TimedClip | None, fps: Fraction) -> tuple[tuple[Fraction, ...] | None, Fraction]:
    """Presentation times of the frames (None: frame number over fps) and the tick to write them in, in seconds.

    A source whose times follow a constant rate within one of its ticks (and a quarter of a frame) is put back on the
    exact grid: Matroska, for example, rounds to milliseconds.
    """
    tick = Fraction(1, fps.numerator * math.ceil(_MIN_TICKS / fps.numerator))
    if source is None:
        return None, tick
    times = source.timestamps
    grid = tuple(times[0] + number / fps for number in range(len(times)))
    tolerance = min(source.time_base, 1 / (4 * fps))
    if all(abs(time - exact) <= tolerance for time, exact in zip(times, grid, strict=True)):
        return grid, tick
    return times, source.time_base
