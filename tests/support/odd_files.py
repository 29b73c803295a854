"""Files that users have: good, odd and broken ones. Each is built once a session and then copied."""

from __future__ import annotations

import io
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from functools import cache, cached_property
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.files import gradient
from support.video import encode, encode_sound_only, numbered_frames, set_display_matrix

Maker = Callable[[Path], None]


class Made:
    """A file that is built when it is first asked for; called with a path, it is copied there."""

    def __init__(self, suffix: str, build: Callable[[Path], object]) -> None:
        self._suffix, self._build = suffix, build

    @cached_property
    def content(self) -> bytes:
        """The file's bytes."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"built{self._suffix}"
            self._build(path)
            return path.read_bytes()

    def __call__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)


def _frames(pictures, pixels="yuv420p"):
    return [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(p), format="rgb24").reformat(format=pixels) for p in pictures
    ]


@cache
def clip(count=5, height=48, width=64, *, suffix=".mp4", pixels="yuv420p", codec="libx264", sound="") -> Made:
    """A moving gradient at 25 fps."""
    audio = {"codec": sound, "seconds": count / 25} if sound else None
    frames = gradient(count, height, width)
    return Made(suffix, lambda path: encode(path, _frames(frames, pixels), codec=codec, audio=audio))


@cache
def timed(times: tuple[Fraction, ...], suffix=".mp4") -> Made:
    """A clip whose frames are shown at these seconds."""
    return Made(suffix, lambda path: encode(path, numbered_frames(len(times)), times=list(times)))


@cache
def turned() -> Made:
    """A clip of 64x48 that is to be shown upright: 48x64."""

    def build(path: Path) -> None:
        encode(path, numbered_frames(5))
        set_display_matrix(path, 0, 1, -1, 0)

    return Made(".mp4", build)


@cache
def alpha_vp9() -> Made:
    """A WebM whose alpha is a picture of its own, which FFmpeg's decoder does not show."""
    frames = [av.VideoFrame(64, 48, "yuva420p") for _ in range(5)]
    return Made(".webm", lambda path: encode(path, frames, codec="libvpx-vp9", options={"auto-alt-ref": "0"}))


CHAPTERS = ((0, 200, "Eins"), (200, 400, "Zwei"))
"""Begin and end in milliseconds, and title, of those in `rich`."""


@cache
def rich() -> Made:
    """A Matroska file with one of everything: two videos, sound, subtitles, attached files, chapters and titles."""
    return Made(".mkv", _write_rich)


def _write_rich(path: Path) -> None:
    millisecond = Fraction(1, 1000)
    cover = io.BytesIO()
    Image.new("RGB", (16, 16), (255, 0, 0)).save(cover, "JPEG")
    plain = encode(path.with_name("plain.mkv"), numbered_frames(10), audio={"codec": "aac"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        copies = [output.add_stream_from_template(source.streams.video[0], opaque=True) for _ in range(2)]
        sound = output.add_stream_from_template(source.streams.audio[0])
        sound.metadata["language"] = "deu"
        subtitles = output.add_mux_stream("subrip")
        output.add_attachment("font.ttf", "application/x-truetype-font", b"x" * 100)
        output.add_attachment("cover.jpg", "image/jpeg", cover.getvalue())
        output.metadata.update({"title": "Film", "artist": "Somebody"})
        output.set_chapters([
            {"id": number, "start": start, "end": end, "time_base": millisecond, "metadata": {"title": title}}
            for number, (start, end, title) in enumerate(CHAPTERS)
        ])  # fmt: skip
        for packet in source.demux():
            if packet.dts is None:
                continue
            for stream in copies if packet.stream.type == "video" else [sound]:
                twin = av.Packet(bytes(packet))
                twin.pts, twin.dts, twin.time_base = packet.pts, packet.dts, packet.time_base
                twin.is_keyframe, twin.stream = packet.is_keyframe, stream
                output.mux(twin)
        for number in range(3):
            line = av.Packet(f"line {number}".encode())
            line.stream, line.time_base, line.duration = subtitles, millisecond, 90
            line.pts = line.dts = number * 100
            output.mux(line)


@cache
def sound_only() -> Made:
    """A tone and nothing to see."""
    return Made(".m4a", lambda path: encode_sound_only(path, {"codec": "aac", "seconds": 0.5}))


@cache
def portrait_clip(count=2, size=256) -> Made:
    """A photograph of a person that moves to the side."""
    frames = [np.roll(portrait_pixels(size), k, 1) for k in range(count)]
    return Made(".mp4", lambda path: encode(path, _frames(frames)))


def portrait_pixels(size=256) -> np.ndarray:
    """scikit-image's public-domain photograph of a person, (size,size,3) uint8."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[:size, 90 : 90 + size])


@cache
def portrait(size=256) -> Made:
    """The same as a picture."""
    return Made(".png", lambda path: Image.fromarray(portrait_pixels(size)).save(path))


@cache
def picture(height=48, width=64, mode="RGB", suffix=".png", **options) -> Made:
    """One picture of a gradient in a mode of Pillow's."""
    return Made(suffix, lambda path: Image.fromarray(gradient(1, height, width)[0]).convert(mode).save(path, **options))


@cache
def array(kind: str, height=48, width=64, suffix=".png") -> Made:
    """A grey picture of sixteen bits ("I;16") or of floating-point numbers ("F")."""
    values = np.linspace(0, 60000 if kind == "I;16" else 1, height * width).reshape(height, width)
    dtype = np.uint16 if kind == "I;16" else np.float32
    return Made(suffix, lambda path: Image.fromarray(values.astype(dtype)).save(path))


@cache
def animated(suffix: str, count=3, **options) -> Made:
    """Several frames in a file of a still picture's suffix."""

    def build(path: Path) -> None:
        first, *rest = [Image.fromarray(frame) for frame in gradient(count, 48, 64)]
        first.save(path, save_all=True, append_images=rest, **options)

    return Made(suffix, build)


@cache
def mask(height=48, width=64, value: int | None = None, mode="L", suffix=".png") -> Made:
    """White in its middle, or one value everywhere."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[height // 3 : 2 * height // 3] = 255
    if value is not None:
        pixels[:] = value
    return Made(suffix, lambda path: Image.fromarray(pixels).convert(mode).save(path))


@cache
def alpha_mask(height=48, width=64) -> Made:
    """A black picture whose mask lies in its alpha channel, as paint programs save it."""
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[height // 3 : 2 * height // 3, :, 3] = 255
    return Made(".png", lambda path: Image.fromarray(pixels).save(path))


@cache
def mask_clip(count: int, height=48, width=64) -> Made:
    """A mask for each frame."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 3 : 2 * height // 3] = 255
    return Made(".mkv", lambda path: encode(path, _frames([pixels] * count)))


def folder(count=5, height=48, width=64, names: tuple[str, ...] = ()) -> Maker:
    """A folder of pictures, numbered from 0 unless they are named."""

    def make(path: Path) -> None:
        path.mkdir(parents=True)
        pictures = gradient(len(names) or count, height, width)
        for name, pixels in zip(names or [f"{k}.png" for k in range(count)], pictures, strict=True):
            Image.fromarray(pixels).save(path / name)

    return make


def data(content: bytes | str) -> Maker:
    """A file of these bytes, or of this text."""

    def make(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def settings(**values: object) -> Maker:
    """A JSON file."""
    return data(json.dumps(values))


def cut(made: Made, kept: float) -> Maker:
    """The first part of a file."""
    return lambda path: path.write_bytes(made.content[: int(len(made.content) * kept)])


def spoiled(made: Made, begin: float = 0.4, end: float = 0.6) -> Maker:
    """A file whose middle was overwritten."""

    def make(path: Path) -> None:
        content = bytearray(made.content)
        first, last = int(len(content) * begin), int(len(content) * end)
        content[first:last] = bytes((17 * k + 5) % 256 for k in range(last - first))
        path.write_bytes(content)

    return make


def huge_png(width=100_000, height=100_000) -> Maker:
    """A PNG whose header claims a size that no memory holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b""))
    )
    return data(b"\x89PNG\r\n\x1a\n" + chunks)


def subfolder(path: Path) -> None:
    """An empty folder."""
    path.mkdir(parents=True)


def full_folder(path: Path) -> None:
    """A folder with something of the user's in it."""
    path.mkdir(parents=True)
    (path / "mine.txt").write_text("do not touch")


def fifo(path: Path) -> None:
    """A named pipe that nobody writes to: reading it would never end."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes among its files")
    os.mkfifo(path)


def link(target: str) -> Maker:
    """A symbolic link; its target need not be there, unless it is a device."""

    def make(path: Path) -> None:
        if target.startswith("/dev/") and not os.path.exists(target):
            pytest.skip("this system has no devices among its files")
        path.symlink_to(target)

    return make


def hard_link(name: str) -> Maker:
    """A second name of a file beside it."""
    return lambda path: os.link(path.parent / name, path)


empty = data(b"")
"""A file of no bytes."""
text = data("Dear diary,\n" * 50)
"""Words, whatever the name says."""


def corner_mask(size: int) -> Maker:
    """A mask of a few pixels in the corner, far from any face."""

    def make(path: Path) -> None:
        pixels = np.zeros((size, size), np.uint8)
        pixels[-8:, -8:] = 255
        Image.fromarray(pixels).save(path)

    return make
