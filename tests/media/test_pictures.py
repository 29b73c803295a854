"""Still pictures, folders of them, and masks."""

from __future__ import annotations

import logging
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from support.video import encode, numbered_frames, yuv_frame

from svfr_model.base.errors import InputError
from svfr_model.media import PictureClip, open_clip, read_mask, read_picture, write_clip

RNG = np.random.default_rng(7)
PICTURE = RNG.integers(0, 256, (33, 47, 3), dtype=np.uint8)


def store(path, array, mode=None, **options):
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(array)
    (image.quantize(16) if mode == "P" else image).save(path, **options)
    return path


class TestReadPicture:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF", ".webp"])
    def test_colour(self, tmp_path, suffix):
        options = {"lossless": True} if suffix == ".webp" else {}
        back = read_picture(store(tmp_path / f"a{suffix}", PICTURE, **options))
        assert back.dtype == np.uint8
        assert (back == PICTURE).all()

    def test_string_path(self, tmp_path):
        assert read_picture(str(store(tmp_path / "a.png", PICTURE))).shape == (33, 47, 3)

    def test_jpeg(self, tmp_path):
        flat = np.full((32, 32, 3), (200, 40, 60), np.uint8)
        back = read_picture(store(tmp_path / "a.jpg", flat, quality=95))
        assert np.abs(back.astype(int) - flat).max() <= 3

    def test_grey(self, tmp_path):
        back = read_picture(store(tmp_path / "a.png", PICTURE[:, :, 0]))
        assert (back == PICTURE[:, :, :1]).all()

    def test_one_bit(self, tmp_path):
        back = read_picture(store(tmp_path / "a.png", PICTURE[:, :, 0] > 128))
        assert (back == np.where(PICTURE[:, :, :1] > 128, 255, 0)).all()

    def test_sixteen_bit_grey_is_rounded(self, tmp_path):
        grey = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
        back = read_picture(store(tmp_path / "a.png", grey))
        assert back[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
        assert (back == back[:, :, :1]).all()

    def test_sixteen_bit_colour(self, tmp_path):
        import cv2

        deep = RNG.integers(0, 65536, (5, 6, 3), dtype=np.uint16)
        (tmp_path / "a.png").write_bytes(cv2.imencode(".png", deep[:, :, ::-1])[1].tobytes())
        back = read_picture(tmp_path / "a.png")
        assert np.abs(back - deep / 257).max() <= 1

    def test_palette(self, tmp_path):
        colours = np.array([(200, 40, 60), (0, 255, 10)], np.uint8)[RNG.integers(0, 2, (20, 20))]
        path = store(tmp_path / "a.png", colours, "P")
        assert Image.open(path).mode == "P"
        assert (read_picture(path) == colours).all()

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_alpha_is_dropped_and_said_so(self, tmp_path, caplog, mode):
        grey = np.full((4, 4, 3), 90, np.uint8)
        if mode == "P":
            path = store(tmp_path / "a.png", grey, "P", transparency=0)
        else:
            image = Image.fromarray(grey).convert(mode)
            image.putalpha(0)
            image.save(path := tmp_path / "a.png")
        with caplog.at_level(logging.WARNING):
            assert (read_picture(path) == grey).all()
        assert "a.png" in caplog.text
        assert "alpha" in caplog.text

    def test_a_folder_says_so_once(self, tmp_path, caplog):
        for number in range(3):
            Image.new("RGBA", (4, 4)).save(tmp_path / f"{number}.png")
        clip = PictureClip(tmp_path)
        with caplog.at_level(logging.WARNING):
            assert len(list(clip)) == len(list(clip)) == 3
        assert caplog.text.count("alpha") == 1

    @pytest.mark.parametrize(
        ("orientation", "turn"),
        [
            (1, lambda p: p),
            (2, lambda p: p[:, ::-1]),
            (3, lambda p: np.rot90(p, 2)),
            (6, lambda p: np.rot90(p, -1)),
            (8, lambda p: np.rot90(p, 1)),
        ],
    )
    def test_exif_orientation(self, tmp_path, orientation, turn):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = store(tmp_path / "a.png", PICTURE, exif=exif)
        expected = turn(PICTURE)
        assert (read_picture(path) == expected).all()
        clip = open_clip(path)
        assert (clip.height, clip.width) == expected.shape[:2]

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"a\.png: there is no such file"):
            read_picture(tmp_path / "a.png")

    def test_empty(self, tmp_path):
        (tmp_path / "a.png").touch()
        with pytest.raises(InputError, match=r"a\.png: the file is empty"):
            read_picture(tmp_path / "a.png")

    def test_folder(self, tmp_path):
        with pytest.raises(InputError, match="not a file"):
            read_picture(tmp_path)

    @pytest.mark.parametrize("length", [20, 700])
    def test_cut_short(self, tmp_path, length):
        path = store(tmp_path / "a.png", PICTURE)
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(InputError, match=r"a\.png: not a picture that can be read"):
            read_picture(path)

    def test_something_else(self, tmp_path):
        (tmp_path / "a.png").write_text("no picture")
        with pytest.raises(InputError, match=r"a\.png: not a picture"):
            open_clip(tmp_path / "a.png")

    def test_floating_point(self, tmp_path):
        path = store(tmp_path / "a.tif", PICTURE[:, :, 0].astype(np.float32))
        with pytest.raises(InputError, match="floating-point"):
            read_picture(path)


class TestPictureClip:
    def test_single_picture(self, tmp_path):
        clip = open_clip(store(tmp_path / "a.png", PICTURE))
        assert isinstance(clip, PictureClip)
        assert (clip.fps, clip.width, clip.height, len(clip), clip.audio) == (25, 47, 33, 1, False)
        assert [f.tobytes() for f in clip] == [f.tobytes() for f in clip] == [PICTURE.tobytes()]

    def test_folder_in_natural_order(self, tmp_path):
        names = ["f1.png", "f2.png", "F9.png", "f10.png", "f010b.png", "g.PNG"]
        for number, name in enumerate(names):
            store(tmp_path / name, np.full((4, 6, 3), number, np.uint8))
        (tmp_path / "notes.txt").write_text("not a frame")
        (tmp_path / "._f1.png").write_text("left by a Mac")
        clip = open_clip(tmp_path)
        assert [int(frame[0, 0, 0]) for frame in clip] == list(range(6))
        assert (len(clip), clip.width, clip.height) == (6, 6, 4)
        assert clip.timestamps[5] == Fraction(5, 25)

    def test_names_of_unusual_digits(self, tmp_path):
        for name in ("a².png", "a1.png", "1.png"):
            store(tmp_path / name, PICTURE)
        assert len(open_clip(tmp_path)) == 3

    def test_one_frame_is_read_at_a_time(self, tmp_path):
        for number in range(3):
            store(tmp_path / f"{number}.png", PICTURE)
        walk = iter(open_clip(tmp_path))
        next(walk)
        (tmp_path / "1.png").write_bytes(b"now broken")
        with pytest.raises(InputError, match=r"1\.png"):
            next(walk)

    def test_empty_folder(self, tmp_path):
        with pytest.raises(InputError, match="no picture in this folder"):
            open_clip(tmp_path)

    def test_sizes_that_differ(self, tmp_path):
        store(tmp_path / "1.png", PICTURE)
        store(tmp_path / "2.png", PICTURE[:30])
        with pytest.raises(InputError, match=r"2\.png: 47x30 .* 1\.png .* 47x33"):
            open_clip(tmp_path)


def animate(path, count=4, durations=(40, 80, 120, 60), size=(12, 8), **options):
    """Save grey frames 0, 20, 40, ... as one file; durations in milliseconds."""
    first, *rest = (Image.new("RGB", size, (20 * number,) * 3) for number in range(count))
    first.save(path, save_all=True, append_images=rest, duration=list(durations[:count]), **options)
    return path


class TestAnimated:
    @pytest.mark.parametrize(
        ("name", "options"),
        [("a.webp", {"lossless": True}), ("a.png", {}), ("a.gif", {}), ("a.apng", {"format": "PNG"})],
    )
    def test_frames_and_their_times(self, tmp_path, name, options):
        clip = open_clip(animate(tmp_path / name, **options))
        for _ in range(2):
            assert [int(frame[3, 5, 0]) for frame in clip] == [0, 20, 40, 60]
        times = [Fraction(time, 1000) for time in (0, 40, 120, 240)]
        assert all(abs(found - time) < Fraction(1, 1000) for found, time in zip(clip.timestamps, times, strict=True))
        write_clip(tmp_path / "o.mp4", clip, source=clip)
        again = open_clip(tmp_path / "o.mp4").timestamps
        assert all(abs(found - time) < Fraction(1, 1000) for found, time in zip(again, times, strict=True))

    def test_pages_of_a_tiff_follow_each_other(self, tmp_path):
        clip = open_clip(animate(tmp_path / "a.tif"))
        assert [int(frame[3, 5, 0]) for frame in clip] == [0, 20, 40, 60]
        assert (clip.fps, clip.timestamps[3]) == (25, Fraction(3, 25))

    def test_pages_of_different_sizes(self, tmp_path):
        Image.new("RGB", (12, 8)).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("RGB", (6, 4))])
        with pytest.raises(InputError, match=r"a\.tif: its picture 2 has 6x4 pixels, the first one 12x8"):
            open_clip(tmp_path / "a.tif")

    @pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
    def test_where_one_picture_is_needed(self, tmp_path, name):
        path = animate(tmp_path / name)
        with pytest.raises(InputError, match=rf"{name}: the file holds 4 pictures, but one is needed"):
            read_picture(path)
        with pytest.raises(InputError, match=rf"{name}: the file holds 4 pictures, but one is needed"):
            open_clip(tmp_path)

    def test_further_views_in_a_jpeg_are_no_frames(self, tmp_path):
        first, second = (Image.new("RGB", (16, 16), (value,) * 3) for value in (10, 200))
        first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
        assert len(open_clip(tmp_path / "a.jpg")) == 1
        assert read_picture(tmp_path / "a.jpg").max() < 20

    def test_as_a_moving_mask(self, tmp_path):
        masks = read_mask(animate(tmp_path / "m.png", 4), 4, 12, 8)
        assert [mask.any() for mask in masks] == [False] * 4
        with pytest.raises(InputError, match="the mask has 4 frames, the clip 9"):
            read_mask(tmp_path / "m.png", 9, 12, 8)


class TestGaps:
    @pytest.mark.parametrize(
        ("numbers", "words"),
        [
            ([0, 1, 2, 5, 9], "missing from the sequence (3, 4, 6, 7, 8);"),
            ([1, 2, 40], "missing from the sequence (3, 4, 5, 6, 7, 8, 9, 10, ...);"),
            ([0, 10, 30], "missing from the sequence (20);"),
            ([0, 1, 2], None),
            ([10, 20, 30], None),
        ],
    )
    def test_are_named(self, tmp_path, caplog, numbers, words):
        for number in numbers:
            store(tmp_path / f"take2_{number:04d}.png", PICTURE)
        with caplog.at_level(logging.WARNING):
            assert len(open_clip(tmp_path)) == len(numbers)
        assert (words in caplog.text) if words else not caplog.text

    def test_names_of_many_kinds_are_no_sequence(self, tmp_path, caplog):
        for name in ("a1.png", "a2.png", "b9.png", "cover.png"):
            store(tmp_path / name, PICTURE)
        open_clip(tmp_path)
        assert not caplog.text


MASKED = np.zeros((8, 12), bool)
MASKED[2:5, 3:9] = True
PHOTO = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)


class TestMasksWithAlpha:
    def stored(self, path, colours, alpha):
        return store(path, np.dstack([np.broadcast_to(np.uint8(colours), (8, 12, 3)), np.uint8(alpha)]))

    @pytest.mark.parametrize(
        ("colours", "alpha", "reading"),
        [
            (PHOTO, np.where(MASKED, 0, 255), "transparent"),  # ComfyUI's mask editor
            (0, np.where(MASKED, 0, 255), "transparent"),  # transparent in black
            (255, np.where(MASKED, 255, 0), "opaque"),  # white strokes on nothing
            (np.where(MASKED, 255, 0)[..., None], np.where(MASKED, 255, 0), "opaque"),
            (np.where(MASKED, 255, 0)[..., None], np.full((8, 12), 255), "colour"),
            (np.where(MASKED, 255, 0)[..., None], np.full((8, 12), 128), "colour"),
        ],
    )
    def test_are_read_as_drawn(self, tmp_path, caplog, colours, alpha, reading):
        with caplog.at_level(logging.WARNING):
            (mask,) = read_mask(self.stored(tmp_path / "m.png", colours, alpha), 1, 12, 8)
        assert (mask == MASKED).all()
        assert (f"what is {reading} is masked" in caplog.text) == (reading != "colour")
        assert len(caplog.records) == (reading != "colour")

    def test_black_and_white_under_a_varying_alpha_is_refused(self, tmp_path):
        colours = np.where(np.arange(12)[None, :, None] < 6, 255, 0).repeat(8, 0)
        path = self.stored(tmp_path / "m.png", colours, np.where(MASKED, 0, 255))
        with pytest.raises(InputError, match=r"m\.png: the mask could be drawn in its colours or in its transparency"):
            read_mask(path, 1, 12, 8)

    def test_one_reading_for_a_folder(self, tmp_path):
        for number, drawn in enumerate((np.zeros_like(MASKED), MASKED, np.ones_like(MASKED))):
            self.stored(tmp_path / "m" / f"{number}.png", PHOTO, np.where(drawn, 0, 255))
        assert [int(mask.sum()) for mask in read_mask(tmp_path / "m", 3, 12, 8)] == [0, 18, 96]


class TestMasks:
    def test_one_picture_serves_every_frame(self, tmp_path):
        grey = np.zeros((48, 64), np.uint8)
        grey[10:20, 30:50] = 255
        masks = read_mask(store(tmp_path / "m.png", grey), 5, 64, 48)
        assert (len(masks), masks.width, masks.height) == (5, 64, 48)
        for _ in range(2):
            walked = list(masks)
            assert len(walked) == 5
            assert all(mask.dtype == bool and (mask == (grey > 0)).all() for mask in walked)

    def test_soft_values_from_one_half_are_missing(self, tmp_path):
        grey = np.array([[0, 1, 127, 128, 254, 255]], np.uint8)
        (mask,) = read_mask(store(tmp_path / "m.png", grey), 1, 6, 1)
        assert mask[0].tolist() == [False, False, False, True, True, True]

    def test_colour_counts_by_luma(self, tmp_path):
        colours = np.array([[(255, 255, 255), (0, 255, 0), (255, 0, 0), (0, 0, 255), (255, 255, 0)]], np.uint8)
        (mask,) = read_mask(store(tmp_path / "m.png", colours), 1, 5, 1)
        assert mask[0].tolist() == [True, True, False, False, True]

    @pytest.mark.parametrize("size", [(128, 96), (32, 24), (97, 31)])
    def test_any_size(self, tmp_path, size):
        grey = np.zeros((48, 64), np.uint8)
        grey[12:36, 16:48] = 255  # a quarter in from every side
        (mask,) = read_mask(store(tmp_path / "m.png", grey), 1, *size)
        width, height = size
        assert mask.shape == (height, width)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert abs(rows[0] - height / 4) <= 1
        assert abs(rows[-1] + 1 - 3 * height / 4) <= 1
        assert abs(columns[0] - width / 4) <= 1
        assert abs(columns[-1] + 1 - 3 * width / 4) <= 1
        assert abs(mask.mean() - 0.25) < 0.02

    @pytest.mark.parametrize("shift", [0, 1, 2, 3])
    def test_shrinking_takes_the_majority(self, tmp_path, shift):
        block = np.full((4, 4), 255, np.uint8)  # 12 of 16 are white, wherever the black ones lie
        block[:2, :2] = 0
        block = np.roll(block, (shift, shift), (0, 1))
        (mask,) = read_mask(store(tmp_path / "m.png", np.tile(block, (6, 8))), 1, 8, 6)
        assert mask.all()
        (mask,) = read_mask(store(tmp_path / "n.png", np.tile(255 - block, (6, 8))), 1, 8, 6)
        assert not mask.any()

    def test_video(self, tmp_path):
        frames = [yuv_frame(235 if number % 3 == 0 else 16, 128, 128) for number in range(7)]
        masks = read_mask(encode(tmp_path / "m.mp4", frames), 7, 64, 48)
        assert [mask.all() for mask in masks] == [number % 3 == 0 for number in range(7)]
        assert [mask.any() for mask in masks] == [number % 3 == 0 for number in range(7)]

    def test_folder(self, tmp_path):
        for number in range(3):
            store(tmp_path / "m" / f"{number}.png", np.full((8, 8), 255 * (number == 1), np.uint8))
        assert [mask.all() for mask in read_mask(tmp_path / "m", 3, 16, 16)] == [False, True, False]

    def test_frame_counts_that_do_not_fit(self, tmp_path):
        path = encode(tmp_path / "m.mp4", numbered_frames(7))
        with pytest.raises(InputError, match=r"m\.mp4: the mask has 7 frames, the clip 9"):
            read_mask(path, 9, 64, 48)

    def test_missing(self, tmp_path):
        with pytest.raises(InputError, match=r"m\.png: there is no such file"):
            read_mask(tmp_path / "m.png", 9, 64, 48)
