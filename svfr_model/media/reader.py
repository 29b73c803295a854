"""Videos, pictures and folders of pictures as clips that can be read more than once."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import InputError
from .carried import Carried, is_cover
from .convert import RgbReader, display_matrix
from .deinterlace import deinterlaced
from .ending import missing_bytes
from .options import ReadOptions
from .pictures import FOLDER_FPS, PictureClip, check_file, is_picture

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

log = logging.getLogger(__name__)

_HDR_TRANSFERS = (16, 18)  # PQ and HLG
_JUMP = Fraction(1)  # seconds; times that jump back further start anew, smaller jumps are disorder


def open_clip(
    path: str | os.PathLike[str], options: ReadOptions | None = None, *, deep: bool = False
) -> VideoClip | PictureClip:
    """A video file, a single picture or a folder of pictures as a clip of (H,W,3) RGB frames, uint8 if not deep.

    Both kinds of clip have fps, width, height, audio, timestamps and len(). options, deep: see `VideoClip`; pictures
    are never deep. Raises InputError, naming the file, the reason and what to do, for what cannot be read, and for
    pictures that are to be deinterlaced.
    """
    path, options = Path(path), options or ReadOptions()
    if not path.is_dir():
        check_file(path)
        if not is_picture(path):
            return VideoClip(path, options, deep=deep)
    if options.deinterlace:
        raise InputError(f"{path}: only videos can be deinterlaced, not pictures. Leave out --deinterlace.")
    return PictureClip(path)


@dataclass
class _Losses:
    """What one iteration found. stored: frames to show, by the packets; damaged: numbers of the patched frames."""

    stored: int = 0
    damaged: list[int] = field(default_factory=list)


class VideoClip:
    """A video file as a clip: each iteration decodes it anew and holds one frame at a time.

    Frames are (H,W,3) uint8 RGB, upright (the display matrix is applied), in full range:

    - colour matrix and range as tagged; without a tag BT.709 from 1280 wide or above 576 high, BT.601 below, limited
      range for YUV and full range for grey;
    - more than 8 bits are reduced to 8, unless the clip is deep: then frames are float32 in [0,1]; grey is expanded;
      alpha is dropped with a warning; HDR is not tone-mapped, with a warning;
    - interlaced frames are deinterlaced where the options say so, and otherwise used as they are, with a warning.

    Attributes: path; fps (the average rate); width, height (upright, in pixels); sample_aspect_ratio (pixel width
    over height, 1 if unknown); deep (whether frames are float32 in [0,1]); time_base (one tick of the stream in
    seconds); audio (whether the file has any); stated_length (number of frames according to the header, 0 if it does
    not say); origin (seconds at which the earliest of the file's video and audio streams begins, as far as is known
    before the timestamps are); plans (container format -> what happens to the other streams in it, once `plan_streams`
    has decided).
    """

    def __init__(
        self, path: str | os.PathLike[str], options: ReadOptions | None = None, *, deep: bool = False
    ) -> None:
        """Read the file's headers and decode its first frame. Raises InputError if this is not possible.

        deep: keep all bits of a source that has more than 8 in a channel.
        """
        self.path = Path(path)
        self._options = options or ReadOptions()
        self._timestamps: tuple[Fraction, ...] | None = None
        self.plans: dict[str, tuple[Carried, ...]] = {}
        with self._opened() as container:
            stream = self._video_stream(container)
            self.audio = len(container.streams.audio) > 0
            self.fps: Fraction = stream.average_rate or stream.guessed_rate or FOLDER_FPS
            self.time_base: Fraction = stream.time_base or 1 / self.fps
            self.origin = _origin([stream, *container.streams.audio])
            self.stated_length = stream.frames
            ratio = stream.sample_aspect_ratio or Fraction(1)
            # The alpha of VP8 and VP9 is a second picture that the decoder does not show.
            tagged_alpha = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
        frames = self._decoded(_Losses())
        first = next(frames, None)
        frames.close()
        if first is None:
            raise InputError(f"{self.path}: no frame of the video can be decoded. Export it again.")
        self._stored_size = (first.width, first.height)
        self.deep = deep and max(component.bits for component in first.format.components) > 8
        turned = display_matrix(first)[0] == 0
        self.width, self.height = self._stored_size[::-1] if turned else self._stored_size
        self.sample_aspect_ratio: Fraction = 1 / ratio if turned else ratio
        self._warn_about(first, tagged_alpha)

    @property
    def timestamps(self) -> tuple[Fraction, ...]:
        """Presentation time of every frame in seconds after the origin.

        They are known after the first complete iteration; if needed earlier, the file is decoded once for them.
        """
        if self._timestamps is None:
            for _ in self._timed():
                pass
        return self._timestamps or ()

    def __len__(self) -> int:
        return len(self.timestamps)

    def __iter__(self) -> Iterator[np.ndarray]:
        to_rgb = RgbReader(deep=self.deep)
        yield from map(to_rgb, self._shown())

    def picked(self, wanted: Callable[[int], bool]) -> Iterator[np.ndarray | None]:
        """See `base.clip.picked`: frames that are not wanted are decoded, but not turned into RGB."""
        to_rgb = RgbReader(deep=self.deep)
        for number, frame in enumerate(self._shown()):
            yield to_rgb(frame) if wanted(number) else None

    def _shown(self) -> Iterator[VideoFrame]:
        frames = self._of_one_size()
        return deinterlaced(frames) if self._options.deinterlace else frames

    def _of_one_size(self) -> Iterator[VideoFrame]:
        for number, frame in enumerate(self._timed()):
            if (frame.width, frame.height) != self._stored_size:
                raise InputError(
                    f"{self.path}: frame {number} has {frame.width}x{frame.height} pixels, the first one "
                    f"{self._stored_size[0]}x{self._stored_size[1]}. Re-encode the video to one size."
                )
            yield frame

    def _timed(self) -> Iterator[VideoFrame]:
        """All decoded frames; after the last one their times are known."""
        stamps: list[Fraction | None] = []
        losses = _Losses()
        for frame in self._decoded(losses):
            if frame.is_corrupt:
                losses.damaged.append(len(stamps))
            stamps.append(None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base)
            yield frame
        if self._timestamps is None:
            self._warn_about_losses(len(stamps), losses)
            times = _filled(stamps, 1 / self.fps)
            # Frames may lie before the beginning stated in the header, as in carelessly cut Matroska files.
            self.origin = min(self.origin, times[0])
            self._timestamps = tuple(time - self.origin for time in times)

    def _decoded(self, losses: _Losses) -> Generator[VideoFrame, None, None]:
        import av

        number = 0
        with self._opened() as container:
            stream = self._video_stream(container)
            stream.thread_type = "AUTO"
            try:
                for packet in container.demux(stream):
                    # An edit list leaves frames out, and AVI says by an empty one that the last is shown longer.
                    losses.stored += packet.size > 0 and not packet.is_discard
                    for frame in packet.decode():
                        yield frame
                        number += 1
            except av.error.FFmpegError as error:
                raise InputError(
                    f"{self.path}: frame {number} cannot be decoded ({error.strerror}). The file is damaged: repair or "
                    "re-encode it, or cut it before that frame."
                ) from error

    def _opened(self) -> InputContainer:
        import av

        try:
            container = av.open(os.path.abspath(self.path))
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(
                f"{self.path}: not a video that can be read ({error.strerror}). Convert it to MP4, MOV or MKV."
            ) from error
        if container.format.name == "tty":  # FFmpeg's reader of text files as terminal art
            container.close()
            raise InputError(f"{self.path}: a text file, not a video. Give a video, a picture or a folder.")
        return container

    def _video_stream(self, container: InputContainer) -> VideoStream:
        for stream in container.streams.video:
            if not is_cover(stream):
                if stream.codec_context is None:
                    raise InputError(f"{self.path}: there is no decoder for its video. Convert it to H.264.")
                return stream
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise InputError(f"{self.path}: no video stream (streams found: {kinds}). Give a file with pictures in it.")

    def _warn_about_losses(self, count: int, losses: _Losses) -> None:
        """Warn of what the decoder lost without failing."""
        missing = missing_bytes(self.path)
        if missing:
            log.warning(
                "%s: the file is cut short: at least %d bytes are missing, and %d frames could be read. Copy it again.",
                self.path,
                missing,
                count,
            )
        elif count < min(self.stated_length, losses.stored):  # either alone may count what is never shown by itself
            log.warning("%s: only %d of %d frames could be decoded", self.path, count, losses.stored)
        if losses.damaged:
            log.warning("%s: damaged frames, patched by the decoder: %s", self.path, losses.damaged)

    def _warn_about(self, frame: VideoFrame, tagged_alpha: bool) -> None:
        """Warn of what will be lost of the source."""
        if tagged_alpha or any(component.is_alpha for component in frame.format.components):
            log.warning("%s: the alpha channel is dropped", self.path)
        if int(getattr(frame, "color_trc", 2)) in _HDR_TRANSFERS:
            log.warning("%s: this HDR video is read without tone mapping and will look flat", self.path)
        if frame.interlaced_frame and not self._options.deinterlace:
            log.warning("%s: its frames are interlaced and used as they are; --deinterlace removes combs", self.path)


def _origin(streams: Sequence[Stream]) -> Fraction:
    """When the earliest of the streams begins, in seconds; 0 if none says."""
    starts = [
        stream.start_time * stream.time_base
        for stream in streams
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0))


def _filled(stamps: Sequence[Fraction | None], step: Fraction) -> list[Fraction]:
    """A time for every frame, in seconds: a frame without one follows the frame before it by a step.

    Frames before the first with a time are counted back from it; if none has a time, they are counted from 0. Times
    that jump back by more than a second, as where clips were joined, go on a step after the last; smaller jumps are
    disorder, and stay.
    """
    first, stated = next(((index, stamp) for index, stamp in enumerate(stamps) if stamp is not None), (0, Fraction(0)))
    begin = stated - first * step
    times: list[Fraction] = []
    skipped = Fraction(0)
    for index, stamp in enumerate(stamps):
        following = times[-1] + step if times else begin
        time = following if stamp is None else stamp + skipped
        if index > first and time < times[-1] - _JUMP:
            skipped += following - time
            time = following
        times.append(time)
    return times
