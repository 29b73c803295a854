"""Small clips written and read through the library."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from svfr_model.media import ClipWriter, open_clip


def frames_of(path):
    return np.stack(list(open_clip(path)))


def gradient(count, height, width):
    columns = np.linspace(0, 200, width)[None, :, None]
    return [np.broadcast_to(columns + 5 * k, (height, width, 3)).astype(np.uint8) for k in range(count)]


def write(path, frames, fps=Fraction(25)):
    with ClipWriter(path, fps, (frames[0].shape[1], frames[0].shape[0])) as writer:
        for frame in frames:
            writer.write(frame)
    return path
