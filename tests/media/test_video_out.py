"""Clips out: what was written is read back and compared; nothing is left of what fails."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.video import (
    decoded_sound,
    encode,
    frame_number,
    numbered_frames,
    packets,
    stream_facts,
    yuv_frame,
)

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.media import ClipWriter, open_clip, write_clip
from svfr_model.media.options import VideoOptions
from svfr_model.media.pictures import read_picture

VIDEOS = [".mp4", ".mov", ".mkv"]
COLOURS = [(200, 40, 60), (30, 180, 70), (20, 60, 210), (128, 128, 128), (0, 0, 0), (255, 255, 255), (240, 220, 40)]


def solid(colour, width=64, height=48) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def write(path, frames, fps=Fraction(25), **kwargs) -> Path:
    write_clip(path, ArrayClip(frames, fps), **kwargs)
    return Path(path)


def names(folder) -> list[str]:
    return sorted(entry.name for entry in Path(folder).iterdir())


class TestPixels:
    @pytest.mark.parametrize("suffix", VIDEOS)
    @pytest.mark.parametrize("size", [(64, 48), (47, 33)], ids=["even", "odd"])
    def test_solid_colours(self, tmp_path, suffix, size):
        for number, colour in enumerate(COLOURS):
            clip = open_clip(write(tmp_path / f"{number}{suffix}", [solid(colour, *size)] * 2))
            assert (clip.width, clip.height) == size
            for frame in clip:
                assert np.abs(frame.astype(int) - colour).max() <= 3, colour

    @pytest.mark.parametrize("size", [(256, 64), (255, 63)], ids=["even", "odd"])
    def test_gradient(self, tmp_path, size):
        x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
        frame = np.rint(np.stack([x, 0.3 + 0.4 * y, 1 - x], axis=2) * 255).astype(np.uint8)
        (exact,) = open_clip(write(tmp_path / "0.mp4", [frame], options=VideoOptions(crf=0)))
        assert np.abs(exact.astype(int) - frame).max() <= 3
        (usual,) = open_clip(write(tmp_path / "a.mp4", [frame]))
        errors = np.abs(usual.astype(int) - frame)
        assert errors.mean() < 1
        assert (errors <= 3).mean() > 0.99

    def test_colours_are_tagged_bt709(self, tmp_path):
        for suffix in VIDEOS:
            facts = stream_facts(write(tmp_path / f"a{suffix}", [solid((200, 40, 60))] * 2))
            assert (facts["codec"], facts["pix_fmt"]) == ("h264", "yuv420p")
            assert (facts["colorspace"], facts["range"]) == (1, 1)

    def test_stored_values_are_limited_bt709(self, tmp_path):
        import av

        path = write(tmp_path / "a.mp4", [solid((200, 40, 60))])
        with av.open(str(path)) as container:
            y, u, v = (int(np.frombuffer(plane, np.uint8)[0]) for plane in next(container.decode(video=0)).planes)
        # H.273 by hand: Y = 16 + 219 (.2126 R + .7152 G + .0722 B), Cb and Cr likewise
        assert abs(y - 80.7) <= 1
        assert abs(u - 120.7) <= 1
        assert abs(v - 196.9) <= 1

    def test_float_frames_are_rounded_and_clipped(self, tmp_path):
        frame = np.zeros((4, 4, 3), np.float32)
        frame[0, :, 0] = [100.4 / 255, 100.6 / 255, -0.2, 1.3]
        write(tmp_path / "a.png", [frame])
        assert np.asarray(Image.open(tmp_path / "a.png"))[0, :, 0].tolist() == [100, 101, 0, 255]

    def test_odd_sizes_are_444(self, tmp_path):
        facts = stream_facts(write(tmp_path / "a.mp4", [solid((1, 2, 3), 64, 33)]))
        assert facts["pix_fmt"] == "yuv444p"
        assert facts["size"] == (64, 33)

    def test_tiny_frames(self, tmp_path):
        clip = open_clip(write(tmp_path / "a.mp4", [solid((90, 90, 90), 1, 1)]))
        assert (clip.width, clip.height, len(clip)) == (1, 1, 1)

    def test_lower_crf_is_closer(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        errors = []
        for crf in (4, 40):
            (back,) = open_clip(write(tmp_path / f"{crf}.mp4", [noise], options=VideoOptions(crf=crf)))
            errors.append(np.abs(back.astype(int) - noise).mean())
        assert errors[0] < errors[1]


class TestTimes:
    @pytest.mark.parametrize("suffix", VIDEOS)
    @pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(24), Fraction(15, 2)])
    def test_rate_is_kept(self, tmp_path, suffix, fps):
        frames = [solid((40 + 3 * k,) * 3) for k in range(30)]
        path = write(tmp_path / f"a{suffix}", frames, fps)
        clip = open_clip(path)
        assert clip.fps == fps
        assert len(clip) == 30
        tick = clip.time_base
        assert max(abs(time - k / fps) for k, time in enumerate(clip.timestamps)) <= (tick if suffix == ".mkv" else 0)
        assert abs(stream_facts(path)["seconds"] - 30 / fps) < 0.002

    @pytest.mark.parametrize("suffix", VIDEOS)
    @pytest.mark.parametrize("source_suffix", [".mp4", ".mkv"])
    def test_variable_rate_is_kept(self, tmp_path, suffix, source_suffix):
        times = [Fraction(t, 1000) for t in (0, 40, 80, 200, 210, 500, 501, 900, 940, 2000)]
        source = open_clip(encode(tmp_path / f"in{source_suffix}", numbered_frames(10), times=times))
        write_clip(tmp_path / f"out{suffix}", source, source=source)
        clip = open_clip(tmp_path / f"out{suffix}")
        assert [frame_number(frame) for frame in clip] == list(range(10))
        tick = max(clip.time_base, source.time_base)
        assert max(abs(a - b) for a, b in zip(clip.timestamps, times, strict=True)) <= tick

    def test_a_rounded_constant_rate_becomes_exact(self, tmp_path):
        source = open_clip(encode(tmp_path / "in.mkv", numbered_frames(30), rate=Fraction(30000, 1001)))
        assert source.timestamps[1] != Fraction(1001, 30000)
        write_clip(tmp_path / "out.mp4", source, source=source)
        assert open_clip(tmp_path / "out.mp4").timestamps == tuple(k * Fraction(1001, 30000) for k in range(30))

    def test_times_given_by_the_caller(self, tmp_path):
        times = [Fraction(0), Fraction(1, 10), Fraction(3, 2)]
        with ClipWriter(tmp_path / "a.mp4", Fraction(25), (64, 48)) as writer:
            for time in times:
                writer.write(solid((50, 60, 70)), time)
        assert open_clip(tmp_path / "a.mp4").timestamps == tuple(times)

    def test_times_that_stand_still_move_on_by_a_tick(self, tmp_path):
        with ClipWriter(tmp_path / "a.mp4", Fraction(25), (64, 48)) as writer:
            for time in (Fraction(0), Fraction(0), Fraction(1, 25)):
                writer.write(solid((50, 60, 70)), time)
        times = open_clip(tmp_path / "a.mp4").timestamps
        assert times[0] < times[1] < times[2] == Fraction(1, 25)

    def test_more_frames_than_the_source_has(self, tmp_path):
        source = open_clip(encode(tmp_path / "in.mp4", numbered_frames(3)))
        with pytest.raises(InputError, match=r"frame 3 has no time.* 3 frames"):
            write(tmp_path / "o.mp4", [solid((1, 1, 1))] * 4, source=source)
        assert names(tmp_path) == ["in.mp4"]

    def test_pixel_aspect_is_kept(self, tmp_path):
        source = open_clip(encode(tmp_path / "in.mp4", numbered_frames(2), sample_aspect_ratio=Fraction(64, 45)))
        for suffix in VIDEOS:
            write_clip(tmp_path / f"out{suffix}", source, source=source)
            assert stream_facts(tmp_path / f"out{suffix}")["aspect"] == Fraction(64, 45)

    def test_real_clip(self, tmp_path, real_clip):
        source = open_clip(real_clip)
        write_clip(tmp_path / "out.mp4", source, source=source)
        clip = open_clip(tmp_path / "out.mp4")
        assert (clip.fps, clip.width, clip.height, len(clip)) == (25, 128, 128, 85)
        assert clip.timestamps == source.timestamps
        for a, b in zip(clip, source, strict=True):
            assert np.abs(a.astype(int) - b).mean() < 4


class TestSound:
    @pytest.mark.parametrize(
        ("source_suffix", "codec", "suffix"),
        [
            (".mp4", "aac", ".mp4"),
            (".mp4", "aac", ".mkv"),
            (".mkv", "aac", ".mov"),
            (".mkv", "libopus", ".mkv"),
            (".mkv", "libopus", ".mp4"),
            (".mov", "pcm_s16le", ".mov"),
            (".mkv", "flac", ".mp4"),
        ],
    )
    def test_copied_bit_for_bit(self, tmp_path, source_suffix, codec, suffix):
        path = encode(tmp_path / f"in{source_suffix}", numbered_frames(25), audio={"codec": codec, "layout": "mono"})
        source = open_clip(path)
        assert source.audio
        write_clip(tmp_path / f"out{suffix}", source, source=source)
        before, after = packets(path), packets(tmp_path / f"out{suffix}")
        assert len(before) > 5 or codec == "pcm_s16le"
        assert b"".join(data for _, data in after) == b"".join(data for _, data in before)
        # Matroska has no negative times, so it moves sound and picture together: compare against the picture.
        lead = packets(tmp_path / f"out{suffix}", "video")[0][0] - packets(path, "video")[0][0]
        shared = zip(after, before, strict=codec != "pcm_s16le")  # PCM is cut into other packets
        for (a, _), (b, _) in list(shared)[: 1 if codec == "pcm_s16le" else None]:
            assert abs(a - lead - b) <= Fraction(1, 500)
        assert stream_facts(tmp_path / f"out{suffix}", "audio")["sample_rate"] == 48000
        assert abs(stream_facts(tmp_path / f"out{suffix}")["seconds"] - stream_facts(path)["seconds"]) < 0.05

    @pytest.mark.parametrize(
        ("codec", "rate", "layout"), [("libopus", 48000, "stereo"), ("flac", 44100, "mono"), ("flac", 37800, "mono")]
    )
    def test_encoded_where_the_container_cannot_hold_it(self, tmp_path, codec, rate, layout):
        audio = {"codec": codec, "rate": rate, "layout": layout, "seconds": 1.5}
        path = encode(tmp_path / "in.mkv", numbered_frames(25), audio=audio)
        source = open_clip(path)
        write_clip(tmp_path / "out.mov", source, source=source)
        facts = stream_facts(tmp_path / "out.mov", "audio")
        assert facts["codec"] == "aac"
        assert facts["layout"] == layout
        assert facts["sample_rate"] == (rate if rate != 37800 else 48000)
        start, samples, rate = decoded_sound(tmp_path / "out.mov")
        assert abs(start + len(samples) / rate - 1.5) < 0.06
        middle = samples[rate // 2 : rate // 2 + rate // 4]
        spectrum = np.abs(np.fft.rfft(middle))
        assert abs(spectrum.argmax() * rate / len(middle) - 440) < 5
        assert 0.3 < np.abs(middle).max() < 0.7

    @pytest.mark.parametrize(
        ("codec", "suffix"), [("aac", ".mp4"), ("aac", ".mkv"), ("flac", ".mov")], ids=["mp4", "mkv", "encoded"]
    )
    @pytest.mark.parametrize(("video_start", "sound_start"), [(0.5, 0), (0, 0.4), (3, 3), (2, 2.5)])
    def test_a_late_start_keeps_its_place(self, tmp_path, codec, suffix, video_start, sound_start):
        times = [Fraction(video_start) + Fraction(k, 25) for k in range(25)]
        audio = {"codec": codec, "start": sound_start}
        path = encode(tmp_path / "in.mkv", numbered_frames(25), times=times, audio=audio)
        source = open_clip(path)
        write_clip(tmp_path / f"out{suffix}", source, source=source)
        clip = open_clip(tmp_path / f"out{suffix}")
        lead = video_start - sound_start  # of the sound before the picture
        for found in (path, tmp_path / f"out{suffix}"):
            sound = decoded_sound(found)[0]
            picture = float(open_clip(found).timestamps[0] + open_clip(found).origin)
            assert abs(picture - sound - lead) < 0.03, found  # AAC's lead-in is 21 ms
        assert abs(float(clip.timestamps[0]) - max(0, lead)) < 0.03

    def test_sound_longer_than_the_picture_is_kept_whole(self, tmp_path):
        path = encode(tmp_path / "in.mp4", numbered_frames(10), audio={"codec": "aac", "seconds": 3})
        source = open_clip(path)
        write_clip(tmp_path / "out.mp4", source, source=source)
        assert [data for _, data in packets(tmp_path / "out.mp4")] == [data for _, data in packets(path)]

    def test_sound_lies_beside_its_picture_in_the_file(self, tmp_path):
        import av

        # Longer than the ten seconds that FFmpeg waits for a stream that lags behind.
        audio = {"codec": "aac", "rate": 8000, "layout": "mono", "seconds": 30}
        path = encode(tmp_path / "in.mp4", numbered_frames(150), rate=Fraction(5), audio=audio)
        source = open_clip(path)
        write_clip(tmp_path / "out.mp4", source, source=source)
        with av.open(str(tmp_path / "out.mp4")) as container:
            places = sorted((packet.pos, packet.stream.type) for packet in container.demux() if packet.size)
        kinds = np.array([kind for _, kind in places])
        sound, picture = (np.cumsum(kinds == kind) / (kinds == kind).sum() for kind in ("audio", "video"))
        assert np.abs(sound - picture).max() < 0.1

    def test_a_silent_source_stays_silent(self, tmp_path):
        import av

        source = open_clip(encode(tmp_path / "in.mp4", numbered_frames(3)))
        write_clip(tmp_path / "out.mp4", source, source=source)
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert [stream.type for stream in container.streams] == ["video"]


FRAMES = [solid((10 * k, 20, 30), 16, 12) for k in range(12)]


class TestForms:
    @pytest.mark.parametrize("exists", [False, True])
    def test_folder(self, tmp_path, exists):
        target = tmp_path / "frames"
        if exists:
            target.mkdir()
        write(target, FRAMES)
        assert names(target) == [f"{k:06d}.png" for k in range(12)]
        assert names(tmp_path) == ["frames"]
        clip = open_clip(target)
        assert [f.tobytes() for f in clip] == [f.tobytes() for f in FRAMES]

    def test_existing_folder_whose_name_has_a_dot(self, tmp_path):
        (tmp_path / "take.2").mkdir()
        write(tmp_path / "take.2", FRAMES)
        assert len(names(tmp_path / "take.2")) == 12

    def test_single_picture(self, tmp_path):
        write(tmp_path / "a.png", FRAMES[3:4])
        write(tmp_path / "a.JPG", FRAMES[3:4])
        assert (np.asarray(Image.open(tmp_path / "a.png")) == FRAMES[3]).all()
        assert Image.open(tmp_path / "a.JPG").format == "JPEG"
        assert np.abs(np.asarray(Image.open(tmp_path / "a.JPG")).astype(int) - FRAMES[3]).max() <= 3

    def test_an_old_output_is_replaced(self, tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"old")
        write(tmp_path / "a.mp4", FRAMES)
        assert len(open_clip(tmp_path / "a.mp4")) == 12
        assert names(tmp_path) == ["a.mp4"]

    def test_upper_case_and_odd_names(self, tmp_path):
        name = "a b's %03d: ü.MP4" if os.name != "nt" else "a b's %03d ü.MP4"
        clip = open_clip(write(tmp_path / name, FRAMES))
        assert len(clip) == 12

    def test_relative_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write("a.mp4", FRAMES)
        write("frames", FRAMES)
        assert names(tmp_path) == ["a.mp4", "frames"]
        assert len(open_clip("a.mp4")) == len(open_clip("frames")) == 12


SCRIPT = """
import sys
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
folder = Path({library!r})
spec = spec_from_file_location("svfr_model", folder / "__init__.py", submodule_search_locations=[str(folder)])
sys.modules["svfr_model"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["svfr_model"])
from svfr_model.media import open_clip, write_clip
clip = open_clip({source!r})
write_clip({target!r}, clip, source=clip)
"""


class TestSameBytes:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
    def test_twice_and_in_another_process(self, tmp_path, root, suffix):
        # Opus into MOV is re-encoded, elsewhere it is copied.
        rng = np.random.default_rng(0)
        frames = [yuv_frame(int(y), 120, 140, 320, 240) for y in rng.integers(20, 230, 30)]
        path = encode(tmp_path / "in.mkv", frames, audio={"codec": "libopus"})
        source = open_clip(path)
        digests = set()
        for number in range(2):
            target = tmp_path / f"{number}{suffix}"
            write_clip(target, source, source=source)
            digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
        target = tmp_path / f"other{suffix}"
        script = SCRIPT.format(library=str(root / "svfr_model"), source=str(path), target=str(target))
        subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
        assert len(digests) == 1


class stopping_frames:
    """A clip of 64x48 that raises after some frames, as a cancelled restoration does."""

    fps, width, height = Fraction(25), 64, 48

    def __init__(self, count, kind):
        self.count, self.kind = count, kind

    def __iter__(self):
        yield from [solid((1, 2, 3))] * self.count
        raise self.kind("stop")


class TestFailure:
    @pytest.mark.parametrize("target", ["a.mp4", "a.mov", "a.mkv", "frames", "there", "a.png"])
    @pytest.mark.parametrize("written", [0, 1, 30])
    @pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
    def test_cancel_leaves_nothing(self, tmp_path, target, written, kind):
        source = open_clip(encode(tmp_path / "in.mp4", numbered_frames(30), audio={"codec": "aac"}))
        (tmp_path / "there").mkdir()
        if target == "a.png":
            written = min(written, 1)
        frames = stopping_frames(written, kind)
        with pytest.raises(kind, match="stop"):
            write_clip(tmp_path / target, frames, source=source)
        assert names(tmp_path) == ["in.mp4", "there"]
        assert names(tmp_path / "there") == []

    def test_cancel_keeps_the_old_output(self, tmp_path):
        (tmp_path / "a.mp4").write_bytes(b"old")
        with pytest.raises(ValueError, match="stop"):
            write_clip(tmp_path / "a.mp4", stopping_frames(3, ValueError))
        assert (tmp_path / "a.mp4").read_bytes() == b"old"
        assert names(tmp_path) == ["a.mp4"]

    def refused(self, folder, path, *words, frames=1, **kwargs):
        before = names(folder)
        with pytest.raises(InputError) as info:
            write(path, [solid((1, 2, 3))] * frames, **kwargs)
        for word in words:
            assert word in str(info.value)
        assert names(folder) == before

    def test_unknown_suffix(self, tmp_path):
        self.refused(tmp_path, tmp_path / "a.avi", ".avi", ".mp4", ".mov", ".mkv", ".png")

    def test_its_own_input(self, tmp_path):
        path = encode(tmp_path / "in.mp4", numbered_frames(2))
        data = path.read_bytes()
        os.link(path, tmp_path / "link.mp4")
        for target in (path, tmp_path / "link.mp4", tmp_path / ".." / tmp_path.name / "in.mp4"):
            self.refused(tmp_path, target, "input itself", source=open_clip(path))
        assert path.read_bytes() == data

    def test_full_folder(self, tmp_path):
        (tmp_path / "frames").mkdir()
        (tmp_path / "frames" / "x.txt").touch()
        self.refused(tmp_path, tmp_path / "frames", "not empty")
        assert names(tmp_path / "frames") == ["x.txt"]

    def test_missing_parent(self, tmp_path):
        self.refused(tmp_path, tmp_path / "no" / "a.mp4", "does not exist")

    def test_file_in_the_way_of_a_folder(self, tmp_path):
        (tmp_path / "frames").touch()
        self.refused(tmp_path, tmp_path / "frames", "in the way")

    def test_several_frames_into_a_picture(self, tmp_path):
        self.refused(tmp_path, tmp_path / "a.png", "one frame", frames=2)

    @pytest.mark.parametrize("target", ["a.mp4", "frames", "a.png"])
    def test_no_frames(self, tmp_path, target):
        with pytest.raises(InputError, match="no frame"), ClipWriter(tmp_path / target, Fraction(25), (64, 48)):
            pass
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("frame", "words"),
        [
            (np.zeros((48, 63, 3), np.uint8), "shape"),
            (np.zeros((48, 64), np.uint8), "shape"),
            (np.zeros((48, 64, 4), np.uint8), "shape"),
            (np.full((48, 64, 3), np.nan, np.float32), "not finite"),
            (np.zeros((48, 64, 3), np.int64), "int64"),
        ],
    )
    def test_frames_that_do_not_fit(self, tmp_path, frame, words):
        with pytest.raises(InputError, match=words):
            write(tmp_path / "a.mp4", [solid((1, 2, 3)), frame])
        assert names(tmp_path) == []

    def test_size_that_the_encoder_refuses(self, tmp_path):
        with pytest.raises(InputError, match=r"a\.mp4: H\.264 does not take frames of 20000x2 pixels"):
            ClipWriter(tmp_path / "a.mp4", Fraction(25), (20000, 2))
        assert names(tmp_path) == []


def test_memory_does_not_grow_with_the_clip(tmp_path):
    source = open_clip(encode(tmp_path / "in.mp4", numbered_frames(400, 256, 256), audio={"codec": "aac"}))
    assert len(source) == 400
    frame_bytes = 256 * 256 * 3
    gc.collect()
    tracemalloc.start()
    with ClipWriter(tmp_path / "out.mp4", source.fps, (256, 256), source=source) as writer:
        for frame in source:
            writer.write(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * frame_bytes
    assert len(open_clip(tmp_path / "out.mp4")) == 400


def test_noisy_frames_give_the_same_bytes_every_time(tmp_path):
    """Five frames of 64x48 for which x264's AVX-512 code gave one of four streams."""
    frames = read_picture(Path(__file__).parents[1] / "golden/video/noisy_frames.png").reshape(5, 48, 64, 3)
    written = set()
    for number in range(12):
        with ClipWriter(tmp_path / f"{number}.mp4", Fraction(10), (64, 48)) as writer:
            for frame in frames:
                writer.write(frame)
        written.add((tmp_path / f"{number}.mp4").read_bytes())
    assert len(written) == 1
