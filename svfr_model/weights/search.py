"""Finding a weight file on this machine: in the user's folders, in ComfyUI's, or in this package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base.errors import WeightsError
from .registry import REGISTRY, weight_file

SHIPPED = Path(__file__).resolve().parent.parent / "models"
"""The folder of this package that holds weights, each set in its own folder."""


def comfyui_root(start: Path | None = None) -> Path | None:
    """The ComfyUI in which this pack is installed, as its path tells (<root>/custom_nodes/...), or None.

    start is the path to look at, by default this file. Links are not followed: a pack linked into custom_nodes
    belongs to the ComfyUI that holds the link.
    """
    path = (start or Path(__file__)).absolute()
    for parent in path.parents:
        if parent.name == "custom_nodes" and (parent.parent / "models").is_dir():
            return parent.parent
    return None


def default_folders() -> list[Path]:
    """Where weights are searched by default: `weights` in the current folder."""
    return [Path("weights")]


def embedded(role: str) -> Path | None:
    """The copy of a role's file that ships with this package, for users who have none, or None."""
    shipped = weight_file(role).shipped
    path = SHIPPED / shipped
    return path if shipped and path.is_file() else None


def embedded_set(name: str) -> dict[str, Path]:
    """The files, by role, of a set of networks that ships under a name, such as "svfr-tiny"; {} if it does not.

    A set is only used on request: its networks never stand in for published ones, as those of `embedded` do.
    """
    folder = SHIPPED / name
    found = {role: [path for path in entry.candidates(folder) if path.is_file()] for role, entry in REGISTRY.items()}
    return {role: paths[0] for role, paths in found.items() if paths}


def find(role: str, folders: Sequence[Path | str] | None = None, *, comfyui: Path | None = None) -> Path:
    """The file of a role, searched in folders in their order, then in ComfyUI's model folders, then in this package.

    folders defaults to `default_folders()`. comfyui is the root of a ComfyUI; by default the one in whose
    custom_nodes this pack is, if any. A state dict is accepted as .safetensors, .pth or .pt under its
    name, directly in the folder or under its path in the published repository.

    Raises WeightsError, naming the file, its purpose, its source and the folders searched.
    """
    entry = weight_file(role)
    searched = [Path(folder) for folder in (default_folders() if folders is None else folders)]
    root = comfyui or comfyui_root()
    if root is not None:
        searched += [root / "models" / name for name in entry.comfyui_folders]
    for folder in searched:
        for path in entry.candidates(folder):
            if path.is_file():
                return path
    shipped = embedded(role)
    if shipped is not None:
        return shipped
    places = ", ".join(str(folder) for folder in searched) or "no folder at all"
    raise WeightsError(f"{entry.name} ({entry.purpose}) was not found in {places}. {entry.source}")
