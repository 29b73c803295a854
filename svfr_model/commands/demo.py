"""The command `demo`."""

from __future__ import annotations

import argparse

from ..engine.options import RestoreOptions
from .bar import progress
from .derive import add_options, made
from .options import Commands, path
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `demo`."""
    command = commands.add_parser("demo", help="make a degraded clip and run everything on it, without any download")
    command.add_argument("--out", metavar="DIR", type=path, default="demo_output", help="folder for the videos")
    command.add_argument(
        "--detector-weights",
        metavar="FILE",
        type=path,
        help="a YuNet file to use instead of the one that ships with the package",
    )
    add_options(command, RestoreOptions, only=["seed"])
    command.add_argument("--quiet", action="store_true")
    command.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from ..tiny.demo import run_demo

    report = run_demo(
        options.out,
        detector_weights=options.detector_weights,
        seed=made(RestoreOptions, options).seed,
        callback=progress(options.quiet),
    )
    tell(report)
    return 0
