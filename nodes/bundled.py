"""What comes with the pack, under names of its own among the files that the loaders offer."""

from __future__ import annotations

from pathlib import Path

from ..svfr_model.weights import embedded, embedded_set, weight_file

TINY = "svfr-tiny (bundled, drawn faces only)"
STC_TINY = "stc-tiny (bundled, drawn faces only)"
YUNET = "YuNet (bundled)"
"""Saved workflows know them by these names; they end like no file, so that the frontend offers no download for them."""

TINY_NOTICE = (
    "svfr-tiny only knows drawn faces of 64x64 pixels, and makes photographs worse: use it to try the nodes out, with "
    "the width and height of SVFR Face Crop at 64. For real faces, load the published networks."
)

STC_TINY_NOTICE = (
    "stc-tiny only knows drawn faces of 64x64 pixels, and makes photographs worse: use it to try the nodes out. For "
    "real clips, load BFVR-STC's published networks."
)
SETS = {TINY: "svfr-tiny", STC_TINY: "stc-tiny"}
"""The name of a set in `embedded_set`, by what the loaders call it."""


def bundled_names(role: str) -> list[str]:
    """The names under which the pack itself has a network of this role."""
    tiny = [name for name, kept in SETS.items() if role in embedded_set(kept)]
    return tiny + [YUNET] * (role == "yunet" and embedded(role) is not None)


def bundled_file(name: str, role: str) -> Path | None:
    """The pack's own file of a role by one of `bundled_names`; None for any other name."""
    if name in SETS:
        return embedded_set(SETS[name]).get(role)
    return embedded(role) if name == YUNET and role == "yunet" else None


def stand_in(name: str, role: str) -> Path | None:
    """The pack's own file where a workflow names the published one and the user has none; None where there is none."""
    return embedded(role) if name == weight_file(role).name else None
