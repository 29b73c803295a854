"""Options that several commands share, and the kinds of values they take."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ..base.errors import InputError

MOST_SEED = 2**63 - 1


class Parser(argparse.ArgumentParser):
    """Refuses arguments the way everything else is refused: in one message, by an InputError."""

    _given: Sequence[str] = ()

    def parse_known_args(
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
            raise argparse.ArgumentTypeError(f"{text[:40]} is no whole number between {least} and {most}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """The kind of numbers within bounds; nan is in none."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text[:40]} is no number between {least:g} and {most:g}")
        return value

    return parse


def add_clips(command: argparse.ArgumentParser) -> None:
    """A clip in and a clip out."""
    command.add_argument("input", metavar="IN", type=path, help="video, picture or folder of pictures")
    command.add_argument(
        "output", metavar="OUT", type=path, help="video (.mp4, .mov, .mkv), picture, or folder of PNGs"
    )


def add_seed(command: argparse._ActionsContainer, default: int) -> None:
    """The seed of everything random."""
    what = "same seed, input and number of threads, same output"
    command.add_argument("--seed", type=whole(0, MOST_SEED), default=default, help=what)


def add_detector(group: argparse._ActionsContainer) -> None:
    """How faces are looked for."""
    group.add_argument("--detector", choices=("yunet", "yoloface", "scrfd"), default="yunet")
    group.add_argument("--threshold", type=float, help="detection threshold in (0,1); the detector's own if not given")
    add_trust(group)


def add_trust(group: argparse._ActionsContainer) -> None:
    """Whether files that are programs may run."""
    group.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="run the program in a TorchScript file (yoloface, I3D): only for files whose origin you trust",
    )


def add_detect_size(group: argparse._ActionsContainer) -> None:
    """The size at which faces are looked for."""
    group.add_argument("--detect-size", type=int, default=640, help="longer side at which faces are looked for")


def add_folders(group: argparse._ActionsContainer) -> None:
    """Where weights lie."""
    group.add_argument(
        "--weights", metavar="DIR", type=path, action="append", help="folder of weights; ./weights if not given"
    )


def add_machine(group: argparse._ActionsContainer) -> None:
    """Where the networks run, where their weights lie, and how much is said."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_folders(group)
    group.add_argument("--quiet", action="store_true", help="no progress, errors only")
