"""Weight files in ComfyUI's model folders, and what is said where one is missing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from .. import svfr_model
from ..svfr_model.base.errors import WeightsError
from ..svfr_model.weights import weight_file
from .bundled import bundled_file, bundled_names, stand_in

FOLDER = "svfr"
STATE_DICTS = (".safetensors", ".pth", ".pt")
SUFFIXES = {*STATE_DICTS, ".onnx"}


def register_folder() -> None:
    """Make models/svfr known; what extra_model_paths.yaml says of it stays."""
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    paths, suffixes = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(suffixes) | SUFFIXES)


def file_input(
    name: str, roles: Sequence[str], folders: Sequence[str], suffixes: Sequence[str], tooltip: str
) -> io.Combo.Input:
    """A choice among the files of folders and the pack's own. roles: what a file may be, the usual first.

    The default is the usual published file where it is there, else what stands in for it, else any file; the published
    name where there is none: svfr-tiny is never taken unasked. Names under which a published file or its stand-in is
    found are listed too: the frontend calls a model missing whose name is not in the list.
    """
    files: list[str] = []
    for folder in folders:
        found = folder_paths.get_filename_list(folder)
        files += [file for file in found if file.endswith(tuple(suffixes)) and file not in files]
    published, own = weight_file(roles[0]).name, bundled_names(roles[0])
    named = [file for file in files if file in _spellings(published, roles[0])]
    others = [spelling for role in roles for spelling in _other_names(role, files)]
    default = next(iter(named or (own if stand_in(published, roles[0]) else files)), published)
    options = dict.fromkeys([*files, *others, *own])  # each once
    return io.Combo.Input(name, options=list(options), default=default, tooltip=tooltip)


def resolve(file: str, role: str, folders: Sequence[str]) -> Path:
    """The path of a file in the first of folders that has it, of a state dict also under its other endings.

    Raises WeightsError, see `missing`.
    """
    path = find_file(file, role, folders)
    if path is None:
        raise WeightsError(missing([file], [role], folders))
    return path


def installed(role: str) -> Path | None:
    """The user's own file of a role in any of ComfyUI's folders where it is searched, whatever its ending, or None."""
    entry = weight_file(role)
    for folder in entry.comfyui_folders:
        for spelling in _spellings(entry.name, role):
            path = folder_paths.get_full_path(folder, spelling)
            if path is not None:
                return Path(path)
    return None


def target_folder() -> Path:
    """Where downloads go: the first of ComfyUI's folders for this pack."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def check(file: str, roles: Sequence[str], folders: Sequence[str]) -> bool | str:
    """True, or why the file cannot be used, for a node's validate_inputs. roles: what the file may be.

    A validate_inputs takes the file's name alone: ComfyUI marks every argument of it where it complains.
    """
    if any(find_file(file, role, folders) for role in roles):
        return True
    entries = [weight_file(role) for role in roles]
    meant = [entry.role for entry in entries if file in _spellings(entry.name, entry.role)]
    return missing([file], meant or roles, folders)


def missing(files: Sequence[str], roles: Sequence[str], folders: Sequence[str]) -> str:
    """Which files are missing, where they were looked for, and the command that puts those of roles there."""
    searched = ", ".join(path for folder in folders for path in folder_paths.get_folder_paths(folder))
    entries = [weight_file(role) for role in roles]
    sources = "\n".join(f"{e.name}: {e.purpose}, from {e.url} (licence: {e.licence})" for e in entries)
    target = str(target_folder())
    those = "it" if len(entries) == 1 else "them"
    return (
        f"{' and '.join(files)} {'is' if len(files) == 1 else 'are'} missing; looked for in {searched}.\n{sources}\n"
        f"If you accept the licence, the node SVFR Get Weights fetches {those}, or this command does:\n"
        f"{download_command(roles, target)}\n"
        f"Or download {those} by hand into {target}. Then press R, and choose the file."
    )


def download_command(roles: Sequence[str], target: str) -> str:
    """A command line that works in any folder: this Python, this pack, that folder of models."""
    library = str(Path(svfr_model.__file__).parent)
    words = [sys.executable, library, "weights", "download", *roles, "--accept-license", "--weights", target]
    if sys.platform == "win32":
        return " ".join(f'"{word}"' if " " in word else word for word in words)
    return shlex.join(words)


def find_file(file: str, role: str, folders: Sequence[str]) -> Path | None:
    """The path of a file as `resolve` finds it; None where there is none."""
    own = bundled_file(file, role)
    if own is not None:
        return own
    for spelling in (file, *_spellings(file, role)):
        for folder in folders:
            path = folder_paths.get_full_path(folder, spelling)
            if path is not None:
                return Path(path)
    return stand_in(file, role)


def _other_names(role: str, files: Sequence[str]) -> list[str]:
    """Names of the published file of a role that `resolve` takes for one of files, or for what stands in for it."""
    published = weight_file(role).name
    spellings = _spellings(published, role)
    there = stand_in(published, role) is not None or any(file in spellings for file in files)
    return spellings[:2] if there else []


def _spellings(file: str, role: str) -> list[str]:
    """The names under which a file of this role is the same one: a state dict has an ending by its format."""
    if weight_file(role).kind != "state_dict" or not file.endswith(STATE_DICTS):
        return [file]
    return [file.removesuffix(Path(file).suffix) + suffix for suffix in STATE_DICTS]
