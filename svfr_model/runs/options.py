"""The options of a run from file to file: whose faces, and where and how precisely the networks run."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias

from ..base.options import option, options
from ..faces.options import ChoiceOptions, CropOptions, PasteOptions, TrackOptions

Precision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16"]


@options
class FaceOptions(ChoiceOptions):
    """Which faces are restored, how they are found and cut out, and how they go back.

    person: a picture of the person to restore, which overrides the choice; on the command line --faces takes it.
    """

    track: TrackOptions = field(default_factory=TrackOptions)
    crop: CropOptions = field(default_factory=CropOptions)
    paste: PasteOptions = field(default_factory=PasteOptions)
    person: Path | None = None
    outline: bool = option(
        default=False,
        help="Paste along the face's outline, found by 68 landmarks, instead of an oval. Needs 1k3d68.onnx.",
        widget=None,
    )


@options
class DeviceOptions:
    """Where the networks run."""

    device: str = option(default="auto", help="Where the networks run: auto, cpu, cuda, cuda:N or mps.", widget=None)


@options
class PrecisionOptions:
    """How the networks run."""

    dtype: Precision = option(
        default="auto",
        help="Precision of the networks; auto is fp16 on a GPU and fp32 on the CPU. fp32 is the most exact and takes "
        "twice the memory.",
        widget=None,
    )
    compile: bool = option(
        default=False,
        help="Compile the UNet with torch.compile before the first step.",
        widget=None,
    )
