"""The demonstration's second part: a drawn clip whose brightness flickers, and what stc-tiny makes of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..base.clip import ArrayClip
from ..files.staging import staged
from ..media import ClipWriter
from ..media.pictures import write_picture
from ..metrics.temporal import temporal_profile
from ..stc.load import ROLES, load_stc
from ..synthesis.clips import make_clip
from ..synthesis.degrade import degrade_clip
from ..weights import find
from .evaluate import HELD_OUT, SIZE
from .stc import bundled_stc
from .stc_evaluate import DAMAGE, enhanced, steadiness

SEED = HELD_OUT + 500_010
"""Of the clip, beyond all seeds that stc-tiny was trained on."""
FRAMES, ENLARGED = 48, 4
VIDEO, PROFILES = "deflicker.mp4", "deflicker_profiles.png"


def run_stc_demo(folder: Path) -> str:
    """Write VIDEO and PROFILES into a folder that is there. Returns what to tell the user."""
    truth = make_clip(SEED, FRAMES, SIZE).frames
    damaged, _ = degrade_clip(truth, DAMAGE["deflicker"], SEED)
    network = load_stc(find(ROLES["deflicker"], [bundled_stc()]), "deflicker")
    steady = enhanced(network, damaged)
    shown = (damaged, steady, truth)
    with ClipWriter(folder / VIDEO, ArrayClip([]).fps, (3 * ENLARGED * SIZE, ENLARGED * SIZE)) as writer:
        for row in zip(*shown, strict=True):
            writer.write(_enlarged(np.concatenate(row, axis=1)))
    with staged(folder / PROFILES) as path:
        write_picture(path, _enlarged(np.concatenate([temporal_profile(ArrayClip(clip)) for clip in shown])))
    before, after = (steadiness(clip, truth).brightness for clip in (damaged, steady))
    return (
        f"wrote {folder / VIDEO} (from left to right: with flicker, steadied, the truth) and {folder / PROFILES} (the "
        "same from top to bottom: the middle column of every frame, time running to the right). The mean brightness of "
        f"a frame jumps by {before:.1f} of 255 against the truth from one frame to the next, {after:.1f} after."
    )


def _enlarged(picture: np.ndarray) -> np.ndarray:
    enlarged: np.ndarray = cv2.resize(picture, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    return enlarged
