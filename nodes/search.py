"""How artists find a node of this pack: what they type, and where the frontend lists the usual ones."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.latest import io


def aliases(words: str) -> dict[str, list[str]]:
    """The argument of io.Schema by which a node is found under these words, which commas divide.

    Nothing where ComfyUI has no such argument yet: it came with 0.11.
    """
    return {"search_aliases": words.split(", ")} if _knows("search_aliases") else {}


def essential(category: str) -> dict[str, str]:
    """The argument of io.Schema that lists a node among the essential ones; nothing where ComfyUI lists none."""
    return {"essentials_category": category} if _knows("essentials_category") else {}


def _knows(argument: str) -> bool:
    """Whether this version's io.Schema takes an argument."""
    return any(field.name == argument for field in fields(io.Schema))
