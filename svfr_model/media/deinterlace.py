"""Deinterlacing: one whole frame for each interlaced one, by FFmpeg's bwdif."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from .convert import filter_graph

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame


def deinterlaced(frames: Iterable[VideoFrame]) -> Iterator[VideoFrame]:
    """As many frames as come in, at the same times; each stays as it is in one field, and the other is made anew.

    The first field is that which a frame says, the upper one if it says nothing. The filter looks one frame ahead.
    Where the pixel format changes, it starts again.
    """
    graph: Graph | None = None
    key: tuple[int, int, str] | None = None
    for number, frame in enumerate(frames):
        if graph is None or key != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _rest(graph)
            key = (frame.width, frame.height, frame.format.name)
            graph = filter_graph(*key, [("bwdif", "mode=send_frame:parity=auto:deint=all")])
        frame.pts, frame.time_base = number, Fraction(1, 1000)  # the filter wants times that increase
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        yield from _rest(graph)


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    """What the filter has finished."""
    import av

    while True:
        try:
            yield cast("VideoFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _rest(graph: Graph) -> Iterator[VideoFrame]:
    """What the filter still holds at the end."""
    graph.push(None)
    yield from _ready(graph)
