"""Options that several commands share, and the kinds of values they take."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

from ..base.errors import InputError
from ..media.options import ReadOptions, VideoOptions
from ..runs.options import DeviceOptions
from .derive import add_options

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a command adds itself to."""


class Parser(argparse.ArgumentParser):
    """Refuses arguments the way everything else is refused: in one message, by an InputError."""

    _given: Sequence[str] = ()

    def parse_known_args(  # type: ignore[override]  # the overloads say the same of any namespace
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Keep what was given, for the message of an error."""
        self._given = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        files = [word for word in self._given if word.startswith("-") and os.path.lexists(word)]
        hint = f" {files[0]} was taken for an option: write ./{files[0]}." if files else ""
        raise InputError(f"{message}.{hint} See: {self.prog} --help")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the default of every value that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "") or action.nargs == 0:
            return action.help
        return super()._get_help_string(action)


def path(text: str) -> Path:
    """A path that is not empty, as an unset variable of a shell gives it."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty: give the path of a file or folder")
    return Path(text)


def whole(least: int, most: int) -> Callable[[str], int]:
    """The kind of whole numbers within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]} is not a whole number between {least} and {most}")
        return value

    return parse


def add_clips(command: argparse.ArgumentParser) -> None:
    """A clip in and a clip out."""
    command.add_argument("input", metavar="IN", type=path, help="video, picture or folder of pictures")
    command.add_argument(
        "output", metavar="OUT", type=path, help="video (.mp4, .mov, .mkv), picture, or folder of PNGs"
    )


def add_video(command: argparse.ArgumentParser) -> None:
    """How videos are read and written."""
    add_options(command.add_argument_group("video"), ReadOptions, VideoOptions)


def add_folders(group: argparse._ActionsContainer) -> None:
    """Where weights lie."""
    group.add_argument(
        "--weights",
        metavar="DIR",
        type=path,
        action="append",
        help="folder of weights, may be repeated; ./weights if not given",
    )


def add_work(group: argparse._ActionsContainer) -> None:
    """Where a run keeps what does not fit into memory."""
    group.add_argument(
        "--work",
        metavar="DIR",
        type=path,
        help="folder for the crops and latents of the run, with which a killed one goes on; beside OUT if not given",
    )


def add_machine(group: argparse._ActionsContainer) -> None:
    """Where the networks run, where their weights lie, and how much is said."""
    add_device(group)
    add_quiet(group)


def add_device(group: argparse._ActionsContainer) -> None:
    """Where the networks run, and where their weights lie."""
    add_options(group, DeviceOptions)
    add_folders(group)


def add_quiet(group: argparse._ActionsContainer) -> None:
    """How much is said."""
    group.add_argument("--quiet", action="store_true", help="no progress, errors only")
