"""The lines of a batch's manifest as what they ask for: every flag of `restore` and `stc` is a key, and no other is."""

from __future__ import annotations

import argparse
import copy
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.errors import InputError
from . import restore, stc
from .options import path

if TYPE_CHECKING:
    from ..runs.batch import BatchClip
    from ..runs.manifest import Row

KINDS = {"restore": restore, "stc": stc}
"""The commands that a clip can be given to, by name."""
_OWN_KEYS = ("input", "output", "command")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_BETWEEN = ";"
"""What stands between several values in a cell."""


@dataclass(frozen=True)
class Given:
    """What was given for all clips. command: for those that name none. parsers: of the commands, by name.

    options: of that command. folder: where relative paths of a manifest begin. results: the folder of results.
    """

    command: str
    parsers: Mapping[str, argparse.ArgumentParser]
    options: argparse.Namespace
    folder: Path
    results: Path

    def for_command(self, name: str) -> argparse.Namespace:
        """The options that a clip of a command begins with."""
        return copy.copy(self.options) if name == self.command else self.parsers[name].parse_args([])


def clip_of(row: Row, given: Given) -> BatchClip:
    """What a row asks for. Raises InputError, which names the line, for what cannot be used."""
    from ..runs.batch import BatchClip

    try:
        name = _command(row, given)
        namespace = _namespace(row, given, name)
        namespace.input = given.folder / str(row.values["input"])
        place = _result(row, namespace.input)
        namespace.output = given.results / place
        job, loader = KINDS[name].requested(namespace)
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from error
    return BatchClip(place.as_posix(), row.where, job, loader)


def _command(row: Row, given: Given) -> str:
    """The command of a row, which must name an input."""
    if not str(row.values.get("input", "")).strip():
        raise InputError("no input is named. Give the clip to restore under the key input.")
    name = row.values.get("command", given.command)
    if name not in KINDS:
        raise InputError(f"command must be {' or '.join(KINDS)}, not {str(name)[:40]!r}.")
    return str(name)


def _namespace(row: Row, given: Given, command: str) -> argparse.Namespace:
    """The command's options with those of the row."""
    parser, namespace = given.parsers[command], given.for_command(command)
    flags = _flags(parser)
    words: list[str] = []
    for key, value in row.values.items():
        if key in _OWN_KEYS:
            continue
        if key not in flags:
            raise InputError(_unknown(key, flags, command))
        for action in _together(parser, flags[key]):
            vars(namespace).pop(action.dest, None)  # what the row says replaces it, pictures of a person too
        words += _words(flags[key], key, value, given.folder)
    return parser.parse_args(words, namespace)


def _flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """A command's flags by their keys."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    return {_key(word): action for action in actions for word in action.option_strings}


def _key(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


def _together(parser: argparse.ArgumentParser, action: argparse.Action) -> list[argparse.Action]:
    """A flag and those that exclude it."""
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    return [action, *(other for group in groups if action in group for other in group if other is not action)]


def _unknown(key: str, flags: Iterable[str], command: str) -> str:
    near = difflib.get_close_matches(key, [*flags, *_OWN_KEYS], 1)
    meant = f"Did you mean {near[0]}? " if near else ""
    return (
        f"{command} has no option {key[:60]}. {meant}Keys are input, output, command, and the flags of the command: "
        f"python -m svfr_model {command} --help"
    )


def _words(action: argparse.Action, key: str, value: Any, folder: Path) -> list[str]:
    """A value as the command line has it."""
    flag = action.option_strings[0]
    if action.nargs == 0:
        return [flag] if _truth(key, value) else []
    several = action.nargs == "+" or isinstance(action, argparse._AppendAction)
    values = value if isinstance(value, list) else str(value).split(_BETWEEN) if several else [value]
    words = [_word(action, key, member, folder) for member in values]
    if action.nargs == "+" or isinstance(action.nargs, int):
        return [flag, *words]
    if len(words) != 1 and not several:
        raise InputError(f"{key} takes one value, not {len(words)}.")
    return [f"{flag}={word}" for word in words]


def _truth(key: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in (*_TRUE, *_FALSE):
        raise InputError(f"{key} must be true or false, not {str(value)[:40]!r}.")
    return word in _TRUE


def _word(action: argparse.Action, key: str, value: Any, folder: Path) -> str:
    """One value as a word; a path begins in the manifest's folder."""
    if isinstance(value, bool | dict | list):
        raise InputError(f"{key} cannot be {str(value)[:40]}: give a word or a number.")
    word = str(value).strip()
    names_file = action.type is path or (key == "faces" and (folder / word).is_file())
    return str(folder / word) if names_file and word else word


def _result(row: Row, source: Path) -> Path:
    """Where a clip's result goes, below the folder of results: by default it is called as its input."""
    given = str(row.values.get("output", "")).strip()
    place = Path(given or _result_name(source))
    if place.is_absolute() or place.drive or ".." in place.parts or not place.name:
        raise InputError(f"output must lie in the folder of results, not at {str(place)[:80]!r}. Give a relative path.")
    return place


def _result_name(source: Path) -> str:
    """The name of a clip, with another suffix where its kind cannot be written."""
    from ..files.paths import PICTURE_SUFFIXES
    from ..media.writer import clip_output

    if source.is_dir():
        return source.name.replace(".", "_")  # a folder of pictures again; what has a suffix would be a file
    if source.suffix.lower() in clip_output(source).suffixes:
        return source.name
    return f"{source.stem}{'.png' if source.suffix.lower() in PICTURE_SUFFIXES else '.mp4'}"
