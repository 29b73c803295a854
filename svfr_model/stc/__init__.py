"""BFVR-STC: restores or de-flickers a clip, in one forward pass per window of 24 frames."""

from __future__ import annotations

from .enhance import FACE_MARGIN, EnhanceOptions, enhance_crops, enhance_whole, motion_meter
from .load import ROLES, load_stc
from .motion import MotionMeter
from .network import TASKS, TaskName, build_network, build_stage1

__all__ = [
    "FACE_MARGIN",
    "ROLES",
    "TASKS",
    "EnhanceOptions",
    "MotionMeter",
    "TaskName",
    "build_network",
    "build_stage1",
    "enhance_crops",
    "enhance_whole",
    "load_stc",
    "motion_meter",
]
