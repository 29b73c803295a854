"""What artists type when they look for a node of this pack."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.latest import io


def aliases(words: str) -> dict[str, list[str]]:
    """The argument of io.Schema by which a node is found under these words, which commas divide.

    Nothing where ComfyUI has no such argument yet: it came with 0.11.
    """
    known = any(field.name == "search_aliases" for field in fields(io.Schema))
    return {"search_aliases": words.split(", ")} if known else {}
