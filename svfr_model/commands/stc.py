"""The command `stc`."""

from __future__ import annotations

import argparse

from .bar import progress
from .options import add_clips, add_detect_size, add_detector, add_machine


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command `stc`."""
    command = commands.add_parser(
        "stc",
        help="restore or de-flicker a clip quickly, with BFVR-STC",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_stc)
    add_clips(command)
    command.add_argument(
        "--task", default="bfr", help="bfr, deflicker (brightness) or deflicker_sd (pixels); several run in this order"
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument("--whole", action="store_true", help="whole frames, through 512 pixels; default to de-flicker")
    place.add_argument("--crops", action="store_true", help="face crops, pasted back; default where bfr is a task")
    command.add_argument("--faces", default="largest", help="all, largest, left, right or a number")
    command.add_argument("--window", type=int, default=24, help="frames the network sees together; trained on 24")
    command.add_argument("--overlap", type=int, default=8, help="frames faded between windows")
    command.add_argument("--stretch", action="store_true", help="the reference's clip-wide stretch of contrast")
    command.add_argument(
        "--own-picture", action="store_true", help="to de-flicker whole frames: the network's picture, not its change"
    )
    faces = command.add_argument_group("faces")
    add_detector(faces)
    add_detect_size(faces)
    group = command.add_argument_group("machine")
    add_machine(group)


def _stc(options: argparse.Namespace) -> int:
    from ..faces.find import TrackOptions
    from ..runs.loader import Loader
    from ..runs.stc_file import EnhanceJob, run_enhance
    from ..stc.enhance import EnhanceOptions

    job = EnhanceJob(
        source=options.input,
        target=options.output,
        tasks=tuple(word.strip() for word in options.task.split(",")),
        whole=True if options.whole else False if options.crops else None,
        faces=options.faces,
        track=TrackOptions(detect_size=options.detect_size),
        options=EnhanceOptions(options.window, options.overlap, options.stretch, low_frequency=not options.own_picture),
    )
    loader = Loader(
        options.weights,
        options.device,
        detector=options.detector,
        threshold=options.threshold,
        trust_torchscript=options.trust_torchscript,
    )
    path = run_enhance(job, loader, progress(options.quiet))
    if not options.quiet:
        print(f"wrote {path}")
    return 0
