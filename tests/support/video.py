"""Clips with known pixels, times and sound, encoded by PyAV without any code under test."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

LOSSLESS = {"libx264": {"qp": "0", "preset": "ultrafast"}, "ffv1": {}}


def encode(
    path: Path,
    frames: list[av.VideoFrame],
    *,
    rate: Fraction = Fraction(25),
    times: list[Fraction] | None = None,
    time_base: Fraction = Fraction(1, 30000),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    colorspace: int | None = None,
    color_range: int | None = None,
    sample_aspect_ratio: Fraction | None = None,
    audio: dict | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Store frames losslessly as they are (their pixel format is the stream's), at times or at a constant rate.

    audio: codec, and optionally rate, layout, seconds, start (of the sine tone in seconds).
    """
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        context = stream.codec_context
        context.width, context.height = frames[0].width, frames[0].height
        context.pix_fmt = frames[0].format.name
        context.time_base = time_base
        context.options = LOSSLESS.get(codec, {}) if options is None else options
        if colorspace is not None:
            context.colorspace = colorspace
        if color_range is not None:
            context.color_range = color_range
        if sample_aspect_ratio is not None:
            context.sample_aspect_ratio = sample_aspect_ratio
        sound = _add_sound(container, audio) if audio else None
        for number, frame in enumerate(frames):
            frame.time_base = time_base
            frame.pts = round((number / rate if times is None else times[number]) / time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _encode_sine(container, sound, audio)
    return path


def _add_sound(container, audio: dict):
    sound = container.add_stream(audio["codec"], rate=audio.get("rate", 48000))
    sound.codec_context.layout = audio.get("layout", "stereo")
    return sound


def encode_sound_only(path: Path, audio: dict) -> Path:
    """A file with a tone and nothing to see."""
    with av.open(str(path), "w") as container:
        sound = _add_sound(container, audio)
        _encode_sine(container, sound, audio)
    return path


def _encode_sine(container, sound, audio: dict) -> None:
    """A 440 Hz tone, one second long unless told otherwise."""
    rate = audio.get("rate", 48000)
    count = round(audio.get("seconds", 1) * rate)
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / rate).astype(np.float32)
    layout = audio.get("layout", "stereo")
    channels = 1 if layout == "mono" else 2
    first = round(audio.get("start", 0) * rate)
    for begin in range(0, count, 960):
        piece = np.repeat(tone[None, begin : begin + 960], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="fltp", layout=layout)
        frame.sample_rate = rate
        frame.time_base = Fraction(1, rate)
        frame.pts = first + begin
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def rgb_frame(picture: np.ndarray) -> av.VideoFrame:
    """A frame of RGB pixels: (H,W,3) uint8; for lossless storage by libx264rgb or ffv1 (bgr0)."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")


def yuv_frame(y: int, u: int, v: int, width: int = 64, height: int = 48) -> av.VideoFrame:
    """A solid 4:2:0 frame with exactly these stored values."""
    planes = [np.full(height * width, y), np.full(height * width // 4, u), np.full(height * width // 4, v)]
    array = np.concatenate(planes).astype(np.uint8).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(array, format="yuv420p")


def numbered_frames(count: int, width: int = 64, height: int = 48) -> list[av.VideoFrame]:
    """Frame k is a solid grey of luma 40 + k (mod 180), so that a decoded frame tells its number."""
    return [yuv_frame(40 + number % 180, 128, 128, width, height) for number in range(count)]


def frame_number(picture: np.ndarray) -> int:
    """The number of a decoded frame of `numbered_frames` (modulo 180)."""
    return round(float(picture.mean()) * 219 / 255 + 16) - 40


def yuv_to_rgb(y: float, u: float, v: float, kr: float, kb: float, full: bool = False) -> np.ndarray:
    """The textbook conversion (ITU-T H.273) of one 8-bit YUV colour, (3,) uint8."""
    luma, blue, red = (y / 255, (u - 128) / 255, (v - 128) / 255) if full else (
        (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    )  # fmt: skip
    r = luma + 2 * (1 - kr) * red
    b = luma + 2 * (1 - kb) * blue
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return np.rint(np.clip([r, g, b], 0, 1) * 255).astype(np.uint8)


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Overwrite the matrix in the MP4's track headers: stored (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    assert data[start] == 0, "version 0 track header expected"
    one = 1 << 16
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    data[start + 40 : start + 76] = matrix
    path.write_bytes(data)


def packets(path: Path, kind: str = "audio") -> list[tuple[Fraction, bytes]]:
    """(presentation time in seconds, payload) of every packet of the first stream of that kind."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return [
            (packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(stream)
            if packet.pts is not None and packet.size
        ]


def stream_facts(path: Path, kind: str = "video") -> dict:
    """What the container says of the first stream of that kind."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        context = stream.codec_context
        facts = {"codec": context.name, "seconds": container.duration / 1e6}
        if kind == "video":
            facts |= {
                "rate": stream.average_rate,
                "pix_fmt": context.pix_fmt,
                "size": (context.width, context.height),
                "colorspace": int(context.colorspace),
                "range": int(context.color_range),
                "aspect": stream.sample_aspect_ratio,
            }
        else:
            facts |= {"sample_rate": context.sample_rate, "layout": context.layout.name}
        return facts


def decoded_sound(path: Path) -> tuple[float, np.ndarray, int]:
    """(time of the first sample in seconds, first channel in [-1,1], sample rate) of an AAC stream."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        # AAC decodes to planar float: the first row is the first channel.
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return float(frames[0].pts * frames[0].time_base), samples, stream.codec_context.sample_rate
