"""Frames made smaller before faces are searched in them, and the faces found there brought back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .face import Face
from .options import SEARCH_SIZE


@dataclass(frozen=True)
class Reduction:
    """Frames of one size, searched at another of nearly the same proportions: both (width, height) in pixels."""

    size: tuple[int, int]
    reduced: tuple[int, int]

    @classmethod
    def to(cls, width: int, height: int, longest: int = SEARCH_SIZE) -> Reduction:
        """Reduce frames of this size until their longer side has `longest` pixels; never enlarge."""
        factor = min(1.0, longest / max(width, height))
        return cls((width, height), (max(1, round(width * factor)), max(1, round(height * factor))))

    def shrink(self, frame: np.ndarray) -> np.ndarray:
        """A frame (H,W,3) of the size as a reduced one, (h,w,3); the frame itself where nothing is reduced."""
        return frame if self.reduced == self.size else cv2.resize(frame, self.reduced, interpolation=cv2.INTER_AREA)

    def enlarge(self, face: Face) -> Face:
        """A face of the reduced frame in pixels of the frame."""
        return face.scaled(self.size[0] / self.reduced[0], self.size[1] / self.reduced[1])
