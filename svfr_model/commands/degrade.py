"""The command `degrade`."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from ..base.errors import InputError
from ..synthesis.options import DegradeOptions, SeedOptions, options_for
from .bar import progress
from .derive import add_options, made
from .options import Commands, HelpFormatter, add_clips, path
from .process import tell


def add(commands: Commands) -> None:
    """Add the command `degrade`."""
    command = commands.add_parser(
        "degrade", help="make a degraded clip for tests, as the papers do", formatter_class=HelpFormatter
    )
    add_clips(command)
    command.add_argument("--tasks", default="bfr", help="any of bfr,colorization,inpainting: what is to be undone")
    add_options(command, DegradeOptions, SeedOptions)
    command.add_argument("--mask-out", metavar="FILE", type=path, help="also write the mask of what was painted white")
    command.add_argument("--quiet", action="store_true")
    command.set_defaults(run=_degrade)


def _degrade(options: argparse.Namespace) -> int:
    import numpy as np

    from ..base.tasks import parse_tasks
    from ..files.paths import check_frames, check_paths
    from ..media import ClipWriter, open_clip
    from ..media.writer import clip_output
    from ..synthesis.degrade import degraded_frames

    flicker, seed = made(DegradeOptions, options), made(SeedOptions, options).seed
    flickers = flicker.brightness_flicker or flicker.pixel_flicker
    chosen = options_for(parse_tasks(options.tasks), flicker=flicker) if options.tasks or not flickers else flicker
    if options.mask_out and chosen.mask is None:
        raise InputError("--mask-out needs inpainting among the tasks: nothing else paints a mask.")
    outputs = [clip_output(options.output)] + ([clip_output(options.mask_out, "mask")] if options.mask_out else [])
    check_paths([options.input], outputs)
    clip = open_clip(options.input)
    check_frames(clip, outputs)
    size = clip.width, clip.height
    writers = [ClipWriter(options.output, clip.fps, size, source=clip)]
    if options.mask_out:
        writers.append(ClipWriter(options.mask_out, clip.fps, size))
    damaged = degraded_frames(clip, len(clip), size[::-1], chosen, seed, progress(options.quiet))
    with ExitStack() as targets:
        for writer in writers:
            targets.enter_context(writer)
        for frame, mask in damaged:
            for writer, shown in zip(writers, (frame, np.repeat(mask[..., None] * 255, 3, axis=2)), strict=False):
                writer.write(shown)
    if not options.quiet:
        tell(f"wrote {options.output}")
    return 0
