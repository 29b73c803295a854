"""The command `doctor`."""

from __future__ import annotations

import argparse

from .options import Commands, add_folders
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `doctor`."""
    command = commands.add_parser("doctor", help="check versions, devices, providers and weights")
    add_folders(command)
    command.set_defaults(run=_doctor, quiet=False)


def _doctor(options: argparse.Namespace) -> int:
    from ..runs.doctor import examine

    findings = examine(options.weights)
    tell("\n".join(str(finding) for finding in findings))
    missing = sum(finding.state == "missing" for finding in findings)
    tell(f"{missing} thing(s) missing" if missing else "everything needed is there")
    return 1 if missing else 0
