"""Paste-back in short, for tests of one frame or one track."""

from __future__ import annotations

from svfr_model.faces.color import ColorStatistics
from svfr_model.faces.paste import paste_frame


def paste(frame, patches, options=None, allowed=None):
    """The frame alone, as it comes from `paste_frame`."""
    return paste_frame(frame, patches, options, allowed).frame


def match_colors(mode, plan, originals, restored, masks=None):
    """A track's colour correction from its crops (n,3,h,w), and their masks (h,w) where there are any."""
    statistics = ColorStatistics()
    for index, (before, after) in enumerate(zip(originals, restored, strict=True)):
        statistics.add(before, after, plan.landmarks[index], None if masks is None else masks[index])
    return statistics.match(mode)
