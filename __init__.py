"""ComfyUI-SVFR: face restoration for video as ComfyUI nodes.

ComfyUI imports this file by path. It stays importable without ComfyUI, so that tools and tests can look at it.
"""

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY"]
