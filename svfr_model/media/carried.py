"""What an output takes from its source besides the picture, one stream at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.stream import Stream

_ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC


@dataclass(frozen=True)
class Carried:
    """One stream that goes into the output.

    index: in the source. layout: of its channels, if it has to be named; None to keep it. rate: in Hz, of sound that is
    encoded to AAC, which also has a layout; None for a copy. cover: the bytes of a cover picture.
    """

    index: int
    layout: str | None = None
    rate: int | None = None
    cover: bytes | None = None


def is_cover(stream: Stream) -> bool:
    """Whether this is a picture attached to the file, not a video."""
    return bool(int(getattr(stream, "disposition", 0)) & _ATTACHED_PICTURE)
