"""Commands hold a few frames, not the clip: what they allocate does not grow with it."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest

from svfr_model.commands import main
from svfr_model.media import ClipWriter

WIDTH, HEIGHT = 320, 180
FRAME = WIDTH * HEIGHT * 3


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A moving pattern of 4, 12, 20 and 80 frames."""
    folder = tmp_path_factory.mktemp("clips")
    blocks = np.random.default_rng(0).integers(0, 256, (HEIGHT // 20, WIDTH // 20, 3), np.uint8)
    pattern = blocks.repeat(20, 0).repeat(20, 1)
    for count in (4, 12, 20, 80):
        with ClipWriter(folder / f"{count}.mp4", Fraction(25), (WIDTH, HEIGHT)) as writer:
            for number in range(count):
                writer.write(np.roll(pattern, number, 1))
    return folder


@pytest.mark.slow  # every allocation is traced
@pytest.mark.parametrize(
    ("words", "short", "long"),
    [
        # More than the frames that the codec holds back in both.
        ("degrade {clip} {out} --tasks bfr,colorization,inpainting --brightness-flicker 0.3 --mask-out {mask}", 20, 80),
        ("evaluate {clip} {clip} --device cpu", 4, 12),
    ],
    ids=["degrade", "evaluate"],
)
def test_memory_does_not_grow_with_the_clip(clips, tmp_path, words, short, long):
    def peak(count):
        places = {"clip": clips / f"{count}.mp4", "out": tmp_path / "o.mp4", "mask": tmp_path / "m.mp4"}
        tracemalloc.start()
        assert main([word.format(**places) for word in [*words.split(), "--quiet"]]) == 0
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(4)  # what is imported at first use
    # Frames held would be (long - short) x FRAME; times and figures of a frame are a few hundred bytes.
    assert peak(long) - peak(short) < 2 * FRAME
