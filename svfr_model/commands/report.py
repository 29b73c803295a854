"""The command `report`."""

from __future__ import annotations

import argparse

from ..engine.options import RestoreOptions
from ..engine.presets import PRESETS
from ..faces.options import DetectorOptions
from ..reports.options import ReportOptions
from ..runs.options import PrecisionOptions
from .bar import progress
from .derive import add_options, made
from .options import Commands, HelpFormatter, add_machine, path
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `report`."""
    command = commands.add_parser(
        "report",
        help="restore a clip with each preset, measure them, and write a page to paste into an issue",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_report)
    command.add_argument("target", metavar="OUT", type=path, help="the page, .md")
    command.add_argument("--picture", metavar="FILE", type=path, help="picture of a person; one comes with the package")
    command.add_argument(
        "--presets", nargs="+", choices=tuple(PRESETS), default=tuple(PRESETS), help="those to measure besides exact"
    )
    add_options(command, ReportOptions)
    add_options(command, RestoreOptions, only=["seed"])
    add_options(command, DetectorOptions, PrecisionOptions)
    add_machine(command)


def _report(options: argparse.Namespace) -> int:
    from ..reports.write import ReportJob, write_report
    from ..runs.loader import Loader

    job = ReportJob(
        target=options.target,
        clip=made(ReportOptions, options),
        seed=made(RestoreOptions, options).seed,
        picture=options.picture,
        presets=options.presets,
    )
    write_report(job, made(Loader, options, folders=options.weights), progress(options.quiet))
    if not options.quiet:
        tell(f"wrote {options.target}")
    return 0
