"""Streamed video in and out with PyAV: no more than a few frames in memory, whatever the clip's length."""

from .masks import MaskClip, read_mask
from .pictures import PictureClip, read_picture
from .reader import VideoClip, open_clip
from .writer import ClipWriter, write_clip

__all__ = [
    "ClipWriter",
    "MaskClip",
    "PictureClip",
    "VideoClip",
    "open_clip",
    "read_mask",
    "read_picture",
    "write_clip",
]
