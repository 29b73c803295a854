"""Options that several commands share."""

from __future__ import annotations

import argparse


def add_clips(command: argparse.ArgumentParser) -> None:
    """A clip in and a clip out."""
    command.add_argument("input", metavar="IN", help="video, picture or folder of pictures")
    command.add_argument("output", metavar="OUT", help="video (.mp4, .mov, .mkv), picture, or folder of PNGs")


def add_detector(group: argparse._ActionsContainer) -> None:
    """How faces are looked for."""
    group.add_argument("--detector", choices=("yunet", "yoloface", "scrfd"), default="yunet")
    group.add_argument("--detect-size", type=int, default=640, help="longer side at which faces are looked for")
    group.add_argument("--threshold", type=float, help="detection threshold in (0,1); the detector's own if not given")
    add_trust(group)


def add_trust(group: argparse._ActionsContainer) -> None:
    """Whether files that are programs may run."""
    group.add_argument(
        "--trust-torchscript",
        action="store_true",
        help="run the program in a TorchScript file (yoloface, I3D): only for files whose origin you trust",
    )


def add_machine(group: argparse._ActionsContainer) -> None:
    """Where the networks run, where their weights lie, and how much is said."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    group.add_argument("--weights", metavar="DIR", action="append", help="folder of weights; ./weights if not given")
    group.add_argument("--quiet", action="store_true", help="no progress, errors only")
