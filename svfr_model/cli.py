"""The command line: `python -m svfr_model restore | stc | evaluate | degrade | train | weights | doctor | demo`.

Only this module and cli_training print. Exit codes: 0 done, 2 unusable input or arguments, 3 weights, 4 no face, 5 a
package that is missing or cannot do what is asked, 6 a result that is not finite, 1 any other error of ours, 130
interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_training import add_degrade, add_train
from .errors import InputError, SVFRError
from .tasks import parse_tasks

if TYPE_CHECKING:
    from torch import Tensor

    from .job import FaceOptions
    from .restore import RestoreOptions

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors of ours are printed as one message without a traceback."""
    options = build_parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.ERROR if options.quiet else logging.WARNING, format="%(levelname)s: %(message)s", force=True
    )
    try:
        return options.run(options) or 0
    except SVFRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. Building it imports nothing heavy."""
    parser = argparse.ArgumentParser(
        prog="python -m svfr_model", description="Restore, colorize and inpaint faces in video."
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    for add in (_add_restore, _add_stc, _add_evaluate, _add_weights, _add_doctor, _add_demo):
        add(commands)
    add_degrade(commands, ProgressBar)
    add_train(commands, ProgressBar)
    return parser


def _add_restore(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "restore",
        help="restore the faces of a clip",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_restore)
    command.add_argument("input", metavar="IN", help="video, picture or folder of pictures")
    command.add_argument("output", metavar="OUT", help="video (.mp4, .mov, .mkv), picture, or folder of PNGs")
    command.add_argument("--tasks", default="bfr", help="any of bfr,colorization,inpainting, separated by commas")
    command.add_argument("--mask", metavar="FILE", help="picture, video or folder, white where the picture is missing")
    command.add_argument(
        "--reference", metavar="FILE", help="picture of the person to refer to; it replaces the first pass"
    )
    command.add_argument(
        "--identity", metavar="FILE", action="append", help="picture of the person; several are averaged"
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
    group.add_argument("--seed", type=int, default=77, help="same seed and input, same output")
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
    group.add_argument("--debug-video", metavar="FILE", help="also write the clip with boxes, landmarks, ids and cuts")
    group.add_argument("--size", type=int, default=512, help="side of the face crop in pixels")
    _add_detector(group)


def _add_machine(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument("--dtype", choices=("auto", "fp32", "fp16", "bf16"), default="auto", help="auto: fp16 on a GPU")
    group.add_argument("--batch", type=int, default=2, help="rows per network call; 1 halves the memory of activations")
    group.add_argument("--compile", action="store_true", help="torch.compile the UNet")
    group.add_argument("--weights", metavar="DIR", action="append", help="folder of weights; ./weights if not given")
    group.add_argument("--quiet", action="store_true", help="no progress, errors only")


def _add_stc(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser(
        "stc",
        help="restore or de-flicker a clip quickly, with BFVR-STC",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    command.set_defaults(run=_stc)
    command.add_argument("input", metavar="IN", help="video, picture or folder of pictures")
    command.add_argument("output", metavar="OUT", help="video (.mp4, .mov, .mkv), picture, or folder of PNGs")
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
    _add_detector(command.add_argument_group("faces"))
    group = command.add_argument_group("machine")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument("--weights", metavar="DIR", action="append", help="folder of weights; ./weights if not given")
    group.add_argument("--quiet", action="store_true", help="no progress, errors only")


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("evaluate", help="measure a restored clip, against the truth where there is one")
    command.set_defaults(run=_evaluate)
    command.add_argument("restored", metavar="RESTORED", help="video or folder of pictures")
    command.add_argument("truth", metavar="TRUTH", nargs="?", help="the same clip undamaged")
    command.add_argument("--mask", metavar="FILE", help="white where the picture was missing: measured by itself too")
    command.add_argument("--i3d", metavar="FILE", help="I3D TorchScript, for the feature distance")
    command.add_argument("--json", metavar="FILE", help="also write the figures here")
    command.add_argument("--profile", metavar="FILE", help="also write the temporal profile of the middle column here")
    _add_detector(command)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument("--weights", metavar="DIR", action="append", help="folder of weights; ./weights if not given")
    command.add_argument("--quiet", action="store_true", help="no progress, errors only")


def _add_detector(group: argparse._ActionsContainer) -> None:
    group.add_argument("--detector", choices=("yunet", "yoloface", "scrfd"), default="yunet")
    group.add_argument("--detect-size", type=int, default=640, help="longer side at which faces are looked for")
    group.add_argument("--threshold", type=float, help="detection threshold in (0,1); the detector's own if not given")


def _add_weights(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("weights", help="list, download or convert weight files")
    actions = command.add_subparsers(required=True, metavar="action")
    listing = actions.add_parser("list", help="every file, its source and licence, and whether it is there")
    listing.add_argument("--weights", metavar="DIR", action="append", help="folder to look in")
    listing.set_defaults(run=_list_weights, quiet=False)
    download = actions.add_parser("download", help="fetch files from their sources")
    download.add_argument("roles", nargs="*", help="which files, by role; all that two passes need if not given")
    download.add_argument("--accept-license", action="store_true", help="I have read the licences and accept them")
    download.add_argument("--weights", metavar="DIR", default="weights", help="folder to download to")
    download.add_argument("--quiet", action="store_true")
    download.set_defaults(run=_download_weights)
    convert = actions.add_parser("convert", help="write a checkpoint as safetensors")
    convert.add_argument("role", help="what the file is, as `weights list` names it")
    convert.add_argument("source", metavar="IN")
    convert.add_argument("target", metavar="OUT.safetensors")
    convert.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="cast the numbers; kept if not given")
    convert.set_defaults(run=_convert_weights, quiet=False)


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("doctor", help="look at versions, devices, providers and weights")
    command.add_argument("--weights", metavar="DIR", action="append", help="folder of weights to look in")
    command.set_defaults(run=_doctor, quiet=False)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("demo", help="make a degraded clip and run everything on it, without any download")
    command.add_argument("--out", metavar="DIR", default="demo_output", help="folder for the videos")
    command.add_argument("--detector-weights", metavar="FILE", help="YuNet, if it is at hand")
    command.add_argument("--seed", type=int, default=77)
    command.add_argument("--quiet", action="store_true")
    command.set_defaults(run=_demo)


class ProgressBar:
    """The library's callback as one bar per stage on the standard error stream."""

    def __init__(self) -> None:
        self._stage = ""
        self._bar = None

    def __call__(self, stage: str, done: int, total: int, preview: Tensor | None = None) -> None:  # noqa: ARG002
        """Move the bar; a new stage gets a new one. The windows inside a step have none."""
        from tqdm import tqdm

        if stage.endswith("windows"):
            return
        if stage != self._stage or self._bar is None or self._bar.total != total:
            self.close()
            self._stage, self._bar = stage, tqdm(total=total, desc=stage, file=sys.stderr)
        self._bar.update(done - self._bar.n)
        if done == total:
            self.close()

    def close(self) -> None:
        """Leave the current bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _restore(options: argparse.Namespace) -> int:
    from .job import Job, run
    from .load import Loader

    loader = Loader(
        options.weights,
        options.device,
        options.dtype,
        options.compile,
        options.detector,
        options.threshold,
        _reference_frame(options.reference_frame),
        options.alignment,
    )
    job = Job(
        source=Path(options.input),
        target=Path(options.output),
        tasks=parse_tasks(options.tasks),
        options=_sampling(options),
        faces=None if options.no_crop else _faces(options),
        mask=Path(options.mask) if options.mask else None,
        reference=Path(options.reference) if options.reference else None,
        identity=tuple(Path(path) for path in options.identity or ()),
        keep_crop=options.keep_crop,
        debug=Path(options.debug_video) if options.debug_video else None,
    )
    written = run(job, loader, None if options.quiet else ProgressBar())
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
    from .restore import RestoreOptions
    from .windows import WindowPlan

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
    from .faces.crop import CropOptions
    from .faces.find import TrackOptions
    from .faces.paste import PasteOptions
    from .job import FaceOptions

    choice = options.faces
    if not choice.isdecimal() and choice not in ("all", "largest", "left", "right"):
        if not Path(choice).is_file():
            raise InputError(
                f"--faces takes all, largest, left, right, a number, or a picture of the person; {choice!r} is none of "
                "these, and there is no such file."
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


def _stc(options: argparse.Namespace) -> int:
    from .load import Loader
    from .stc.enhance import EnhanceOptions
    from .stc.job import EnhanceJob, run_enhance

    job = EnhanceJob(
        source=Path(options.input),
        target=Path(options.output),
        tasks=tuple(word.strip() for word in options.task.split(",")),
        whole=True if options.whole else False if options.crops else None,
        faces=options.faces,
        options=EnhanceOptions(options.window, options.overlap, options.stretch, low_frequency=not options.own_picture),
    )
    loader = Loader(options.weights, options.device, detector=options.detector, threshold=options.threshold)
    path = run_enhance(job, loader, None if options.quiet else ProgressBar())
    if not options.quiet:
        print(f"wrote {path}")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from .metrics import run_evaluate, temporal_profile
    from .pictures import write_picture
    from .video import open_clip

    report = run_evaluate(
        Path(options.restored),
        Path(options.truth) if options.truth else None,
        mask=Path(options.mask) if options.mask else None,
        folders=options.weights,
        detector=options.detector,
        threshold=options.threshold,
        i3d=Path(options.i3d) if options.i3d else None,
        device=options.device,
        json_path=Path(options.json) if options.json else None,
        callback=None if options.quiet else ProgressBar(),
    )
    if options.profile:
        write_picture(Path(options.profile), temporal_profile(open_clip(options.restored)))
    print(report.table())
    return 0


def _list_weights(options: argparse.Namespace) -> int:
    from .errors import WeightsError
    from .weights import REGISTRY, find

    for role, entry in REGISTRY.items():
        try:
            place = str(find(role, options.weights))
        except WeightsError:
            place = "not found"
        note = f"\n  note: {entry.note}" if entry.note else ""
        print(f"{role}: {place}\n  {entry.purpose}\n  {entry.url}\n  licence: {entry.licence}{note}")
    return 0


def _download_weights(options: argparse.Namespace) -> int:
    from .weights import REGISTRY, download

    roles = options.roles or [role for role, entry in REGISTRY.items() if not entry.optional]
    progress = None if options.quiet else ProgressBar()
    for path in download(roles, options.weights, accept_license=options.accept_license, callback=progress):
        print(path)
    return 0


def _convert_weights(options: argparse.Namespace) -> int:
    from .load import DTYPES
    from .weights import convert

    convert(options.source, options.target, options.role, DTYPES[options.dtype] if options.dtype else None)
    print(options.target)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    findings = examine(options.weights)
    print("\n".join(str(finding) for finding in findings))
    missing = sum(finding.state == "missing" for finding in findings)
    print(f"{missing} thing(s) missing" if missing else "everything needed is there")
    return 1 if missing else 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    report = run_demo(
        Path(options.out),
        detector_weights=Path(options.detector_weights) if options.detector_weights else None,
        seed=options.seed,
        callback=None if options.quiet else ProgressBar(),
    )
    print(report)
    return 0
