"""Reading and writing video with PyAV as a stream: only a few frames are in memory, however long the clip.

Nothing is imported here before it is used: the command line reads `media.options` for its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .masks import MaskClip, read_mask
    from .pictures import PictureClip, read_picture
    from .reader import VideoClip, open_clip
    from .writer import ClipWriter, write_clip

_MODULES = {
    "masks": ("MaskClip", "read_mask"),
    "pictures": ("PictureClip", "read_picture"),
    "reader": ("VideoClip", "open_clip"),
    "writer": ("ClipWriter", "write_clip"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
