"""Reading and writing video with PyAV as a stream: only a few frames are in memory, however long the clip."""

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
