"""The command line: `python -m svfr_model restore`, `stc`, `batch`, `evaluate` and the rest of `COMMANDS`.

Only this package prints. Each command is a module of it: `add` adds its parser, which names the function that runs it.
Exit codes: 0 done, 2 unusable input or arguments, 3 weights, 4 no face, 5 a package that is missing or cannot do what
is asked, 6 a result that is not finite, 7 clips of a batch that failed, 1 any other error of ours, 128 + n ended by
signal n: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, 141 where whoever read the output has gone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ..base.errors import InputError
from . import batch, degrade, demo, doctor, evaluate, process, report, restore, stc, train, weights
from .options import Parser

COMMANDS = (restore, stc, batch, evaluate, degrade, train, weights, doctor, report, demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors of ours are printed as one message without a traceback."""
    process.prepare_streams()
    given: list[argparse.Namespace] = []

    def parse() -> int:
        given.append(_parsed(arguments))
        return 0

    code = process.run(parse)
    if not given:
        return code
    (options,) = given
    process.prepare_log(options.quiet)
    return process.run(lambda: options.run(options) or 0, goes_on=getattr(options, "goes_on", ""))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    try:
        os.getcwd()
    except FileNotFoundError as error:  # without it, torch ends the process
        raise InputError("The folder that you are in is not there any more: go to another (cd), and repeat.") from error
    return build_parser().parse_args(arguments)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Building it imports nothing heavy."""
    parser = Parser(prog="python -m svfr_model", description="Restore, colorize and inpaint faces in video.")
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser
