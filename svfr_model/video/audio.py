"""The source's sound carried into the written clip: copied packet by packet, or re-encoded to AAC."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from ..errors import InputError
from .reader import VideoClip

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet

log = logging.getLogger(__name__)

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_AAC_BITS_PER_CHANNEL = 96000


class AudioFeed:
    """Carries every audio stream of the source into an output container, in step with its video.

    Times are kept relative to the source's origin, so sound and picture stay together whichever starts first.
    """

    def __init__(self, source: VideoClip, output: OutputContainer) -> None:
        """Add the output streams; must happen before the first video packet is written."""
        import av

        self._path = source.path
        self._origin = source.origin
        self._output = output
        self._input = av.open(str(source.path.resolve()))
        self._encoders: dict[int, AudioStream] = {}
        self._copies: dict[int, AudioStream] = {}
        for stream in self._input.streams.audio:
            self._add(stream)
        self._packets = self._demuxed()
        self._waiting: Packet | None = None

    def advance(self, until: Fraction | None) -> None:
        """Write the packets that begin before the given second after the origin; None means all that are left."""
        import av

        try:
            while True:
                packet = self._waiting or next(self._packets, None)
                self._waiting = packet
                if packet is None or (until is not None and self._time(packet) > until):
                    return
                self._write(packet)
                self._waiting = None
        except av.error.FFmpegError as error:
            raise InputError(
                f"{self._path}: its sound cannot be carried over ({error.strerror}). Repair it, or remove the sound."
            ) from error

    def finish(self) -> None:
        """Write what is left and flush the encoders."""
        self.advance(None)
        for encoder in self._encoders.values():
            self._output.mux(encoder.encode(None))

    def close(self) -> None:
        """Let go of the source file."""
        self._packets.close()
        self._input.close()

    def _add(self, stream: AudioStream) -> None:
        """Copy where the container can hold the codec, else encode to AAC."""
        if can_hold(self._output.format.name, stream):
            self._copies[stream.index] = _copy_of(stream, self._output)
            return
        log.info("%s: %s sound is re-encoded to AAC for this container", self._path, stream.codec_context.name)
        rate = stream.rate if stream.rate in _AAC_RATES else 48000
        encoder = self._output.add_stream("aac", rate=rate)
        encoder.codec_context.layout = stream.layout.name
        encoder.codec_context.bit_rate = _AAC_BITS_PER_CHANNEL * stream.channels
        self._encoders[stream.index] = encoder

    def _demuxed(self) -> Iterator[Packet]:
        yield from self._input.demux(list(self._input.streams.audio))

    def _time(self, packet: Packet) -> Fraction:
        """When the packet begins, in seconds after the origin; packets that flush a decoder come at once."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        return stamp * packet.time_base - self._origin if stamp is not None else Fraction(0)

    def _write(self, packet: Packet) -> None:
        index = packet.stream.index
        if index in self._encoders:
            for frame in packet.decode():
                if frame.pts is not None:
                    frame.pts -= round(self._origin / frame.time_base)
                self._output.mux(self._encoders[index].encode(frame))
        elif packet.dts is not None:
            shift = round(self._origin / packet.time_base)
            packet.pts = packet.pts - shift if packet.pts is not None else None
            packet.dts -= shift
            packet.stream = self._copies[index]
            self._output.mux(packet)


def can_hold(container_format: str, stream: AudioStream) -> bool:
    """Whether FFmpeg can store this stream as it is in such a container.

    Tried out by writing a header into memory: what the container claims to support is more than it accepts.
    """
    import av

    with contextlib.closing(av.open(io.BytesIO(), "w", format=container_format)) as trial:
        try:
            _copy_of(stream, trial)
            trial.start_encoding()
        except (ValueError, av.error.FFmpegError):
            return False
    return True


def _copy_of(stream: AudioStream, output: OutputContainer) -> AudioStream:
    """A stream of the same codec parameters, for packets that are not decoded."""
    if hasattr(output, "add_stream_from_template"):
        return output.add_stream_from_template(stream)
    return output.add_stream(template=stream)  # PyAV before 14
