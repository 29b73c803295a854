"""The encoders of written videos: the containers they go into, their pixel formats, and settings that can be repeated.

The same frames give the same bytes on every machine, so the number of threads is fixed wherever an encoder's output
depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from ..base.errors import DependencyError, InputError
from .convert import BT709, LIMITED_RANGE
from .options import CodecName, VideoOptions

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

VIDEO_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffix of a written video -> FFmpeg's container format."""

_THREADS = 4
_KEYFRAMES = 12
"""Frames from one keyframe to the next in a video that is stepped through: as many are decoded for one step back."""
_FULL_RANGE, _RGB = 2, 0  # AVCOL_RANGE_JPEG, and H.273's matrix of RGB
_Depths: TypeAlias = Mapping[int, str]
"""Bits of a frame's channel, 8 or 16, to a pixel format; only 8 where a codec does not keep more."""


@dataclass(frozen=True)
class Codec:
    """How FFmpeg encodes a codec.

    name: as it is called in messages. encoder: FFmpeg's name. suffixes: of the containers that hold it. even, odd:
    pixel formats for frames whose sides are both even, and for all others; empty where it takes no others.
    """

    name: str
    encoder: str
    suffixes: tuple[str, ...]
    even: _Depths
    odd: _Depths

    def pixel_format(self, size: tuple[int, int], bits: int) -> str:
        """For frames of size (width, height) with 8 or 16 bits a channel."""
        return self.pixel_formats(size)[bits]

    def pixel_formats(self, size: tuple[int, int]) -> _Depths:
        """By bits of a channel, for frames of size (width, height)."""
        return self.odd if size[0] % 2 or size[1] % 2 else self.even


_LOSSLESS = {8: "bgr0", 16: "gbrp12le"}  # RGB as it comes; 12 bits of it hold all that 10 bits of YUV can say
CODECS: dict[CodecName, Codec] = {
    "h264": Codec(
        "H.264",
        "libx264",
        tuple(VIDEO_FORMATS),
        even={8: "yuv420p"},
        odd={8: "yuv444p"},
    ),
    # Into MP4 and MOV, FFmpeg 8 (PyAV 18.1) refused one HEVC stream in ten, at random and only once it was encoded;
    # Matroska took all of 180. Frames of odd sides (47x33 as 4:4:4) now and then brought the whole process down.
    "hevc": Codec(
        "HEVC",
        "libx265",
        (".mkv",),
        even={8: "yuv420p", 16: "yuv420p10le"},
        odd={},
    ),
    "prores": Codec(
        "ProRes",
        "prores_ks",
        (".mov", ".mkv"),
        even=dict.fromkeys((8, 16), "yuv422p10le"),
        odd=dict.fromkeys((8, 16), "yuv444p10le"),
    ),
    "ffv1": Codec("FFV1", "ffv1", (".mkv",), even=_LOSSLESS, odd=_LOSSLESS),
}


def set_up(
    context: VideoCodecContext, options: VideoOptions, size: tuple[int, int], bits: int, aspect: Fraction | None
) -> None:
    """Prepare an encoder for frames of size (width, height) with 8 or 16 bits a channel.

    aspect: width over height of a pixel; None for square ones.
    """
    codec = CODECS[options.codec]
    context.width, context.height = size
    context.pix_fmt = codec.pixel_format(size, bits)
    context.thread_count = _THREADS
    context.options = {"flags": "+bitexact", **_settings(options)}
    context.colorspace = context.color_primaries = context.color_trc = BT709
    context.color_range = LIMITED_RANGE
    if context.pix_fmt in _LOSSLESS.values():
        context.colorspace, context.color_range = _RGB, _FULL_RANGE
    if aspect is not None:
        context.sample_aspect_ratio = aspect


def _settings(options: VideoOptions) -> dict[str, str]:
    """What an encoder is told besides sizes and colours."""
    if options.codec == "h264":
        pace = {"preset": "veryfast", "g": str(_KEYFRAMES)} if options.stepping else {"preset": "medium"}
        return {"crf": str(options.crf), **pace, **_repeatable()}
    if options.codec == "hevc":
        threads = f"pools={_THREADS}:frame-threads=1"
        return {"crf": str(options.crf), "preset": "medium", "x265-params": f"log-level=error:{threads}"}
    if options.codec == "prores":
        return {"profile": "hq", "vendor": "apl0"}
    return {"level": "3", "slices": "4", "slicecrc": "1"}


def check_codec(path: Path, options: VideoOptions, size: tuple[int, int], bits: int, fps: Fraction) -> None:
    """Refuse, before any work, a codec that does not go into the container, or a size that the encoder does not take.

    Raises InputError, and DependencyError where this build of PyAV lacks the encoder.
    """
    import av

    codec = CODECS[options.codec]
    if path.suffix.lower() not in codec.suffixes:
        raise InputError(
            f"{path}: {codec.name} video does not go into {path.suffix.lower()} files. Use "
            f"{' or '.join(codec.suffixes)}, or another codec."
        )
    if not codec.pixel_formats(size):
        raise InputError(
            f"{path}: {codec.name} takes frames with even sides only, not {size[0]}x{size[1]}. Use another codec."
        )
    try:
        context = cast("VideoCodecContext", av.CodecContext.create(codec.encoder, "w"))
    except av.codec.codec.UnknownCodecError as error:
        raise DependencyError(
            f"This build of PyAV has no {codec.encoder}. Install the wheel: pip install av"
        ) from error
    context.time_base = 1 / fps
    set_up(context, options, size, bits, None)
    try:
        context.open()
    except (av.error.FFmpegError, OverflowError) as error:
        raise InputError(
            f"{path}: {codec.name} does not take frames of {size[0]}x{size[1]} pixels. Give a folder of PNGs as "
            "output, or resize the clip."
        ) from error


def _repeatable() -> dict[str, str]:
    """Options that keep x264 from its AVX-512 code, which does not always give the same stream for the same frames.

    Seen with PyAV 18.1 on noisy frames: 4 different results in 40 runs with one thread, and 1 with AVX2 and below.
    Naming an instruction set that the processor lacks would crash, so it is only named if there is a better one.
    """
    import torch

    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return {}
    return {"x264-params": "asm=avx2"}
