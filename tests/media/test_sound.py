"""Every codec and layout of sound that PyAV can make here, out of every container that holds it, into every output."""

from __future__ import annotations

import contextlib
import errno
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from support.video import encode, numbered_frames, packets, stream_facts

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.media import ClipWriter, open_clip, write_clip

OUTPUTS = [".mp4", ".mov", ".mkv"]
SOURCES = {".avi": "avi", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".ts": "mpegts"}
LAYOUTS = ["mono", "stereo", "2.1", "5.1", "7.1"]
SELDOM = ["2.1", "7.1"]
LONG_OPENED = ["pcm_s64le", "pcm_f64le"]  # from AVI, by FFmpeg itself
RATES = {"g722": 16000, "libopencore_amrnb": 8000, "g723_1": 8000}
SECONDS = 0.5

# Encoders whose codec none of the containers takes.
HELD_NOWHERE = """
    adpcm_adx adpcm_argo adpcm_ima_alp adpcm_ima_amv adpcm_ima_apm adpcm_ima_ssi adpcm_ima_ws anull aptx aptx_hd
    comfortnoise g726le pcm_bluray pcm_dvd pcm_s16be_planar pcm_s16le_planar pcm_s24daud pcm_s24le_planar
    pcm_s32le_planar pcm_s64be pcm_s8_planar pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_vidc
    roq_dpcm sbc
"""


def encoders() -> list[str]:
    """The names of all encoders of sound, one for each codec."""
    found = {}
    for name in sorted(av.codecs_available):
        with contextlib.suppress(ValueError, av.error.FFmpegError):
            codec = av.codec.Codec(name, "w")
            if codec.type == "audio":
                found.setdefault(codec.id, name)
    return sorted(found.values())


def set_up(context: av.AudioCodecContext, layout: str, rate: int) -> av.AudioCodecContext:
    context.layout, context.rate, context.format = layout, rate, context.codec.audio_formats[0]
    context.bit_rate = 12200 if "amr" in context.name else 64000 * context.layout.nb_channels
    context.options = {"strict": "-2"}
    return context


@cache
def rate_for(name: str, layout: str) -> int | None:
    """A rate at which the encoder takes the layout, None where there is none."""
    for rate in (RATES[name],) if name in RATES else (48000, 44100, 22050, 16000, 8000):
        with contextlib.suppress(ValueError, av.error.FFmpegError):
            set_up(av.CodecContext.create(name, "w"), layout, rate).open()
            return rate
    return None


def make(path: Path, name: str, layout: str, rate: int) -> bool:
    """Write two frames and half a second of a tone; whether the container takes it."""
    with contextlib.suppress(ValueError, av.error.FFmpegError):
        with av.open(str(path), "w", format=SOURCES[path.suffix]) as container:
            video = container.add_stream("mpeg4", rate=4)
            video.width, video.height = 32, 32
            sound = container.add_stream(name, rate=rate)
            set_up(sound.codec_context, layout, rate)
            for number in range(2):
                frame = av.VideoFrame(32, 32, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 4)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            container.mux(sound.encode(tone(layout, rate)))
            container.mux(sound.encode(None))
        return True
    return False


def tone(layout: str, rate: int) -> av.AudioFrame:
    samples = 0.3 * np.sin(np.arange(round(SECONDS * rate)) * 2 * np.pi * 440 / rate).astype(np.float32)
    channels = av.AudioLayout(layout).nb_channels
    frame = av.AudioFrame.from_ndarray(np.repeat(samples, channels)[None], "flt", layout)
    frame.rate, frame.pts = rate, 0
    return frame


class Heard(NamedTuple):
    """What is decoded: codec, channels, first moment and duration in seconds, and the length of a frame."""

    codec: str
    channels: int
    start: float
    seconds: float
    frame: float


def heard(path: Path) -> Heard | None:
    """None where the file, though it could be written, cannot be read."""
    with contextlib.suppress(av.error.FFmpegError, IndexError), av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        seconds = [frame.samples / frame.sample_rate for frame in frames]
        start = float(frames[0].pts * frames[0].time_base)
        channels = stream.codec_context.layout.nb_channels
        return Heard(stream.codec_context.name, channels, start, sum(seconds), max(seconds))
    return None


CASES = [
    pytest.param(name, layout, marks=pytest.mark.slow if layout in SELDOM or name in LONG_OPENED else ())
    for name in encoders()
    for layout in LAYOUTS
    if rate_for(name, layout) is not None
]


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_every_codec_and_layout(tmp_path, name, layout):
    made = 0
    for suffix in SOURCES:
        path = tmp_path / f"in{suffix}"
        if not make(path, name, layout, rate_for(name, layout)) or (before := heard(path)) is None:
            continue
        made += 1
        for output in OUTPUTS:
            case = f"{suffix} into {output}"
            write_clip(tmp_path / f"out{output}", source := open_clip(path), source=source)
            after = heard(tmp_path / f"out{output}")
            assert after.channels == before.channels, case
            assert abs(after.seconds - before.seconds) <= max(after.frame, before.frame) + 0.001, case
            assert abs(after.start - before.start) <= 0.03, case
            copied = after.codec != "aac" or before.codec == "aac"
            # MP4 has one name for both, so that MP2 is called MP3 there.
            assert after.codec in (before.codec, "aac", "mp2" if before.codec == "mp3float" else ""), case
            if copied and suffix != ".ts":  # which wraps AAC in headers of its own
                first, second = (packets(file) for file in (path, tmp_path / f"out{output}"))
                assert b"".join(data for _, data in first) == b"".join(data for _, data in second), case
    assert made or name in HELD_NOWHERE.split()


def sound_of(path: Path) -> tuple[str, str]:
    facts = stream_facts(path, "audio")
    return facts["codec"], facts["layout"]


class TestOldFootage:
    """PCM whose channels have no names, as AVI and Matroska store it."""

    @pytest.mark.parametrize("suffix", [".avi", ".mkv"])
    @pytest.mark.parametrize(("output", "codec"), [(".mp4", "aac"), (".mov", "pcm_s16le")])
    def test_channels_get_names(self, tmp_path, suffix, output, codec):
        make(path := tmp_path / f"in{suffix}", "pcm_s16le", "stereo", 44100)
        assert sound_of(path) == ("pcm_s16le", "2 channels")
        write_clip(tmp_path / f"out{output}", source := open_clip(path), source=source)
        assert sound_of(tmp_path / f"out{output}") == (codec, "stereo")

    def test_encoding_is_said_once_and_early(self, tmp_path, caplog):
        make(path := tmp_path / "in.avi", "pcm_s16le", "stereo", 44100)
        source = open_clip(path)
        for name in ("out.mp4", "debug.mp4"):
            ClipWriter(tmp_path / name, source.fps, (32, 32), source=source)
        assert [record.message for record in caplog.records if "AAC" in record.message] == [
            f"{path}: its sound (pcm_s16le) is encoded to AAC, because MP4 is not made for it; .mkv keeps most kinds "
            "of sound as they are"
        ]

    def test_more_channels_than_aac_takes_stay_as_they_are(self, tmp_path):
        make(path := tmp_path / "in.mov", "pcm_s16le", "22.2", 48000)
        write_clip(tmp_path / "out.mp4", source := open_clip(path), source=source)
        after = heard(tmp_path / "out.mp4")
        assert (after.codec, after.channels, round(after.seconds, 6)) == ("pcm_s16le", 24, 0.5)


class TestDamage:
    def damaged(self, tmp_path: Path, suffix: str, codec: str, which: slice) -> Path:
        path = encode(tmp_path / f"in{suffix}", numbered_frames(25), audio={"codec": codec})
        data = bytearray(path.read_bytes())
        for _, payload in packets(path)[which]:
            at = data.index(payload)
            data[at : at + len(payload)] = bytes(len(payload))
        path.write_bytes(data)
        return path

    def test_the_picture_is_kept_and_the_sound_stays_in_step(self, tmp_path, caplog):
        path = self.damaged(tmp_path, ".mkv", "flac", slice(4, 6))
        write_clip(tmp_path / "out.mov", source := open_clip(path), source=source)
        assert len(open_clip(tmp_path / "out.mov")) == 25
        after = heard(tmp_path / "out.mov")
        assert after.codec == "aac"
        assert abs(after.start + after.seconds - 1) < 0.03  # silence where something is missing
        assert "in.mkv: its sound or subtitles are damaged: 2 piece(s) from 0.38 s to 0.48 s" in caplog.text

    @pytest.mark.parametrize("codec", ["aac", "ac3", "eac3", "libmp3lame", "flac", "libopus"])
    @pytest.mark.parametrize("suffix", [".mkv", ".ts"])
    @pytest.mark.parametrize("output", OUTPUTS)
    def test_whatever_is_damaged_a_whole_picture_comes_out(self, tmp_path, codec, suffix, output):
        if (codec, suffix) == ("flac", ".ts"):
            codec = "mp2"  # a transport stream holds no FLAC
        try:
            path = self.damaged(tmp_path, suffix, codec, slice(3, 9))
        except ValueError:  # the transport stream cuts packets, so that their bytes are not found again
            path = encode(tmp_path / f"in{suffix}", numbered_frames(25), audio={"codec": codec})
            data = bytearray(path.read_bytes())
            noise = np.random.default_rng(0)
            with av.open(str(path)) as container:
                sound = container.streams.audio[0].id
            for at in range(len(data) // 2 // 188 * 188, len(data) - 188, 188):
                if int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF == sound:
                    data[at + 30 : at + 188] = noise.bytes(158)
            path.write_bytes(data)
        write_clip(tmp_path / f"out{output}", source := open_clip(path), source=source)
        assert len(open_clip(tmp_path / f"out{output}")) == 25


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "not allowed to write"),
        (errno.EINVAL, "another format"),
    ],
)
def test_an_error_is_called_what_it_is(tmp_path, monkeypatch, number, words):
    def fail(*_):
        raise av.error.FFmpegError(number, "the reason")

    monkeypatch.setattr("svfr_model.media.writer._VideoSink.write", fail)
    with pytest.raises(InputError, match=rf"a\.mp4: cannot be written \(the reason\)\. .*{words}") as info:
        write_clip(tmp_path / "a.mp4", ArrayClip(np.zeros((2, 48, 64, 3), np.uint8)))
    assert ("permission" in str(info.value)) == (number == errno.EACCES)
