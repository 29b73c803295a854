"""The command `evaluate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .bar import progress
from .options import add_detector, add_machine


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command `evaluate`."""
    command = commands.add_parser("evaluate", help="measure a restored clip, against the truth where there is one")
    command.set_defaults(run=_evaluate)
    command.add_argument("restored", metavar="RESTORED", help="video or folder of pictures")
    command.add_argument("truth", metavar="TRUTH", nargs="?", help="the same clip undamaged")
    command.add_argument("--mask", metavar="FILE", help="white where the picture was missing: measured by itself too")
    command.add_argument("--i3d", metavar="FILE", help="I3D TorchScript, for the feature distance")
    command.add_argument("--json", metavar="FILE", help="also write the figures here")
    command.add_argument("--profile", metavar="FILE", help="also write the temporal profile of the middle column here")
    add_detector(command)
    add_machine(command)


def _evaluate(options: argparse.Namespace) -> int:
    from ..metrics import run_evaluate

    report = run_evaluate(
        Path(options.restored),
        Path(options.truth) if options.truth else None,
        mask=Path(options.mask) if options.mask else None,
        folders=options.weights,
        detector=options.detector,
        threshold=options.threshold,
        trust_torchscript=options.trust_torchscript,
        i3d=Path(options.i3d) if options.i3d else None,
        device=options.device,
        json_path=Path(options.json) if options.json else None,
        profile=Path(options.profile) if options.profile else None,
        callback=progress(options.quiet),
    )
    print(report.table())
    return 0
