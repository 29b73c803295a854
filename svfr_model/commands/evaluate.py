"""The command `evaluate`."""

from __future__ import annotations

import argparse

from ..base.errors import InputError
from ..faces.options import DetectorOptions
from .bar import progress
from .derive import add_options, made
from .options import Commands, add_machine, path
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `evaluate`."""
    command = commands.add_parser("evaluate", help="measure a restored clip, against the truth if there is one")
    command.set_defaults(run=_evaluate)
    command.add_argument("restored", metavar="RESTORED", type=path, help="video or folder of pictures")
    command.add_argument("truth", metavar="TRUTH", type=path, nargs="?", help="the same clip undamaged")
    command.add_argument("--mask", metavar="FILE", type=path, help="white where the picture was missing")
    command.add_argument("--i3d", metavar="FILE", type=path, help="I3D TorchScript, for the feature distance")
    command.add_argument("--json", metavar="FILE", type=path, help="also write the figures here, .json")
    command.add_argument(
        "--profile", metavar="FILE", type=path, help="also write the temporal profile of the middle column here, .png"
    )
    add_options(command, DetectorOptions)
    add_machine(command)


def _evaluate(options: argparse.Namespace) -> int:
    from ..metrics import InstrumentChoice, run_evaluate

    if options.mask is not None and options.truth is None:
        raise InputError("--mask says where to compare with the truth: give TRUTH too, or leave the mask out.")
    detecting = made(DetectorOptions, options)
    run_evaluate(
        options.restored,
        options.truth,
        mask=options.mask,
        instruments=InstrumentChoice(
            folders=options.weights,
            detector=detecting.detector,
            threshold=detecting.threshold,
            i3d=options.i3d,
            device=options.device,
            trust_torchscript=detecting.trust_torchscript,
        ),
        json_path=options.json,
        profile=options.profile,
        tell=lambda report: tell(report.table()),
        callback=progress(options.quiet),
    )
    return 0
