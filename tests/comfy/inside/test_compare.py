"""SVFR Compare: the files that its page plays, what is drawn over them, and what it says of clips that do not match."""

from __future__ import annotations

import json
import tracemalloc
from fractions import Fraction

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from svfr_pack.nodes.compare import Compare
from svfr_pack.nodes.face import FaceCrop
from svfr_pack.svfr_model.base.clip import ArrayClip
from svfr_pack.svfr_model.base.errors import InputError
from svfr_pack.svfr_model.media import open_clip, write_clip
from svfr_pack.svfr_model.media.options import VideoOptions
from test_nodes import FixedFaces, call
from test_nodes import clip as noise

FACE = FixedFaces((0.3, 0.25, 0.7, 0.75), size=(96, 120))


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """ComfyUI's folder for temporary files."""
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return tmp_path


def grey(count, level, size=(96, 120)):
    return torch.full((count, *size, 3), level)


def video(frames, rate=24):
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=None, frame_rate=Fraction(rate)))


def compared(before, after, **more):
    widgets = {"label_before": ["old"], "label_after": ["new"], "fps": [25.0]}
    made = Compare.execute(before=[before], after=[after], **widgets, **more)
    (shown,) = made.ui["svfr_compare"]
    return made.args[0], shown, made.ui["text"]


def frames_of(path):
    return np.stack(list(open_clip(path)))


def test_each_clip_is_a_video_of_its_frames(temporary):
    together, shown, told = compared(grey(7, 0.25), grey(7, 0.75))
    assert told == []
    assert (shown["count"], shown["fps"], shown["labels"]) == (7, 25.0, ["old", "new"])
    for name, level in (("before", 64), ("after", 191)):
        frames = frames_of(temporary / shown[name])
        assert frames.shape == (7, 96, 120, 3)
        assert np.abs(frames.astype(int) - level).max() <= 2
    both = frames_of(together.get_stream_source())
    assert both.shape == (7, 96, 240, 3)
    assert np.abs(both[:, 40:, :118].astype(int) - 64).max() <= 4
    assert np.abs(both[:, 40:, 122:].astype(int) - 191).max() <= 4
    assert (both[:, :30, :60] > 200).any()  # the labels
    assert (both[:, :30, 120:180] > 230).any()


def test_a_videos_rate_counts_and_sizes_may_differ(temporary):
    """Odd sides get a pixel more, which the page does not show."""
    together, shown, _ = compared(video(grey(5, 0.5, (33, 47))), grey(5, 0.5, (66, 94)))
    assert shown["fps"] == 24
    assert shown["sizes"] == ((47, 33), (94, 66))
    clip = open_clip(temporary / shown["before"])
    assert (clip.width, clip.height, clip.fps) == (48, 34, 24)
    assert open_clip(together.get_stream_source()).width == 188


def test_a_shorter_clip_is_told():
    _, shown, told = compared(grey(7, 0.2), grey(5, 0.2))
    assert shown["count"] == 5
    assert "7 frames, the one after 5" in told[0]


def test_tracks_and_mask_are_drawn_where_they_are(temporary):
    frames = noise(6, 96, 120)
    mask = torch.zeros(1, 96, 120)
    mask[:, 20:30, 40:60] = 1
    _, _, tracks, _ = call(FaceCrop, frames=frames, detector=FACE, width=64, height=64, margin=0.0)
    _, shown, _ = compared(frames, frames, tracks=tracks, mask=[mask])
    marks = json.loads((temporary / shown["overlay"]).read_text())
    (track,) = marks["tracks"]
    assert (marks["size"], track["start"], len(track["boxes"]), len(track["crops"])) == ([120, 96], 0, 6, 6)
    assert track["boxes"][0] == pytest.approx([36, 24, 84, 72], abs=0.6)
    xs, ys = track["crops"][0][::2], track["crops"][0][1::2]
    assert min(xs) <= 36.6
    assert max(xs) >= 83.4
    assert max(ys) - min(ys) == pytest.approx(max(xs) - min(xs), abs=0.3)
    assert marks["masks"] == [0] * 6
    ((outline,),) = marks["shapes"]
    assert (min(outline[::2]), max(outline[::2]), min(outline[1::2]), max(outline[1::2])) == (40, 59, 20, 29)


def test_tracks_of_another_clip_are_refused():
    _, _, tracks, _ = call(FaceCrop, frames=noise(6, 96, 120), detector=FACE, width=64, height=64)
    with pytest.raises(InputError, match="frames of 120x96 pixels, the clip before has 60x48"):
        compared(grey(6, 0.5, (48, 60)), grey(6, 0.5), tracks=tracks)


def test_memory_does_not_grow_with_the_length(tmp_path):
    """What Python and NumPy hold at the peak: 40 frames of a file take as much as 10 do."""
    peaks = []
    for count in (10, 40):
        frame = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
        path = tmp_path / f"{count}.mkv"
        write_clip(path, ArrayClip([frame] * count), options=VideoOptions(codec="ffv1"))
        clip = InputImpl.VideoFromFile(str(path))
        tracemalloc.start()
        compared(clip, clip)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 4 * frame.nbytes, peaks
