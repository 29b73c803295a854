"""How fast a clip moves: BFVR-STC blurs fast motion, and users should know."""

from __future__ import annotations

import logging

import cv2
import numpy as np

log = logging.getLogger(__name__)

CHANGED = 25
"""A pixel counts as changed if its grey value differs by more than this, of 255. The paper states no threshold."""

FAST = 0.15
"""A clip counts as fast if more than this share of its pixels changes per frame: our choice, not the paper's.

A talking face has 0.03, a textured picture that pans by 8 of 512 pixels per frame 0.14.
"""


class MotionMeter:
    """Motion intensity of a clip or track: how many pixels change between neighbouring frames, summed over the clip.

    The measure that the BFVR-STC paper used to clean its data (docs/reference/training.md#cleaning). level: bring each
    frame to its neighbour's mean brightness first, so that brightness flicker does not count as motion. Frames are at
    the network's size.
    """

    def __init__(self, *, level: bool = False) -> None:
        self.level = level
        self.changed = 0
        self.compared = 0
        self._before: np.ndarray | None = None

    def add(self, frame: np.ndarray) -> None:
        """Take the next frame, (h,w,3) uint8 RGB."""
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if self._before is not None:
            gain = self._before.mean() / max(float(grey.mean()), 1.0) if self.level else 1.0
            self.changed += int(np.count_nonzero(np.abs(grey * gain - self._before) > CHANGED))
            self.compared += grey.size
        self._before = grey

    def cut(self) -> None:
        """Forget the last frame: the next one belongs to another shot."""
        self._before = None

    @property
    def intensity(self) -> float:
        """Mean share of changed pixels between neighbouring frames, 0..1; 0 for a clip of one frame."""
        return self.changed / self.compared if self.compared else 0.0

    @property
    def fast(self) -> bool:
        """Whether BFVR-STC is likely to blur the clip."""
        return self.intensity > FAST

    def tell(self) -> None:
        """Log the intensity, as a warning where it is high."""
        text = "Motion intensity: %d changed pixels, %.1f%% of a frame from each frame to the next."
        if self.fast:
            log.warning(
                text + " BFVR-STC blurs motion this fast: check the result, or restore this clip with SVFR.",
                self.changed,
                100 * self.intensity,
            )
        else:
            log.info(text, self.changed, 100 * self.intensity)
