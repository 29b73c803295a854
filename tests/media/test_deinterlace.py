"""Interlaced video: deinterlaced where it is asked for, with as many frames, at the same times."""

from __future__ import annotations

import logging

import av
import numpy as np
import pytest
from PIL import Image
from support.video import encode

from svfr_model.base.errors import InputError
from svfr_model.media import open_clip
from svfr_model.media.convert import filter_graph
from svfr_model.media.options import ReadOptions

COUNT, SIZE, SPEED = 8, (96, 64), 8


def instants() -> np.ndarray:
    """A soft bar that moves by SPEED / 2 pixels from field to field: (2 COUNT, H, W) grey levels."""
    x = np.arange(SIZE[0])
    bars = [200 * np.exp(-(((x - 20 - SPEED / 2 * time) / 5) ** 2)) for time in range(2 * COUNT)]
    return np.stack([np.tile(bar, (SIZE[1], 1)) for bar in bars])


def interlaced(path, *, first: str = "tff"):
    """A video whose frames show two instants, one in each field, told and coded as interlaced."""
    times = instants()
    frames = []
    for number in range(COUNT):
        woven = times[2 * number].copy()
        later = 1 if first == "tff" else 0
        woven[later::2] = times[2 * number + 1][later::2]
        grey = np.rint(woven).astype(np.uint8)
        planes = np.concatenate([16 + grey * 0.85, np.full((SIZE[1] // 2, SIZE[0]), 128)])
        frames.append(av.VideoFrame.from_ndarray(np.rint(planes).astype(np.uint8), format="yuv420p"))
    return encode(path, [_told(frame, first) for frame in frames], options={"qp": "0", "flags": "+ilme+ildct"})


def _told(frame: av.VideoFrame, first: str) -> av.VideoFrame:
    """The frame with the mark which of its fields comes first."""
    graph = filter_graph(*SIZE, "yuv420p", [("setfield", f"mode={first}")])
    graph.push(frame)
    return graph.pull()


def combs(frame: np.ndarray) -> float:
    """How much neighbouring rows differ, in levels: 0 for a bar that stands upright."""
    return float(np.abs(np.diff(frame[..., 0].astype(float), axis=0)).mean())


@pytest.mark.parametrize("first", ["tff", "bff"])
def test_combs_go_and_the_earlier_instant_stays(tmp_path, first):
    path = interlaced(tmp_path / "a.mp4", first=first)
    woven = list(open_clip(path))
    clear = list(open_clip(path, ReadOptions(deinterlace=True)))
    assert len(clear) == len(woven) == COUNT
    early = instants()[::2]
    for number in range(1, COUNT - 1):  # without neighbours on both sides the filter sees less
        assert combs(woven[number]) > 5
        assert combs(clear[number]) < combs(woven[number]) / 4
        assert np.abs(clear[number][..., 0] - early[number]).mean() < 3


def test_times_are_those_of_the_frames(tmp_path):
    path = interlaced(tmp_path / "a.mp4")
    plain, clear = open_clip(path), open_clip(path, ReadOptions(deinterlace=True))
    assert clear.timestamps == plain.timestamps
    list(clear)
    assert clear.timestamps == plain.timestamps


def test_a_second_walk_gives_the_same_frames(tmp_path):
    clip = open_clip(interlaced(tmp_path / "a.mp4"), ReadOptions(deinterlace=True))
    assert all(np.array_equal(one, other) for one, other in zip(list(clip), list(clip), strict=True))


def test_the_warning_says_how_and_goes(tmp_path, caplog):
    path = interlaced(tmp_path / "a.mp4")
    with caplog.at_level(logging.WARNING):
        open_clip(path, ReadOptions(deinterlace=True))
        assert "interlaced" not in caplog.text
        open_clip(path)
    assert "--deinterlace" in caplog.text


def test_pictures_are_not_deinterlaced(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="only videos can be deinterlaced"):
        open_clip(tmp_path / "a.png", ReadOptions(deinterlace=True))
