"""What happens to a source's streams besides its picture: they are copied, encoded or left out.

This is decided before any work. A container accepts less than it claims to, and not all that it accepts can be read
from it again. So each stream is tried: its first packets are written to a file in memory, which is then read back.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ..base.errors import InputError
from .audio import AAC_RATES, can_encode
from .carried import Carried, is_cover

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.layout import AudioLayout
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

    from .reader import VideoClip

log = logging.getLogger(__name__)

_TRIED = 8  # packets of each stream
_LOOKED_THROUGH = 4000  # packets: a stream that has not begun by then counts as empty
# The layout that FFmpeg assumes for so many channels without names.
_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_LAYOUTS |= {16: "hexadecagonal", 24: "22.2"}
_KINDS = {"audio": "sound", "video": "further picture", "subtitle": "subtitles", "attachment": "attached file"}
_CONTAINERS = {"mp4": "MP4", "mov": "MOV", "matroska": "Matroska"}
_KEPT_TAGS = ("language", "title", "filename", "mimetype")


@dataclass
class _Beginning:
    """How a stream begins: its first packets, and its first frame of sound that can be decoded."""

    packets: list[Packet[Stream]] = field(default_factory=list)
    frame: AudioFrame | None = None


def plan_streams(source: VideoClip, container_format: str) -> tuple[Carried, ...]:
    """Decide about every stream of the source but its picture, and warn once of what cannot be kept.

    container_format: FFmpeg's name of the output's format. Sound is copied if possible, else encoded to AAC; other
    streams are copied or left out. Raises InputError if the file cannot be read.
    """
    import av

    if container_format not in source.plans:
        try:
            with contextlib.closing(av.open(str(source.path.resolve()))) as container:
                others = _beside_the_picture(container)
                beginnings = _beginnings(container, others)
                found = {stream: _decided(container_format, stream, beginnings[stream.index]) for stream in others}
                _report(source.path, container_format, found)
        except (av.error.FFmpegError, OSError) as error:
            raise InputError(f"{source.path}: cannot be read again ({error.strerror}). Is it still there?") from error
        source.plans[container_format] = tuple(carried for carried in found.values() if carried is not None)
    return source.plans[container_format]


def add_copy(output: OutputContainer, stream: Stream, carried: Carried) -> Stream | None:
    """Add a stream for packets that are not decoded; None if the header holds all of it (covers in Matroska)."""
    if carried.cover is not None and output.format.name == "matroska":
        kind = stream.codec_context.name.replace("mjpeg", "jpeg")
        output.add_attachment(f"cover.{kind}", f"image/{kind}", carried.cover)
        return None
    # PyAV looks for a video encoder of that name unless it is told that none is needed.
    options = {} if stream.codec_context is None else {"opaque": True}
    copy = output.add_stream_from_template(stream, **options)
    if carried.layout is not None:
        cast("AudioStream", copy).codec_context.layout = carried.layout
    if carried.cover is not None:
        copy.disposition = int(stream.disposition)  # type: ignore[assignment]  # all versions of PyAV take an int
    copy_tags(stream, copy)
    return copy


def copy_tags(source: Stream, target: Stream) -> None:
    """The language and the title of a stream, and the name of an attached file."""
    for key in _KEPT_TAGS:
        if key in source.metadata:
            target.metadata[key] = source.metadata[key]
    if "title" not in source.metadata and "name" in source.metadata:  # as MP4 calls it
        target.metadata["title"] = source.metadata["name"]


def _beside_the_picture(container: InputContainer) -> list[Stream]:
    """All streams but the first video and those that only serve the container itself."""
    picture = next((stream for stream in container.streams.video if not is_cover(stream)), None)
    return [stream for stream in container.streams if stream is not picture and not _is_bookkeeping(stream)]


def _is_bookkeeping(stream: Stream) -> bool:
    """Chapters and time code, which are tracks in MP4, too; they are carried as chapters and tags."""
    return stream.type == "data" and getattr(stream, "name", None) in (None, "bin_data")


def _beginnings(container: InputContainer, streams: Sequence[Stream]) -> dict[int, _Beginning]:
    """The beginning of each stream, by index. Sound is waited for; subtitles and the like are not."""
    found = {stream.index: _Beginning() for stream in streams}
    awaited = {stream.index for stream in streams if stream.type == "audio"}
    wanted = [stream for stream in streams if stream.type in ("audio", "video", "subtitle")]
    for number, packet in enumerate(_readable(container, wanted)):
        beginning = found[packet.stream.index]
        if len(beginning.packets) < _TRIED:
            if packet.stream.type == "audio" and beginning.frame is None:
                beginning.frame = _first_frame(packet)
            beginning.packets.append(packet)
        else:
            awaited.discard(packet.stream.index)
        if not awaited or number > _LOOKED_THROUGH:
            break
    return found


def _readable(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Stream]]:
    """Packets that are not empty, up to the end of the file or to where it is damaged."""
    import av

    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(list(streams)) if streams else ():
            if packet.size:
                yield packet


def _first_frame(packet: Packet[Stream]) -> AudioFrame | None:
    """The first frame of sound in the packet; None if it cannot be decoded."""
    import av

    if packet.stream.codec_context is None:
        return None
    try:
        return cast("AudioFrame | None", next(iter(packet.decode()), None))
    except av.error.FFmpegError:
        return None


def _decided(container_format: str, stream: Stream, beginning: _Beginning) -> Carried | None:
    """How this stream is carried; None if it cannot be."""
    if stream.type == "audio":
        return _sound(container_format, stream, beginning)
    if stream.type not in ("video", "subtitle", "attachment"):
        return None
    cover = bytes(beginning.packets[0]) if is_cover(stream) and beginning.packets else None
    carried = Carried(stream.index, cover=cover)
    return carried if _holds(container_format, stream, carried, beginning) else None


def _sound(container_format: str, stream: Stream, beginning: _Beginning) -> Carried | None:
    """Copied if possible, else encoded; None if neither works or the stream is empty."""
    if not beginning.packets:
        return None
    copied = (carried for carried in _copies(stream) if _holds(container_format, stream, carried, beginning))
    encoded = _encodings(stream, beginning.frame)
    # The standard allows PCM in MP4, but hardly any player supports it.
    little_known = container_format == "mp4" and stream.codec_context is not None and _is_pcm(stream)
    choices = (encoded, copied) if little_known else (copied, encoded)
    return next(itertools.chain(*choices), None)


def _is_pcm(stream: Stream) -> bool:
    return stream.codec_context.name.startswith("pcm_")


def _copies(stream: Stream) -> Iterator[Carried]:
    """A copy with names for the channels if the source has none, and a plain copy."""
    if stream.codec_context is not None:
        layout = cast("AudioStream", stream).layout
        if not _is_named(layout) and layout.nb_channels in _LAYOUTS:
            yield Carried(stream.index, _LAYOUTS[layout.nb_channels])
    yield Carried(stream.index)


def _is_named(layout: AudioLayout) -> bool:
    """Whether it says which channel is which."""
    return not layout.name.endswith(" channels")


def _encodings(stream: Stream, frame: AudioFrame | None) -> Iterator[Carried]:
    """AAC with the channels as they are or, if AAC has no such layout, with the usual ones."""
    if frame is None:
        return
    rate = frame.sample_rate if frame.sample_rate in AAC_RATES else 48000
    usual = _LAYOUTS.get(frame.layout.nb_channels)
    for layout in (frame.layout.name if _is_named(frame.layout) else usual, usual):
        if layout is not None and can_encode(layout, rate):
            yield Carried(stream.index, layout, rate)


def _holds(container_format: str, stream: Stream, carried: Carried, beginning: _Beginning) -> bool:
    """Whether the container takes the beginning of the stream and the same kind of stream is read back."""
    import av

    file = io.BytesIO()
    try:
        with contextlib.closing(av.open(file, "w", format=container_format)) as trial:
            copy = add_copy(trial, stream, carried)
            if copy is not None:
                _mux(trial, beginning.packets, copy)
            trial.start_encoding()
            trial.close()
        return not beginning.packets or copy is None or _same_kind(file.getvalue(), stream)
    except (ValueError, av.error.FFmpegError):
        return False


def _mux(output: OutputContainer, packets: Sequence[Packet[Stream]], stream: Stream) -> None:
    for packet in packets:
        if packet.dts is None:
            packet.dts = packet.pts
        packet.stream = stream
        output.mux(packet)


def _same_kind(file: bytes, stream: Stream) -> bool:
    """Whether the only stream of a file is of the same codec, and its sound of the same channels and rate."""
    import av

    with contextlib.closing(av.open(io.BytesIO(file))) as container:
        found = container.streams[0].codec_context if container.streams else None
        before = stream.codec_context
        if found is None or before is None or found.name != before.name:
            return False
        if stream.type != "audio":
            return True
        one, other = cast("AudioCodecContext", found), cast("AudioCodecContext", before)
        return (one.layout.nb_channels, one.sample_rate) == (other.layout.nb_channels, other.sample_rate)


def _report(path: Path, container_format: str, found: Mapping[Stream, Carried | None]) -> None:
    """Warn once of what is encoded and what is left out."""
    name = _CONTAINERS[container_format]
    encoded = [stream for stream, carried in found.items() if carried is not None and carried.rate is not None]
    lost = [_described(stream) for stream, carried in found.items() if carried is None]
    if encoded:
        codecs = ", ".join(sorted({stream.codec_context.name for stream in encoded}))
        advice = "" if container_format == "matroska" else "; .mkv keeps most kinds of sound as they are"
        log.warning("%s: its sound (%s) is encoded to AAC, because %s is not made for it%s", path, codecs, name, advice)
    if lost:
        advice = "" if container_format == "matroska" else "; .mkv holds more"
        log.warning("%s: left out, because %s cannot hold it: %s%s", path, name, ", ".join(lost), advice)


def _described(stream: Stream) -> str:
    """What a stream is, in words: its kind, codec or file name, and language."""
    codec = stream.codec_context.name if stream.codec_context is not None else getattr(stream, "name", None)
    kind = "cover picture" if is_cover(stream) else _KINDS.get(stream.type, "data")
    facts = [str(fact) for fact in (codec, stream.metadata.get("language")) if fact]
    return f"{kind} ({', '.join(facts)})" if facts else kind
