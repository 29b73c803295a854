"""Tracks made by hand, for tests that need no detection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from svfr_model.faces.geometry import TEMPLATE_256
from svfr_model.faces.track import FaceTrack, PlannedCrop

TEMPLATE = (TEMPLATE_256.astype(np.float64) - (128, 130)) / 150
"""Landmarks of a face box of side 1 around the origin."""


def make_track(centers, side=60.0, frame_size=(320, 180), start=0, number=0, **changes) -> FaceTrack:
    """A track of square boxes of the given side (one number or one per frame) around centers (n,2)."""
    centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
    sides = np.broadcast_to(np.asarray(side, dtype=np.float64), len(centers))[:, None]
    fields = {
        "id": number,
        "person": number,
        "shot": 0,
        "start": start,
        "boxes": np.concatenate([centers - sides / 2, centers + sides / 2], axis=1),
        "landmarks": centers[:, None] + TEMPLATE[None] * sides[:, :, None],
        "scores": np.full(len(centers), 0.9),
        "seen": np.ones(len(centers), dtype=bool),
        "frame_size": frame_size,
    }
    return FaceTrack(**{**fields, **changes})


def part_of(plan: PlannedCrop, entries: slice) -> PlannedCrop:
    """A plan without outlines, for some consecutive entries of its track only."""
    kept = {name: getattr(plan.track, name)[entries] for name in ("boxes", "landmarks", "scores", "seen")}
    track = replace(plan.track, start=plan.track.start + entries.start, **kept)
    return replace(plan, track=track, matrices=plan.matrices[entries], landmarks=plan.landmarks[entries])
