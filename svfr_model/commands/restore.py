"""The command `restore`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..base.errors import InputError
from ..base.tasks import parse_tasks
from ..engine.options import ReferrerOptions, RestoreOptions
from ..engine.presets import SAME, PresetOptions, with_preset
from ..faces.options import DetectorOptions, FaceChoice
from ..media.options import ReadOptions, VideoOptions
from ..runs.options import FaceOptions, PrecisionOptions
from .bar import progress
from .derive import add_options, given, made
from .options import Commands, HelpFormatter, add_clips, add_device, add_quiet, add_video, add_work, path
from .process import tell

if TYPE_CHECKING:
    from ..runs.loader import Loader
    from ..runs.restore_file import Job


def add(commands: Commands) -> None:
    """Add the command `restore`."""
    command = commands.add_parser(
        "restore",
        help="restore the faces of a clip",
        formatter_class=HelpFormatter,
    )
    command.set_defaults(run=_restore)
    add_clips(command)
    add_quiet(add_run(command))


def add_run(command: argparse.ArgumentParser) -> argparse._ActionsContainer:
    """Add all options of a run, which clip it may be; returns the last group, of the machine."""
    command.add_argument("--tasks", default="bfr", help="any of bfr,colorization,inpainting, separated by commas")
    command.add_argument(
        "--mask", metavar="FILE", type=path, help="picture, video or folder, white where something is missing"
    )
    command.add_argument(
        "--reference",
        metavar="FILE",
        type=path,
        help="picture of the person to use as the reference; replaces the first pass",
    )
    command.add_argument(
        "--identity", metavar="FILE", type=path, action="append", help="picture of the person; several are averaged"
    )
    _add_sampling(command)
    _add_faces(command)
    add_video(command)
    group = command.add_argument_group("machine")
    add_device(group)
    add_options(group, PrecisionOptions)
    add_work(group)
    return group


def _add_sampling(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("sampling", "Of these, a flag that is given overrules the preset.")
    add_options(group, PresetOptions, RestoreOptions, ReferrerOptions)
    group.add_argument(
        "--log-levels",
        metavar="FILE",
        type=path,
        help="also write how far each noise level moved the estimate here, .json or .csv",
    )


def _add_faces(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("faces")
    group.add_argument("--no-crop", action="store_true", help="restore whole frames, padded, never stretched")
    group.add_argument("--keep-crop", action="store_true", help="also write the restored crop beside OUT")
    group.add_argument("--debug-video", metavar="FILE", type=path, help="also write boxes, landmarks, ids and cuts")
    add_options(group, FaceOptions, DetectorOptions)


def _restore(options: argparse.Namespace) -> int:
    from ..runs.restore_file import run

    written = run(*requested(options), progress(options.quiet))
    if not options.quiet:
        tell("\n".join(f"wrote {path}" for path in written))
    return 0


def requested(options: argparse.Namespace) -> tuple[Job, Loader]:
    """What the options ask for. Raises InputError where they do not go together."""
    from ..runs.loader import Loader
    from ..runs.restore_file import Job

    if options.no_crop and options.faces != "largest":
        raise InputError("--faces chooses among face crops, --no-crop restores whole frames: leave one of them out.")
    loader = made(Loader, options, folders=options.weights)
    job = Job(
        source=options.input,
        target=options.output,
        tasks=parse_tasks(options.tasks),
        options=_sampling(options),
        faces=None if options.no_crop else _faces(options),
        mask=options.mask,
        reference=options.reference,
        identity=tuple(options.identity or ()),
        keep_crop=options.keep_crop,
        debug=options.debug_video,
        reading=made(ReadOptions, options),
        writing=made(VideoOptions, options),
        log_levels=options.log_levels,
        work=options.work,
    )
    return job, loader


def _sampling(options: argparse.Namespace) -> RestoreOptions:
    if len(options.guidance) > 2:
        raise InputError(f"--guidance takes one or two scales, not {len(options.guidance)}.")
    asked, flags = made(RestoreOptions, options), given(RestoreOptions, options)
    for levels, others in SAME.items():
        for other in others:
            if levels in flags and other in flags:
                raise InputError(f"--{_hyphened(levels)} replaces --{_hyphened(other)}: leave one of them out.")
    return with_preset(asked, made(PresetOptions, options).preset, flags)


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


def _faces(options: argparse.Namespace) -> FaceOptions:
    choice, person = options.faces, None
    if isinstance(choice, str) and choice not in get_args(FaceChoice):
        if not os.path.isfile(choice):
            raise InputError(
                "--faces takes all, largest, left, right, a number, or a picture of the person; "
                f"{choice[:80]!r} is none of these, and there is no such file."
            )
        person = Path(choice)
        del options.faces  # the default, which the picture overrules
    return made(FaceOptions, options, person=person)
