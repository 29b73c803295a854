"""Weight files in ComfyUI's model folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..svfr_model.errors import WeightsError
from ..svfr_model.weights import weight_file

FOLDER = "svfr"
STATE_DICTS = (".safetensors", ".pth", ".pt")
SUFFIXES = {*STATE_DICTS, ".onnx"}


def register_folder() -> None:
    """Make models/svfr known; what extra_model_paths.yaml says of it stays."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, suffixes = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(suffixes) | SUFFIXES)


def file_input(name: str, role: str, folders: Sequence[str], suffixes: Sequence[str], tooltip: str) -> io.Combo.Input:
    """A choice among the files of folders; where it is there, the published file of the role is the default."""
    options: list[str] = []
    for folder in folders:
        found = folder_paths.get_filename_list(folder)
        options += [file for file in found if file.endswith(tuple(suffixes)) and file not in options]
    published = weight_file(role)
    named = {str(path) for path in published.candidates(Path())}
    default = next((file for file in options if file in named), options[0] if options else published.name)
    return io.Combo.Input(name, options=options, default=default, tooltip=tooltip)


def resolve(file: str, role: str, folders: Sequence[str]) -> Path:
    """The path of a file in the first of folders that has it.

    Raises WeightsError naming the file, where it was looked for, and where to get it.
    """
    for folder in folders:
        path = folder_paths.get_full_path(folder, file)
        if path is not None:
            return Path(path)
    entry = weight_file(role)
    searched = ", ".join(path for folder in folders for path in folder_paths.get_folder_paths(folder))
    raise WeightsError(
        f"{file} ({entry.purpose}) was not found in {searched}. {entry.source} "
        f"In ComfyUI that is the folder models/{folders[0]}; press R afterwards to see it."
    )


def check(file: str, role: str, folders: Sequence[str]) -> bool | str:
    """True, or why the file cannot be used, for a node's validate_inputs."""
    try:
        resolve(file, role, folders)
    except WeightsError as error:
        return str(error)
    return True
