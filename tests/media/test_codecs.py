"""Codecs of the written video: what each keeps, where it goes, and that its bytes can be repeated."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from support.video import encode, stream_facts

from svfr_model.base.clip import ArrayClip
from svfr_model.base.errors import InputError
from svfr_model.media import open_clip, write_clip
from svfr_model.media.options import CodecName, VideoOptions

HOMES: dict[CodecName, str] = {"h264": ".mp4", "hevc": ".mkv", "prores": ".mov", "ffv1": ".mkv"}
FORMATS = {"h264": "yuv420p", "hevc": "yuv420p", "prores": "yuv422p10le", "ffv1": "bgr0"}
"""Of frames with 8 bits and even sides."""


def moving(count: int = 4, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A soft picture that moves: (count,H,W,3) uint8."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = [np.sin((x + 3 * k) / 9) + np.cos((y + shift) / 7) for k in range(count) for shift in (0, 9, 18)]
    levels = np.rint((np.stack(waves) + 2) * 60)
    return levels.reshape(count, 3, size[1], size[0]).transpose(0, 2, 3, 1).astype(np.uint8)


def ten_bits(path, size=(64, 48)) -> tuple[object, np.ndarray]:
    """A video of a ramp in steps of one of 1024 levels, and its luma (H,W)."""
    width, height = size
    ramp = np.tile(400 + np.arange(width), (height, 1)).astype(np.uint16)
    planes = np.concatenate([ramp, np.full((height // 2, width), 512, np.uint16)])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p10le")
    return encode(path, [frame] * 3, codec="ffv1"), ramp


@pytest.mark.parametrize("codec", HOMES)
def test_each_codec_gives_the_frames_back(tmp_path, codec):
    frames = moving()
    path = tmp_path / f"a{HOMES[codec]}"
    write_clip(path, ArrayClip(frames), options=VideoOptions(codec=codec, crf=4))
    facts = stream_facts(path)
    assert facts["codec"] == codec
    assert facts["pix_fmt"] == FORMATS[codec]
    back = np.stack(list(open_clip(path)))
    error = np.abs(back.astype(int) - frames).mean()
    assert error == 0 if codec == "ffv1" else error < 2


@pytest.mark.parametrize("codec", [codec for codec in HOMES if codec != "hevc"])
@pytest.mark.parametrize("size", [(47, 33), (64, 33)], ids=["odd", "odd height"])
def test_other_codecs_than_hevc_keep_odd_sizes(tmp_path, codec, size):
    path = tmp_path / f"a{HOMES[codec]}"
    write_clip(path, ArrayClip(moving(2, size)), options=VideoOptions(codec=codec))
    clip = open_clip(path)
    assert (clip.width, clip.height, len(clip)) == (*size, 2)


@pytest.mark.parametrize("size", [(47, 34), (48, 33)])
def test_hevc_refuses_odd_sides_which_its_encoder_does_not_survive(tmp_path, size):
    with pytest.raises(InputError, match=f"even sides only, not {size[0]}x{size[1]}"):
        write_clip(tmp_path / "a.mkv", ArrayClip(moving(1, size)), options=VideoOptions(codec="hevc"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("codec", HOMES)
def test_the_same_frames_give_the_same_bytes(tmp_path, codec):
    noise = np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), dtype=np.uint8)
    written = []
    for name in ("a", "b"):
        path = tmp_path / f"{name}{HOMES[codec]}"
        write_clip(path, ArrayClip(noise), options=VideoOptions(codec=codec))
        written.append(path.read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("codec", ["hevc", "prores", "ffv1"])
def test_ten_bits_stay_ten_bits(tmp_path, codec):
    source, ramp = ten_bits(tmp_path / "in.mkv")
    clip = open_clip(source, deep=True)
    path = tmp_path / f"out{HOMES[codec]}"
    write_clip(path, clip, source=clip, options=VideoOptions(codec=codec, crf=0))
    shown = next(iter(open_clip(path, deep=True)))
    assert shown.dtype == np.float32
    expected = (ramp - 64.0) / 876  # limited range of 10 bits
    step = 1 / 876
    assert np.abs(shown - expected[:, :, None]).max() < 0.75 * step, "nearer than the next of 1024 levels"
    assert len(np.unique(shown[20, :, 0])) == 64, "no two levels became one, as 8 bits would have it"


def test_h264_stays_with_8_bits_that_play_everywhere(tmp_path):
    source, _ = ten_bits(tmp_path / "in.mkv")
    clip = open_clip(source, deep=True)
    write_clip(tmp_path / "a.mp4", clip, source=clip)
    assert stream_facts(tmp_path / "a.mp4")["pix_fmt"] == "yuv420p"


def test_a_source_of_8_bits_is_never_deep(tmp_path):
    write_clip(tmp_path / "a.mp4", ArrayClip(moving(2)))
    clip = open_clip(tmp_path / "a.mp4", deep=True)
    assert not clip.deep
    assert next(iter(clip)).dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "codec", "says"),
    [
        ("a.mp4", "prores", (".mov or .mkv", "ProRes")),
        ("a.mov", "ffv1", (".mkv", "FFV1")),
        ("a.mp4", "hevc", (".mkv", "HEVC")),
        ("a.mp4", "ffv1", (".mkv",)),
    ],
)
def test_a_container_that_does_not_hold_the_codec_is_refused(tmp_path, name, codec, says):
    with pytest.raises(InputError) as caught:
        write_clip(tmp_path / name, ArrayClip(moving(1), Fraction(25)), options=VideoOptions(codec=codec))
    assert all(word in str(caught.value) for word in (name, *says))
    assert not list(tmp_path.iterdir())
