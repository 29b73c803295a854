"""ComfyUI-SVFR: face restoration for video as ComfyUI nodes.

ComfyUI imports this file by path. It stays importable without ComfyUI, so that tools and tests can look at it: the
nodes are imported when ComfyUI asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import SVFRExtension

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> SVFRExtension:
    """What ComfyUI calls to get the nodes."""
    from .nodes import SVFRExtension

    return SVFRExtension()
