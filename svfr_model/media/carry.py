"""Carrying the source's sound, subtitles and further streams into the written clip, besides its picture."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from .audio import SoundEncoder
from .carried import Carried
from .plan import add_copy, copy_tags
from .reader import VideoClip

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

log = logging.getLogger(__name__)

_OWN_TAGS = ("encoder", "major_brand", "minor_version", "compatible_brands", "duration")
"""Tags that describe the file they were found in, not what it shows."""
_BEYOND = 1
"""Seconds that sound may begin after the end stated in the source's header. Later times are broken, and would be filled
up with hours of silence."""


class Carrier:
    """Carries streams of the source into an output container, in step with its video.

    Times are kept relative to the source's origin, so sound and picture stay together whichever starts first. What
    matters is the picture, so damaged sound never makes the file fail: what cannot be carried over is left out, and
    `finish` says how much that was. Only the output's own errors (such as a full disk) are raised, as OSError.
    """

    def __init__(self, source: VideoClip, output: OutputContainer, plan: Sequence[Carried]) -> None:
        """Add the output streams, chapters and tags; must happen before the first video packet is written."""
        import av

        self._path = source.path
        self._origin = source.origin
        self._output = output
        self._input = av.open(str(source.path.resolve()))
        self._encoders: dict[int, SoundEncoder] = {}
        self._copies: dict[int, Stream] = {}
        length = self._input.duration
        self._length = None if length is None else Fraction(length, av.time_base) + _BEYOND
        self._timeless = self._input.format.name == "avi"  # AVI stores no times: those of sound are computed
        self._ends: dict[int, Fraction] = {}  # of the encoded sound so far, in seconds
        self._last: dict[int, int] = {}  # times of the last copied packets, in their ticks
        self._lost: list[Fraction] = []
        for carried in plan:
            self._add(carried)
        _copy_chapters_and_tags(self._input, output, self._origin)
        self._packets = self._demuxed()
        self._waiting: Packet[Stream] | None = None

    def advance(self, until: Fraction | None) -> None:
        """Write the packets that begin before the given second after the origin; None means all remaining ones."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = packet
            if packet is None or (until is not None and self._time(packet) > until):
                return
            self._waiting = None
            self._write(packet)

    def finish(self) -> None:
        """Write the rest, flush the encoders, and warn of what was lost."""
        self.advance(None)
        for encoder in self._encoders.values():
            for packet in encoder.finish():
                self._output.mux(packet)
        if self._lost:
            log.warning(
                "%s: its sound or subtitles are damaged: %d piece(s) from %.2f s to %.2f s could not be carried over",
                self._path,
                len(self._lost),
                min(self._lost),
                max(self._lost),
            )

    def close(self) -> None:
        """Close the source file."""
        self._packets.close()
        self._input.close()

    def _add(self, carried: Carried) -> None:
        stream = self._input.streams[carried.index]
        if carried.rate is not None and carried.layout is not None:
            encoder = self._encoders[stream.index] = SoundEncoder(self._output, carried.layout, carried.rate)
            copy_tags(stream, encoder.stream)
            return
        copy = add_copy(self._output, stream, carried)
        if copy is not None:
            self._copies[stream.index] = copy

    def _demuxed(self) -> Generator[Packet[Stream], None, None]:
        """The packets of the carried streams, up to the end or to where the file becomes unreadable."""
        import av

        streams = [self._input.streams[index] for index in (*self._copies, *self._encoders)]
        try:
            yield from self._input.demux(streams) if streams else ()
        except av.error.FFmpegError as error:
            log.warning("%s: its sound breaks off: the rest cannot be read (%s)", self._path, error.strerror)

    def _time(self, packet: Packet[Stream]) -> Fraction:
        """When the packet begins, in seconds after the origin; 0 for packets that flush a decoder."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        return stamp * packet.time_base - self._origin if stamp is not None else Fraction(0)

    def _write(self, packet: Packet[Stream]) -> None:
        import av

        time = self._time(packet)
        try:
            if packet.stream.index in self._encoders:
                self._encode(packet)
            elif packet.size:
                self._copy(packet)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            self._lost.append(time)

    def _encode(self, packet: Packet[Stream]) -> None:
        index = packet.stream.index
        for frame in cast("list[AudioFrame]", packet.decode()):
            self._place(index, frame)
            for encoded in self._encoders[index].encode(frame):
                self._output.mux(encoded)

    def _place(self, index: int, frame: AudioFrame) -> None:
        """Count the frame's time from the origin; a frame without one, or beyond the file's end, follows the last."""
        time = self._stated_time(frame)
        if time is None or (self._timeless and index in self._ends):
            time = self._ends.get(index, Fraction(0))
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(time * frame.sample_rate)
        self._ends[index] = time + Fraction(frame.samples, frame.sample_rate)

    def _stated_time(self, frame: AudioFrame) -> Fraction | None:
        """In seconds after the origin; None if the frame has no time, or one beyond the file's end."""
        if frame.pts is None or frame.time_base is None:
            return None
        time = frame.pts * frame.time_base - self._origin
        return None if self._length is not None and time > self._length else time

    def _copy(self, packet: Packet[Stream]) -> None:
        """Store the packet as it is. Containers want increasing times, which some sources do not have."""
        index = packet.stream.index
        following = self._last[index] + max(packet.duration or 0, 1) if index in self._last else 0
        stamp = packet.dts if packet.dts is not None else packet.pts
        shift = round(self._origin / packet.time_base)
        dts = stamp - shift if stamp is not None else following
        if index in self._last:
            dts = max(dts, self._last[index] + 1)
            if not packet.duration and packet.stream.type == "audio":  # MP4 would cut the last one off
                packet.duration = dts - self._last[index]
        packet.pts = max(packet.pts - shift, dts) if packet.pts is not None else dts
        self._last[index] = packet.dts = dts
        packet.stream = self._copies[index]
        self._output.mux(packet)


def _copy_chapters_and_tags(source: InputContainer, output: OutputContainer, origin: Fraction) -> None:
    """The title and other tags of the file, and its chapters, moved to begin at the origin."""
    output.metadata.update({key: value for key, value in source.metadata.items() if key.lower() not in _OWN_TAGS})
    if not hasattr(source, "chapters"):  # PyAV before 14
        return
    chapters = source.chapters()
    for chapter in chapters:
        if chapter["time_base"] is None:
            continue
        shift = round(origin / chapter["time_base"])
        chapter["start"], chapter["end"] = max(chapter["start"] - shift, 0), max(chapter["end"] - shift, 0)
    output.set_chapters(chapters)
