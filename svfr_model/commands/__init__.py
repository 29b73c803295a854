"""The command line: `python -m svfr_model restore | stc | evaluate | degrade | train | weights | doctor | demo`.

Only this package prints. Each command is a module of it: `add` adds its parser, which names the function that runs it.
Exit codes: 0 done, 2 unusable input or arguments, 3 weights, 4 no face, 5 a package that is missing or cannot do what
is asked, 6 a result that is not finite, 1 any other error of ours, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from ..errors import SVFRError
from . import degrade, demo, doctor, evaluate, restore, stc, train, weights

COMMANDS = (restore, stc, evaluate, degrade, train, weights, doctor, demo)
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors of ours are printed as one message without a traceback."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.ERROR if options.quiet else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    try:
        return options.run(options) or 0
    except SVFRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Building it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m svfr_model", description="Restore, colorize and inpaint faces in video."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in COMMANDS:
        command.add(commands)
    return parser
