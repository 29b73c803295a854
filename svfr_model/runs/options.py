"""The options of a run from file to file: whose faces, and where and how precisely the networks run."""

from __future__ import annotations

import re
from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias

from ..base.errors import InputError
from ..base.options import Range, option, options
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


@options
class BatchOptions:
    """How many clips are restored, one after the other or on many machines."""

    workers: Literal["here", "ray"] = option(
        default="here",
        help="What restores the clips: here is this process; ray is one worker for each GPU of a Ray cluster "
        "(requirements-batch.txt), or for each --cores cores where it has no GPU.",
        widget=None,
    )
    address: str | None = option(
        default=None,
        help="The Ray cluster, as ray://HOST:PORT or HOST:PORT; by default the one that RAY_ADDRESS names, or one that "
        "is started on this machine and ends with the batch.",
        widget=None,
    )
    cores: int = option(
        default=4,
        within=Range(1, 1024),
        help="Cores, and so threads, of each worker on Ray. Another number rounds sums differently.",
        widget=None,
    )
    retries: int = option(
        default=1,
        within=Range(0, 100),
        help="How often a clip is tried again whose run ended by what may pass: a worker that died, memory or a disk "
        "that was full, an unexpected error. What lies in the clip, its options or the weights is not tried again.",
        widget=None,
    )
    retry_failed: bool = option(
        default=False,
        help="Also try again what failed in an earlier start for a reason that lies in the clip or its options.",
        widget=None,
    )
    shard: str | None = option(
        default=None,
        help="Restore only part i/n of the clips, such as 3/8: every n-th from the i-th on, in the order of the "
        "manifest. For job queues; every part has a status file of its own.",
        widget=None,
    )

    def __post_init__(self) -> None:
        """Refuse parts that are none."""
        number, count = self.part
        if not 1 <= number <= count:
            raise InputError(f"--shard takes a part such as 3/8, of 1 to 9999 parts, not {str(self.shard)[:40]!r}.")
        if self.address is not None and self.workers != "ray":
            raise InputError("--address names a Ray cluster: it goes with --workers ray.")

    @property
    def part(self) -> tuple[int, int]:
        """Which part of how many; 0 of 0 for what is none."""
        if self.shard is None:
            return 1, 1
        found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", self.shard)
        return (int(found[1]), int(found[2])) if found else (0, 0)
