"""The command line's training side: `train` and `degrade`. Prints, as `cli` does."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .progress import Callback


def add_train(commands: argparse._SubParsersAction, progress: Callable[[], Callback]) -> None:
    """The command `train`; progress makes its callback."""
    command = commands.add_parser("train", help="train or fine-tune; see docs/training.md")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("config", metavar="CONFIG", nargs="?", help="what to train, a .json or .toml file")
    what.add_argument("--tiny", metavar="DIR", help="make svfr-tiny anew: work in DIR, networks to DIR/model")
    what.add_argument("--evaluate-tiny", action="store_true", help="measure svfr-tiny on clips it has not seen")
    command.add_argument("--clips", type=int, default=32, help="held-out clips to measure on")
    command.add_argument("--quiet", action="store_true", help="no progress, results and errors only")
    command.set_defaults(run=lambda options: _train(options, progress))


def _train(options: argparse.Namespace, progress: Callable[[], Callback]) -> int:
    speaks = os.environ.get("RANK", "0") == "0"  # of torchrun's processes the first speaks for all
    result = _trained(options, progress() if speaks and not options.quiet else None)
    if speaks:
        print(result)
    return 0


def _trained(options: argparse.Namespace, callback: Callback | None) -> str:
    if options.tiny:
        from .training.tiny_model import train_tiny

        train_tiny(Path(options.tiny), Path(options.tiny) / "model", callback=callback)
        return f"wrote {Path(options.tiny) / 'model'}"
    if options.evaluate_tiny:
        from .training.evaluate import evaluate_model, markdown, summary
        from .training.tiny_model import EVALUATION, bundled

        return markdown(summary(evaluate_model(bundled(), EVALUATION, clips=options.clips, callback=callback)))
    from .training.train import train_from_file

    return f"wrote {train_from_file(options.config, callback)}"


def add_degrade(commands: argparse._SubParsersAction, progress: Callable[[], Callback]) -> None:
    """The command `degrade`; progress makes its callback."""
    command = commands.add_parser("degrade", help="make a degraded clip for tests, as the papers do")
    command.add_argument("input", metavar="IN", help="video, picture or folder of pictures")
    command.add_argument("output", metavar="OUT", help="video (.mp4, .mov, .mkv), picture, or folder of PNGs")
    command.add_argument("--tasks", default="bfr", help="any of bfr,colorization,inpainting: what is to be undone")
    command.add_argument("--brightness-flicker", type=float, default=0.0, help="chance of each frame; BFVR-STC: 0.3")
    command.add_argument("--pixel-flicker", type=float, default=0.0, help="strength in grey levels")
    command.add_argument("--mask-out", metavar="FILE", help="also write the mask of what was painted white")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--quiet", action="store_true")
    command.set_defaults(run=lambda options: _degrade(options, None if options.quiet else progress()))


def _degrade(options: argparse.Namespace, callback: Callback | None) -> int:
    import numpy as np

    from .tasks import parse_tasks
    from .training.degrade import DegradeOptions, degrade_clip, options_for
    from .video import ClipWriter, open_clip

    flickers = options.brightness_flicker or options.pixel_flicker
    chosen = options_for(parse_tasks(options.tasks)) if options.tasks or not flickers else DegradeOptions()
    clip = open_clip(options.input)
    size = clip.width, clip.height
    writers = [ClipWriter(options.output, clip.fps, size, source=clip)]
    if options.mask_out:
        if chosen.mask is None:
            raise InputError("--mask-out needs inpainting among the tasks: nothing else paints a mask.")
        writers.append(ClipWriter(options.mask_out, clip.fps, size))
    chosen = replace(chosen, brightness_flicker=options.brightness_flicker, pixel_flicker=options.pixel_flicker)
    frames, masks = degrade_clip(np.stack(list(clip)), chosen, options.seed, callback)
    pictures = [frames, np.repeat(masks[..., None] * 255, 3, axis=3)]
    for writer, shown in zip(writers, pictures, strict=False):
        with writer:
            for frame in shown:
                writer.write(frame)
    if not options.quiet:
        print(f"wrote {options.output}")
    return 0
