"""The command `restore`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..base.errors import InputError
from ..base.tasks import parse_tasks
from .bar import progress
from .options import add_clips, add_detect_size, add_detector, add_machine, add_seed, path

if TYPE_CHECKING:
    from ..engine.restore import RestoreOptions
    from ..runs.restore_file import FaceOptions


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command `restore`."""
    command = commands.add_parser(
        "restore",
        help="restore the faces of a clip",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_restore)
    add_clips(command)
    command.add_argument("--tasks", default="bfr", help="any of bfr,colorization,inpainting, separated by commas")
    command.add_argument("--mask", metavar="FILE", type=path, help="picture, video or folder, white: missing")
    command.add_argument(
        "--reference", metavar="FILE", type=path, help="picture of the person to refer to; it replaces the first pass"
    )
    command.add_argument(
        "--identity", metavar="FILE", type=path, action="append", help="picture of the person; several are averaged"
    )
    _add_sampling(command)
    _add_faces(command)
    _add_machine(command)


def _add_sampling(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("sampling")
    group.add_argument("--steps", type=int, default=30, help="steps of the main pass")
    group.add_argument("--first-steps", type=int, help="steps of the first pass; those of the main pass if not given")
    group.add_argument(
        "--passes", type=int, default=2, choices=(1, 2), help="2: a first pass finds reference frame and identity"
    )
    group.add_argument(
        "--guidance", type=float, nargs="+", default=[2.0], metavar="G", help="guidance scale, or its first and last"
    )
    group.add_argument("--strength", type=float, default=1.0, help="below 1 stays nearer to the input, in (0,1]")
    add_seed(group, 77)
    group.add_argument("--windows", choices=("reference", "linear"), default="reference", help="temporal window plan")
    group.add_argument("--window", type=int, default=16, help="frames the network sees together")
    group.add_argument("--overlap", type=int, default=3, help="frames that neighbouring windows share")
    group.add_argument("--solver", choices=("euler", "heun", "dpmpp_2m"), default="euler")
    group.add_argument("--schedule", choices=("karras", "exponential", "simple"), default="karras")
    group.add_argument("--augmentation", type=float, default=0.0, help="noise added to what the network is told")
    group.add_argument(
        "--reference-frame", default="best", help="of the first pass: best, last (the published rule) or its number"
    )
    group.add_argument(
        "--alignment", choices=("arcface", "reference"), default="arcface", help="cut of the identity picture"
    )
    group.add_argument("--decode-chunk", type=int, default=16, help="frames decoded together")
    group.add_argument("--decode-overlap", type=int, default=4, help="frames faded between chunks; published: 0")


def _add_faces(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("faces")
    group.add_argument("--no-crop", action="store_true", help="restore whole frames, padded, never stretched")
    group.add_argument("--keep-crop", action="store_true", help="also write the restored crop beside OUT")
    group.add_argument(
        "--faces", default="largest", help="all, largest, left, right, a number, or a picture of the person"
    )
    group.add_argument(
        "--crop", choices=("tracked", "static"), default="tracked", help="static: the reference's one square per track"
    )
    group.add_argument("--smooth", type=float, default=15.0, help="crop motions quicker than so many frames go")
    group.add_argument("--margin", type=float, default=0.4, help="added to the face box on each side, in its sides")
    group.add_argument("--roll", action="store_true", help="turn the crop with the head")
    group.add_argument(
        "--pre-downscale", type=float, default=1.0, help="for large soft faces: reduce the crop so many times first"
    )
    group.add_argument(
        "--color-match", choices=("auto", "none", "lab", "wavelet"), default="auto", help="auto: lab, none to colorize"
    )
    group.add_argument("--region", choices=("face", "crop"), default="face", help="what is pasted back")
    group.add_argument("--outline", action="store_true", help="paste along 68 landmarks (1k3d68.onnx), not an oval")
    group.add_argument("--feather", type=float, default=0.12, help="soft edge of what is pasted, in sides of the face")
    group.add_argument("--occlusion-safe", action="store_true", help="keep the original where it disagrees strongly")
    group.add_argument("--debug-video", metavar="FILE", type=path, help="also write boxes, landmarks, ids and cuts")
    group.add_argument("--size", type=int, default=512, help="side of the face crop in pixels")
    add_detector(group)
    add_detect_size(group)


def _add_machine(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("machine")
    add_machine(group)
    group.add_argument("--dtype", choices=("auto", "fp32", "fp16", "bf16"), default="auto", help="auto: fp16 on a GPU")
    group.add_argument("--batch", type=int, default=2, help="rows per network call; 1 halves the memory of activations")
    group.add_argument("--compile", action="store_true", help="torch.compile the UNet")


def _restore(options: argparse.Namespace) -> int:
    from ..runs.loader import Loader
    from ..runs.restore_file import Job, run

    if options.no_crop and options.faces != "largest":
        raise InputError("--faces chooses among face crops, --no-crop restores whole frames: leave one of them out.")
    loader = Loader(
        options.weights,
        options.device,
        options.dtype,
        options.compile,
        options.detector,
        options.threshold,
        _reference_frame(options.reference_frame),
        options.alignment,
        options.trust_torchscript,
    )
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
    )
    written = run(job, loader, progress(options.quiet))
    if not options.quiet:
        print("\n".join(f"wrote {path}" for path in written))
    return 0


def _reference_frame(choice: str) -> str | int:
    """best, last or a frame number."""
    if choice in ("best", "last"):
        return choice
    if not choice.isdecimal():
        raise InputError(f"--reference-frame takes best, last or a frame number, not {choice!r}.")
    return int(choice)


def _sampling(options: argparse.Namespace) -> RestoreOptions:
    from ..engine.restore import RestoreOptions
    from ..engine.windows import WindowPlan

    if len(options.guidance) > 2:
        raise InputError(f"--guidance takes one or two scales, not {len(options.guidance)}.")
    return RestoreOptions(
        steps=options.steps,
        first_steps=options.first_steps,
        passes=options.passes,
        guidance=(options.guidance[0], options.guidance[-1]),
        strength=options.strength,
        seed=options.seed,
        plan=WindowPlan(options.windows, options.window, options.overlap),
        solver=options.solver,
        schedule=options.schedule,
        augmentation=options.augmentation,
        batch=options.batch,
        decode_chunk=options.decode_chunk,
        decode_overlap=options.decode_overlap,
    )


def _faces(options: argparse.Namespace) -> FaceOptions:
    from ..faces.crop import CropOptions
    from ..faces.find import TrackOptions
    from ..faces.paste import PasteOptions
    from ..faces.select import is_number
    from ..runs.restore_file import FaceOptions

    choice = options.faces
    if not is_number(choice) and choice not in ("all", "largest", "left", "right"):
        if not os.path.isfile(choice):
            raise InputError(
                "--faces takes all, largest, left, right, a number, or a picture of the person; "
                f"{choice[:80]!r} is none of these, and there is no such file."
            )
        choice = Path(choice)
    crop = CropOptions(
        mode=options.crop,
        size=(options.size, options.size),
        margin=options.margin,
        smoothing=options.smooth,
        roll=options.roll,
        pre_downscale=options.pre_downscale,
    )
    paste = PasteOptions(
        region=options.region,
        feather=options.feather,
        color_match=options.color_match,
        occlusion_safe=options.occlusion_safe,
    )
    return FaceOptions(choice, TrackOptions(detect_size=options.detect_size), crop, paste, options.outline)
