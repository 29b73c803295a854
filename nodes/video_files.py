"""VIDEO as a clip that is read as a stream, and a written file as VIDEO: no file is ever held whole."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import folder_paths
import numpy as np
from comfy_api.latest import Input, InputImpl, Types
from torch import Tensor

from ..svfr_model.base.clip import Clip
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.pixels import as_uint8
from ..svfr_model.files.mapped import MappedMemory
from ..svfr_model.files.work import Parts, WorkFolder, remove_abandoned, scratch
from ..svfr_model.media import ClipWriter, VideoClip
from ..svfr_model.media.codecs import CODECS
from ..svfr_model.media.options import ReadOptions, VideoOptions
from .images import to_clip

KEPT_DAYS = 7.0
"""How long the work of a killed run waits for the same prompt."""


@dataclass(frozen=True)
class Source:
    """Frames, and what goes with them.

    carried: the file whose sound and further streams the result takes over, or None. times: of each frame in seconds,
    or None for those of `carried`.
    """

    frames: Clip
    carried: VideoClip | None
    times: Sequence[Fraction] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.frames.width, self.frames.height

    def writer(self, target: Path, options: VideoOptions) -> ClipWriter:
        """For a result of the same size and rate."""
        return ClipWriter(target, self.frames.fps, self.size, source=self.carried, options=options)

    def time(self, number: int) -> Fraction | None:
        """When a frame is shown; None where the writer knows."""
        return None if self.times is None else self.times[number]


@contextmanager
def opened(video: Input.Video, reading: ReadOptions, *, deep: bool) -> Iterator[Source]:
    """The video within this. deep: see `VideoClip`. Raises InputError for one that cannot be read."""
    with ExitStack() as stack:
        if isinstance(video, InputImpl.VideoFromComponents):
            yield _components(video, stack)
            return
        clip = VideoClip(_file(video, stack), reading, deep=deep)
        start, duration = video.get_active_trim_window()
        yield Source(clip, clip) if (start, duration) == (0, 0) else _trimmed(video, clip, stack)


@contextmanager
def frames_of(given: Tensor | Input.Video, fps: Fraction) -> Iterator[Clip]:
    """The frames of IMAGE, at this rate, or of VIDEO, within this; its sound is left alone."""
    with ExitStack() as stack:
        if isinstance(given, Tensor):
            yield replace(to_clip(given), fps=fps)
        elif isinstance(given, InputImpl.VideoFromComponents):
            parts = given.get_components()
            yield replace(to_clip(parts.images), fps=Fraction(parts.frame_rate))
        else:
            clip = VideoClip(_file(given, stack), ReadOptions())
            yield clip if given.get_active_trim_window() == (0, 0) else _shown(given, clip)[0]


def new_file(options: VideoOptions, stem: str) -> Path:
    """A name in ComfyUI's folder for temporary files that nothing has yet; Save Video copies from there."""
    return unused_file(stem, CODECS[options.codec].suffixes[0])


@contextmanager
def work_memory(name: str, parts: Parts | None) -> Iterator[MappedMemory]:
    """Where crops and latents of a video lie: in ComfyUI's output folder, as the temporary one is wiped at its start.

    name, parts: of the work, with which the next run goes on after a kill, see `WorkFolder`; no parts for work that no
    other can go on with. What nobody has gone on with for days is removed.
    """
    folder = Path(folder_paths.get_output_directory())
    folder.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder, KEPT_DAYS, lambda known: "node" in known)
    with ExitStack() as stack:
        memory = None if parts is None else _kept(stack, folder / name, parts)
        yield stack.enter_context(scratch(folder)) if memory is None else memory


def _kept(stack: ExitStack, target: Path, parts: Parts) -> MappedMemory | None:
    """The memory of a work folder; None where another ComfyUI with this output folder is at work on the same."""
    try:
        return stack.enter_context(WorkFolder(target, parts))
    except InputError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return None
        raise


def to_video(path: Path) -> Input.Video:
    """VIDEO of a file."""
    return InputImpl.VideoFromFile(str(path))


@dataclass(frozen=True)
class EightBits:
    """A clip's frames as uint8."""

    deep: Clip

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(as_uint8, self.deep)


@dataclass(frozen=True)
class _Span:
    """Successive frames of a clip: from first, count of them."""

    whole: Clip
    first: int
    count: int

    @property
    def fps(self) -> Fraction:
        return self.whole.fps

    @property
    def width(self) -> int:
        return self.whole.width

    @property
    def height(self) -> int:
        return self.whole.height

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[np.ndarray]:
        for number, frame in enumerate(self.whole):
            if number >= self.first + self.count:
                return
            if number >= self.first:
                yield frame


def _trimmed(video: Input.Video, clip: VideoClip, stack: ExitStack) -> Source:
    """The frames that ComfyUI shows of it. The sound is cut by ComfyUI."""
    span, times = _shown(video, clip)
    return Source(span, _carried(video, stack, deep=clip.deep), times)


def _shown(video: Input.Video, clip: VideoClip) -> tuple[_Span, list[Fraction]]:
    """The frames between a trimmed video's ends, and when each is shown."""
    start, duration = video.get_active_trim_window()
    times = [time + clip.origin for time in clip.timestamps]
    shown = [number for number, time in enumerate(times) if time >= start and (not duration or time < start + duration)]
    if not shown:
        raise InputError(f"{clip.path}: the trimmed video has no frame. Move the start or lengthen the duration.")
    first = shown[0]
    return _Span(clip, first, len(shown)), [times[number] - times[first] for number in shown]


def _components(video: Input.Video, stack: ExitStack) -> Source:
    """The frames as they are, with the sound as ComfyUI encodes it."""
    parts = video.get_components()
    clip = replace(to_clip(parts.images), fps=Fraction(parts.frame_rate))
    carried = _carried(video, stack) if parts.audio is not None else None
    return Source(clip, carried, [number / clip.fps for number in range(len(clip))])


def _carried(video: Input.Video, stack: ExitStack, *, deep: bool = False) -> VideoClip:
    """A file written by ComfyUI, for its sound."""
    path = stack.enter_context(_temporary(".mp4"))
    video.save_to(str(path), format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264)
    return VideoClip(path, deep=deep)


def _file(video: Input.Video, stack: ExitStack) -> Path:
    """The video's own file, or a copy of one that is in memory."""
    source = video.get_stream_source()
    if isinstance(source, str):
        return Path(source)
    path = stack.enter_context(_temporary(".mkv"))
    path.write_bytes(source.getbuffer())
    return path


@contextmanager
def _temporary(suffix: str) -> Iterator[Path]:
    """A name that nothing has yet; what comes to have it is removed in the end."""
    path = unused_file("SVFR_source", suffix)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def unused_file(stem: str, suffix: str) -> Path:
    """A name in ComfyUI's folder for temporary files that nothing has yet."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stem}_{uuid.uuid4().hex[:12]}{suffix}"
