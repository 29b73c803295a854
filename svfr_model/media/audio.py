"""Encoding sound to AAC, for containers that cannot hold it as it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.filter import Graph
    from av.packet import Packet

AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""Sample rates that AAC knows, in Hz."""

_BITS_PER_CHANNEL = 96000
_FORMAT = "fltp"
# Gaps longer than this many seconds are filled with silence. Matroska rounds times by up to half a millisecond.
_GAP = 0.02


def can_encode(layout: str, rate: int) -> bool:
    """Whether the AAC encoder takes sound of these channels and this rate."""
    import av

    try:
        _set_up(av.CodecContext.create("aac", "w"), layout, rate).open()
    except (ValueError, av.error.FFmpegError):
        return False
    return True


def _set_up(context: AudioCodecContext, layout: str, rate: int) -> AudioCodecContext:
    context.layout, context.rate, context.format = layout, rate, _FORMAT
    context.bit_rate = _BITS_PER_CHANNEL * context.layout.nb_channels
    return context


class SoundEncoder:
    """Turns the decoded sound of one stream into AAC that stays in step: gaps become silence."""

    def __init__(self, output: OutputContainer, layout: str, rate: int) -> None:
        """Add the stream to the output. layout, and rate in Hz: as `can_encode` accepts them."""
        self.stream: AudioStream = output.add_stream("aac", rate=rate)
        _set_up(self.stream.codec_context, layout, rate)
        self._target = (layout, rate)
        self._graph: Graph | None = None
        self._key: tuple[object, ...] | None = None

    def encode(self, frame: AudioFrame) -> Iterator[Packet[AudioStream]]:
        """The packets that a frame completes. Its time must be set: gaps are measured by it."""
        key = (frame.sample_rate, frame.format.name, frame.layout.nb_channels, frame.time_base)
        if self._graph is None or key != self._key:
            yield from self._drained()
            self._graph, self._key = self._filter(frame), key
        self._graph.push(frame)
        yield from self._encoded(self._graph)

    def finish(self) -> Iterator[Packet[AudioStream]]:
        """The last packets."""
        if self._graph is None:
            return
        yield from self._drained()
        yield from self.stream.encode(None)

    def _drained(self) -> Iterator[Packet[AudioStream]]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._encoded(self._graph)

    def _encoded(self, graph: Graph) -> Iterator[Packet[AudioStream]]:
        for frame in _pulled(graph):
            yield from self.stream.encode(frame)

    def _filter(self, frame: AudioFrame) -> Graph:
        """Steady times, and the encoder's format, layout and rate."""
        from av.filter import Graph

        layout, rate = self._target
        named = not frame.layout.name.endswith(" channels")
        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            # Channels without names are taken for those of the target, which has as many.
            layout=frame.layout if named else layout,
            time_base=frame.time_base,
        )
        graph.link_nodes(
            source,
            graph.add("aresample", f"async=1:min_hard_comp={_GAP}"),
            graph.add("aformat", f"sample_fmts={_FORMAT}:sample_rates={rate}:channel_layouts={layout}"),
            graph.add("abuffersink"),
        )
        graph.configure()
        return graph


def _pulled(graph: Graph) -> Iterator[AudioFrame]:
    """The frames that the filters have ready."""
    import av

    while True:
        try:
            yield cast("AudioFrame", graph.pull())  # a graph of sound gives no pictures
        except (av.error.BlockingIOError, av.error.EOFError):
            return
