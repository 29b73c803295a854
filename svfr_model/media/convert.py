"""FFmpeg's frames <-> RGB arrays: colour matrix, range, bit depth, rotation.

By default, swscale takes untagged YUV for BT.601 and rounds coarsely. So every conversion here goes through a scale
filter with explicit matrix, range and flags.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, SupportsBytes, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from av.filter import Graph
    from av.video.frame import VideoFrame

_RGB_FORMATS = {8: "rgb24", 16: "rgb48le"}
_FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"

# AVColorSpace (ITU-T H.273 matrix coefficients) -> the scale filter's names. 0 is RGB, 2 unspecified.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}

BT709 = 1
"""H.273 code of BT.709 for matrix, primaries and transfer."""
LIMITED_RANGE = 1
"""AVCOL_RANGE_MPEG: luma 16..235."""


def white_level(bits: int, pix_fmt: str) -> int:
    """The level of full white in arrays of 8 or 16 bits that swscale converts from or to a pixel format.

    Between YUV and 16-bit RGB swscale takes 255 * 256 for white (measured with FFmpeg 8: 940 of 10 bits <-> 65283).
    """
    if bits == 8:
        return 255
    return 65535 if _is_rgb(pix_fmt) else 65280


def _is_rgb(pix_fmt: str) -> bool:
    return pix_fmt.startswith(("gbr", "rgb", "bgr"))


def color_matrix(tag: int, width: int, height: int) -> str:
    """The YUV matrix to decode with: the tagged one, else BT.709 for HD and BT.601 for smaller pictures.

    HD is at least 1280 wide or more than 576 high, as in common players. tag is AVFrame.colorspace.
    """
    untagged = "bt709" if width >= 1280 or height > 576 else "smpte170m"
    return _MATRICES.get(tag, untagged)


class RgbReader:
    """Turns the decoded frames of one stream into (H,W,3) RGB, reusing one filter graph."""

    def __init__(self, *, deep: bool = False) -> None:
        """deep: give float32 in [0,1] with all of the source's bits, not uint8."""
        self._deep = deep
        self._key: tuple[int, int, str, str] | None = None
        self._graph: Graph | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """The upright frame as (H,W,3) RGB; alpha is dropped.

        The filter takes the range from the frame's tag. Without one it is limited for YUV, and full for grey and the
        yuvj formats, as everywhere in FFmpeg.
        """
        matrix = color_matrix(int(frame.colorspace), frame.width, frame.height)
        key = (frame.width, frame.height, frame.format.name, matrix)
        if self._graph is None or key != self._key:
            options = f"in_color_matrix={matrix}:out_range=pc:{_FLAGS}"
            self._graph, self._key = _scale_graph(*key[:3], options, _RGB_FORMATS[16 if self._deep else 8]), key
        picture = upright(_scaled(self._graph, frame).to_ndarray(), display_matrix(frame))
        return picture / np.float32(white_level(16, frame.format.name)) if self._deep else picture


class EncoderFrames:
    """Turns (H,W,3) RGB arrays of one size into frames for the encoder: limited-range BT.709 YUV, or full-range RGB."""

    def __init__(self, size: tuple[int, int], bits: int, pix_fmt: str) -> None:
        """size: (width, height). bits: 8 for uint8 arrays, 16 for uint16. pix_fmt: of the encoder."""
        options = f"out_color_matrix=bt709:out_range={'pc' if _is_rgb(pix_fmt) else 'tv'}:{_FLAGS}"
        self._format = _RGB_FORMATS[bits]
        self._graph = _scale_graph(*size, self._format, options, pix_fmt)

    def __call__(self, rgb: np.ndarray) -> VideoFrame:
        """One frame for the encoder; the caller sets its time."""
        from av import VideoFrame

        frame = VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=self._format)
        return _scaled(self._graph, frame)


def _scaled(graph: Graph, frame: VideoFrame) -> VideoFrame:
    graph.push(frame)
    return cast("VideoFrame", graph.pull())  # a graph of pictures gives no sound


def _scale_graph(width: int, height: int, pix_fmt: str, options: str, out_fmt: str) -> Graph:
    return filter_graph(width, height, pix_fmt, [("scale", options), ("format", f"pix_fmts={out_fmt}")])


def filter_graph(width: int, height: int, pix_fmt: str, filters: Sequence[tuple[str, str]]) -> Graph:
    """FFmpeg's filters, as (name, options), one after the other, for frames of one size and format."""
    from av import VideoFormat
    from av.filter import Graph

    graph = Graph()
    nodes = [
        graph.add_buffer(width=width, height=height, format=VideoFormat(pix_fmt), time_base=Fraction(1, 1000)),
        *(graph.add(name, options) for name, options in filters),
        graph.add("buffersink"),
    ]
    for before, after in itertools.pairwise(nodes):
        before.link_to(after)
    graph.configure()
    return graph


def display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d), each -1, 0 or 1: the stored pixel (x, y) is shown at (a x + c y, b x + d y) plus a shift.

    A matrix that is not made of quarter turns and flips counts as upright, as in common players.
    """
    data = cast("Mapping[str, SupportsBytes]", frame.side_data).get("DISPLAYMATRIX")
    if data is None:
        return (1, 0, 0, 1)
    values = np.frombuffer(bytes(data), dtype=np.int32)[[0, 1, 3, 4]] / 65536.0
    a, b, c, d = (int(value) for value in np.sign(np.where(np.abs(values) < 1e-3, 0, values)))
    quarter_turn = (a and d and not b and not c) or (b and c and not a and not d)
    return (a, b, c, d) if quarter_turn else (1, 0, 0, 1)


def upright(picture: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Apply a display matrix of quarter turns and flips to an (H,W,3) picture."""
    a, b, c, d = matrix
    if a == 0:
        picture = picture.swapaxes(0, 1)
        flip_x, flip_y = c < 0, b < 0
    else:
        flip_x, flip_y = a < 0, d < 0
    return np.ascontiguousarray(picture[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
