"""Streamed video in: real encodes, made here, whose pixels, times and sound are known."""

from __future__ import annotations

import gc
import itertools
import logging
import re
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.video import (
    encode,
    encode_sound_only,
    frame_number,
    numbered_frames,
    packets,
    rgb_frame,
    set_display_matrix,
    yuv_frame,
    yuv_to_rgb,
)

from svfr_model.base.errors import InputError
from svfr_model.media import open_clip
from svfr_model.media.ending import missing_bytes
from svfr_model.media.reader import _filled

BT601 = (0.299, 0.114)
BT709 = (0.2126, 0.0722)
BT2020 = (0.2627, 0.0593)


def noise_frames(count: int) -> list[av.VideoFrame]:
    rng = np.random.default_rng(1)
    return [av.VideoFrame.from_ndarray(rng.integers(0, 255, (72, 64), np.uint8), "yuv420p") for _ in range(count)]


def recut(path: Path, target: Path, *, first: int = 0, shift: int = 0) -> Path:
    """The stored frames from the first on, each shown so many frames of 1/25 s earlier, as they are in MP4."""
    with av.open(str(path)) as source, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as output:
        (stream,) = source.streams.video
        copy = output.add_stream_from_template(stream, opaque=True)
        for packet in itertools.islice(source.demux(stream), first, None):
            if packet.size:
                packet.pts -= round(Fraction(shift, 25) / stream.time_base)
                packet.dts -= round(Fraction(shift, 25) / stream.time_base)
                packet.stream = copy
                output.mux(packet)
    return target


def only_frame(path: Path) -> np.ndarray:
    (frame,) = open_clip(path)
    return frame


class TestFramesAndTimes:
    def test_real_clip(self, real_clip):
        clip = open_clip(real_clip)
        assert (clip.fps, clip.width, clip.height, clip.audio) == (25, 128, 128, False)
        frames = list(clip)
        assert len(frames) == len(clip) == 85
        assert {(frame.shape, frame.dtype) for frame in frames} == {((128, 128, 3), np.dtype(np.uint8))}
        assert clip.timestamps == tuple(Fraction(k, 25) for k in range(85))

    @pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(60)])
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_constant_rate(self, tmp_path, rate, suffix):
        clip = open_clip(encode(tmp_path / f"a{suffix}", numbered_frames(31), rate=rate))
        assert clip.fps == rate
        assert [frame_number(frame) for frame in clip] == list(range(31))
        for number, time in enumerate(clip.timestamps):
            assert abs(time - number / rate) <= clip.time_base

    def test_a_second_walk_gives_the_same_frames(self, tmp_path):
        clip = open_clip(encode(tmp_path / "a.mp4", numbered_frames(10)))
        assert [f.tobytes() for f in clip] == [f.tobytes() for f in clip]

    def test_an_abandoned_walk_does_not_shorten_the_clip(self, tmp_path):
        clip = open_clip(encode(tmp_path / "a.mp4", numbered_frames(10)))
        next(iter(clip))
        assert len(clip) == 10

    def test_variable_rate(self, tmp_path):
        times = [Fraction(t, 1000) for t in (0, 40, 80, 200, 210, 500, 501, 900)]
        for suffix in (".mp4", ".mkv"):
            clip = open_clip(encode(tmp_path / f"a{suffix}", numbered_frames(8), times=times))
            assert len(clip) == 8
            for time, expected in zip(clip.timestamps, times, strict=True):
                assert abs(time - expected) <= clip.time_base

    def test_times_count_from_the_earliest_stream(self, tmp_path):
        times = [Fraction(1, 2) + Fraction(k, 25) for k in range(5)]
        path = encode(tmp_path / "a.mkv", numbered_frames(5), times=times, audio={"codec": "flac"})
        clip = open_clip(path)
        assert clip.audio
        assert abs(clip.timestamps[0] - Fraction(1, 2)) <= Fraction(1, 1000)

    def test_raw_stream_without_times_gets_its_rate(self, tmp_path):
        clip = open_clip(encode(tmp_path / "a.h264", numbered_frames(6)))
        steps = {b - a for a, b in zip(clip.timestamps, clip.timestamps[1:], strict=False)}
        assert len(clip) == 6
        assert len(steps) == 1
        assert steps.pop() > 0

    def test_frames_before_zero_keep_their_distances(self, tmp_path):
        """Matroska loses times below zero when it is read: the frames come without any."""
        times = [Fraction(k - 5, 25) for k in range(10)]
        options = {"qp": "0", "preset": "ultrafast", "bf": "0"}
        path = tmp_path / "in.mkv"
        kept = {"avoid_negative_ts": "disabled"}
        encode(path, numbered_frames(10), times=times, options=options, container_options=kept)
        with av.open(str(path)) as container:
            assert [frame.pts for frame in container.decode(video=0)][:6] == [None] * 5 + [0]
        clip = open_clip(path)
        assert clip.timestamps == tuple(Fraction(k, 25) for k in range(10))
        assert clip.origin == Fraction(-1, 5)

    @pytest.mark.parametrize(
        ("stamps", "expected"),
        [
            ([None, None, None], [0, 1, 2]),
            ([None, None, 5, 7], [3, 4, 5, 7]),
            ([3, None, 5, 9], [3, 4, 5, 9]),
            ([10, 11, 0, 3], [10, 11, 12, 15]),  # two clips joined
            ([0, 2, 2, 1, 3], [0, 2, 2, 1, 3]),  # disorder is for the writer
            ([-4, -3, None, -1], [-4, -3, -2, -1]),
        ],
    )
    def test_times_that_are_missing_or_jump(self, stamps, expected):
        stamps = [None if stamp is None else Fraction(stamp) for stamp in stamps]
        assert _filled(stamps, Fraction(1)) == expected

    def test_the_alpha_of_vp9_is_said_to_be_dropped(self, tmp_path, caplog):
        frame = av.VideoFrame(32, 32, "yuva420p")
        path = encode(tmp_path / "a.webm", [frame], codec="libvpx-vp9", options={"auto-alt-ref": "0"})
        with caplog.at_level(logging.WARNING):
            open_clip(path)
        assert "a.webm: the alpha channel is dropped" in caplog.text

    def test_one_frame_is_held_at_a_time(self, tmp_path):
        clip = open_clip(encode(tmp_path / "a.mp4", numbered_frames(400)))
        alive: list[weakref.ref] = []
        most = 0
        for frame in clip:
            alive.append(weakref.ref(frame))
            most = max(most, sum(ref() is not None for ref in alive[-20:]))
        del frame
        gc.collect()
        assert len(alive) == 400
        assert most <= 2
        assert all(ref() is None for ref in alive)


class TestColour:
    # (y, u, v) stored; every channel is well inside the range, so that no clipping hides a wrong matrix.
    STORED = (110, 100, 170)

    @pytest.mark.parametrize(
        ("tag", "weights"), [(1, BT709), (5, BT601), (6, BT601), (9, BT2020)], ids=["709", "470bg", "170m", "2020"]
    )
    @pytest.mark.parametrize(("range_tag", "full"), [(1, False), (2, True)], ids=["limited", "full"])
    def test_tagged(self, tmp_path, tag, weights, range_tag, full):
        path = encode(tmp_path / "a.mp4", [yuv_frame(*self.STORED)], colorspace=tag, color_range=range_tag)
        expected = yuv_to_rgb(*self.STORED, *weights, full=full)
        assert np.abs(only_frame(path).astype(int) - expected).max() <= 1

    def test_matrices_are_told_apart(self):
        assert np.abs(yuv_to_rgb(*self.STORED, *BT709).astype(int) - yuv_to_rgb(*self.STORED, *BT601)).max() > 8

    @pytest.mark.parametrize(
        ("size", "weights"), [((64, 48), BT601), ((1024, 576), BT601), ((768, 578), BT709), ((1280, 544), BT709)]
    )
    def test_untagged_goes_by_size(self, tmp_path, size, weights):
        path = encode(tmp_path / "a.mp4", [yuv_frame(*self.STORED, *size)])
        expected = yuv_to_rgb(*self.STORED, *weights)
        assert np.abs(only_frame(path).astype(int) - expected).max() <= 1

    def test_limited_range_reaches_black_and_white(self, tmp_path):
        path = encode(tmp_path / "a.mp4", [yuv_frame(16, 128, 128), yuv_frame(235, 128, 128)])
        black, white = open_clip(path)
        assert black.max() == 0
        assert white.min() == 255

    def test_ten_bits(self, tmp_path):
        plane = np.tile(np.linspace(64, 940, 64), (48, 1)).round().astype(np.uint16)
        chroma = np.full(24 * 32, 512, np.uint16)
        frame = av.VideoFrame(64, 48, "yuv420p10le")
        for target, values in zip(frame.planes, (plane, chroma, chroma), strict=True):
            rows = values.reshape(target.height, target.width)
            padded = np.zeros((target.height, target.line_size // 2), np.uint16)
            padded[:, : target.width] = rows
            target.update(padded.tobytes())
        picture = only_frame(encode(tmp_path / "a.mkv", [frame], codec="ffv1", colorspace=1, color_range=1))
        expected = np.rint((plane.astype(float) - 64) / 876 * 255)
        assert picture.dtype == np.uint8
        assert np.abs(picture - expected[:, :, None]).max() <= 1

    def test_grey(self, tmp_path):
        ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
        path = encode(tmp_path / "a.mkv", [av.VideoFrame.from_ndarray(ramp, format="gray")], codec="ffv1")
        assert np.abs(only_frame(path).astype(int) - ramp[:, :, None]).max() == 0

    def test_alpha_is_dropped_and_said_so(self, tmp_path, caplog):
        rgba = np.zeros((48, 64, 4), np.uint8)
        rgba[:] = (200, 40, 60, 0)
        frame = av.VideoFrame.from_ndarray(rgba, format="rgba")
        path = encode(tmp_path / "a.mov", [frame], codec="png")
        with caplog.at_level(logging.WARNING):
            picture = only_frame(path)
        assert (picture == (200, 40, 60)).all()
        assert "alpha" in caplog.text
        assert "a.mov" in caplog.text

    def test_interlacing_is_said(self, tmp_path, caplog):
        path = encode(tmp_path / "a.mp4", numbered_frames(2), options={"qp": "0", "flags": "+ilme+ildct"})
        with caplog.at_level(logging.WARNING):
            open_clip(path)
        assert "interlaced" in caplog.text

    def test_hdr_is_said(self, tmp_path, caplog):
        frame = yuv_frame(110, 128, 128)
        options = {"qp": "0", "x264-params": "transfer=smpte2084:colorprim=bt2020:colormatrix=bt2020nc"}
        path = encode(tmp_path / "a.mp4", [frame], options=options)
        with caplog.at_level(logging.WARNING):
            open_clip(path)
        assert ("HDR" in caplog.text) == hasattr(av.VideoFrame, "color_trc")


class TestShape:
    @pytest.mark.parametrize(
        ("matrix", "turn"),
        [
            ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # 90 degrees clockwise, as phones held upright store it
            ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
            ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
            ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
            ((1, 0, 0, -1), lambda p: p[::-1]),
            ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)),
        ],
        ids=["cw", "ccw", "half", "mirror", "flip", "transpose"],
    )
    def test_display_matrix(self, tmp_path, matrix, turn):
        rng = np.random.default_rng(3)
        luma = np.kron(rng.integers(40, 200, (6, 8)), np.ones((8, 8)))
        array = np.concatenate([luma.reshape(-1), np.full(48 * 64 // 2, 128)]).astype(np.uint8).reshape(72, 64)
        frame = av.VideoFrame.from_ndarray(array, format="yuv420p")
        path = encode(tmp_path / "a.mp4", [frame], sample_aspect_ratio=Fraction(4, 3))
        stored = only_frame(path)
        set_display_matrix(path, *matrix)
        clip = open_clip(path)
        expected = turn(stored)
        assert (clip.height, clip.width) == expected.shape[:2]
        assert clip.sample_aspect_ratio == (Fraction(3, 4) if matrix[0] == 0 else Fraction(4, 3))
        (upright,) = clip
        assert (upright == expected).all()

    def test_odd_size(self, tmp_path):
        rng = np.random.default_rng(5)
        planes = rng.integers(16, 235, (3, 33, 47), dtype=np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv444p")
        clip = open_clip(encode(tmp_path / "a.mp4", [frame, frame]))
        assert (clip.width, clip.height) == (47, 33)
        assert [picture.shape for picture in clip] == [(33, 47, 3)] * 2

    def test_size_that_changes_names_the_frame(self, tmp_path):
        parts = b"".join(
            encode(tmp_path / f"{i}.h264", numbered_frames(4, *size)).read_bytes()
            for i, size in enumerate([(64, 48), (80, 48)])
        )
        path = tmp_path / "a.h264"
        path.write_bytes(parts)
        with pytest.raises(InputError, match=r"a\.h264: frame 4 has 80x48 .* 64x48"):
            list(open_clip(path))


class TestErrors:
    def refused(self, path, *words):
        with pytest.raises(InputError) as info:
            list(open_clip(path))
        for word in (Path(path).name, *words):
            assert word in str(info.value)
        return info.value

    def test_missing(self, tmp_path):
        self.refused(tmp_path / "no.mp4", "no such file")

    def test_empty(self, tmp_path):
        (tmp_path / "a.mp4").touch()
        self.refused(tmp_path / "a.mp4", "empty")

    def test_noise(self, tmp_path):
        (tmp_path / "a.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
        self.refused(tmp_path / "a.mp4", "not a video")

    def test_text(self, tmp_path):
        (tmp_path / "a.txt").write_text("this is no video\n" * 50)
        self.refused(tmp_path / "a.txt", "not a video")

    def test_header_cut_off(self, tmp_path):
        path = encode(tmp_path / "a.mp4", numbered_frames(5))
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"moov")])  # the index lies at the end
        self.refused(path, "not a video")

    def test_sound_only(self, tmp_path):
        path = encode_sound_only(tmp_path / "a.mka", {"codec": "flac"})
        self.refused(path, "no video stream", "audio")

    def test_no_frames(self, tmp_path):
        path = tmp_path / "a.y4m"
        path.write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420jpeg\n")
        self.refused(path, "no frame")

    def test_zero_sized(self, tmp_path):
        path = tmp_path / "a.y4m"
        path.write_bytes(b"YUV4MPEG2 W0 H0 F25:1 Ip A1:1 C420jpeg\nFRAME\n")
        self.refused(path, "a.y4m")

    def test_damage_midway_names_the_frame(self, tmp_path):
        frames = [rgb_frame(np.full((48, 64, 3), number, np.uint8)) for number in range(12)]
        path = encode(tmp_path / "a.mov", frames, codec="png")
        data = bytearray(path.read_bytes())
        starts = [i for i in range(len(data) - 4) if data[i : i + 4] == b"IHDR"]
        at = starts[7]
        data[at : at + 12] = bytes(12)
        path.write_bytes(data)
        error = self.refused(path, "cannot be decoded", "damaged")
        assert "frame 7" in str(error)

    def test_damage_that_the_decoder_patches_is_said(self, tmp_path, caplog):
        options = {"crf": "30", "bf": "0", "g": "1", "threads": "1"}
        path = encode(tmp_path / "a.mp4", noise_frames(8), options=options)
        payload = packets(path, "video")[5][1]
        data = bytearray(path.read_bytes())
        at = data.index(payload) + len(payload) // 2
        data[at : at + 40] = b"\xff" * 40
        path.write_bytes(data)
        with caplog.at_level(logging.WARNING):
            assert len(open_clip(path)) == 8
        assert "patched by the decoder: [5]" in caplog.text

    @pytest.mark.parametrize(
        ("suffix", "muxing"),
        [
            (".mp4", {"movflags": "faststart"}),
            (".mp4", {"movflags": "frag_keyframe+empty_moov"}),
            (".mkv", {}),
            (".mkv", {"live": "1"}),
            (".avi", {}),
        ],
    )
    def test_a_clip_cut_short_is_said(self, tmp_path, caplog, suffix, muxing):
        path = tmp_path / f"a{suffix}"
        encode(path, noise_frames(40), options={"g": "1", "bf": "0"}, container_options=muxing)
        data = path.read_bytes()
        with caplog.at_level(logging.WARNING):
            path.write_bytes(data + b"something put behind it")
            assert len(open_clip(path)) == 40
            assert caplog.text == ""
            path.write_bytes(data[: data.index(packets(path, "video")[30][1])])
            assert len(open_clip(path)) == 30
        assert re.search(r"cut short: at least \d+ bytes are missing, and 30 frames", caplog.text)
        assert missing_bytes(path) > 0

    def test_frames_that_the_decoder_passes_over_are_counted(self, tmp_path, caplog):
        path = encode(tmp_path / "a.mp4", numbered_frames(20), options={"g": "5", "bf": "2"})
        with caplog.at_level(logging.WARNING):
            assert len(open_clip(recut(path, tmp_path / "b.mp4", first=2))) == 15
        assert "b.mp4: only 15 of 18 frames could be decoded" in caplog.text

    def test_frames_that_are_not_to_be_shown_are_no_loss(self, tmp_path, caplog):
        path = encode(tmp_path / "a.mp4", numbered_frames(20), options={"g": "20", "bf": "0"})
        trimmed = recut(path, tmp_path / "b.mp4", shift=5)  # what lies before 0 is left out by an edit list
        times = [Fraction(number * 10, 25) for number in range(4)]
        repeating = encode(tmp_path / "c.avi", numbered_frames(4), codec="mpeg4", times=times)
        with caplog.at_level(logging.WARNING):
            assert (len(open_clip(trimmed)), open_clip(trimmed).stated_length) == (15, 20)
            assert len(open_clip(repeating)) == 4 < open_clip(repeating).stated_length
        assert caplog.text == ""

    def test_how_much_is_missing(self, tmp_path):
        path = encode(tmp_path / "a.mkv", noise_frames(3))
        data = path.read_bytes()
        path.write_bytes(data[:-100])
        assert missing_bytes(path) == 100
        path.write_bytes(data[:20])
        assert missing_bytes(path) > 0
        path.write_bytes(b"")
        assert missing_bytes(path) == 0
