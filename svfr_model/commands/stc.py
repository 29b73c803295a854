"""The command `stc`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..faces.options import ChoiceOptions, DetectorOptions, TrackOptions
from ..media.options import ReadOptions, VideoOptions
from ..stc.options import EnhanceOptions
from .bar import progress
from .derive import add_options, made
from .options import Commands, HelpFormatter, add_clips, add_device, add_quiet, add_video, add_work
from .process import tell

if TYPE_CHECKING:
    from ..runs.loader import Loader
    from ..runs.stc_file import EnhanceJob


def add(commands: Commands) -> None:
    """Add the command `stc`."""
    command = commands.add_parser(
        "stc",
        help="restore or de-flicker a clip quickly, with BFVR-STC",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_stc)
    add_clips(command)
    add_quiet(add_run(command))


def add_run(command: argparse.ArgumentParser) -> argparse._ActionsContainer:
    """Add all options of a run, which clip it may be; returns the last group, of the machine."""
    command.add_argument(
        "--task", default="bfr", help="bfr, deflicker (brightness) or deflicker_sd (pixels); several run in this order"
    )
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--whole", action="store_true", help="whole frames, through 512 pixels; the default for de-flickering"
    )
    place.add_argument("--crops", action="store_true", help="face crops, pasted back; the default if bfr is a task")
    add_options(command, EnhanceOptions)
    add_options(command.add_argument_group("faces"), ChoiceOptions, DetectorOptions, TrackOptions)
    add_video(command)
    group = command.add_argument_group("machine")
    add_device(group)
    add_work(group)
    return group


def _stc(options: argparse.Namespace) -> int:
    from ..runs.stc_file import run_enhance

    written = run_enhance(*requested(options), progress(options.quiet))
    if not options.quiet:
        tell(f"wrote {written}")
    return 0


def requested(options: argparse.Namespace) -> tuple[EnhanceJob, Loader]:
    """What the options ask for. Raises InputError where they do not go together."""
    from ..runs.loader import Loader
    from ..runs.stc_file import EnhanceJob

    job = EnhanceJob(
        source=options.input,
        target=options.output,
        tasks=tuple(word.strip() for word in options.task.split(",")),
        whole=True if options.whole else False if options.crops else None,
        faces=made(ChoiceOptions, options).choice,
        track=made(TrackOptions, options),
        options=made(EnhanceOptions, options),
        reading=made(ReadOptions, options),
        writing=made(VideoOptions, options),
        work=options.work,
    )
    return job, made(Loader, options, folders=options.weights)
