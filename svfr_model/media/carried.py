"""What an output takes from its source beside the picture, one stream at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.stream import Stream

_ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC


@dataclass(frozen=True)
class Carried:
    """One stream that goes into the output.

    index: in the source. layout: of its channels, where it has to be named; None for as it is. rate: in Hz, of sound
    that is encoded to AAC; None for a copy. cover: the bytes of a cover picture.
    """

    index: int
    layout: str | None = None
    rate: int | None = None
    cover: bytes | None = None


def is_cover(stream: Stream) -> bool:
    """Whether this is a picture that is attached to the file, not a video."""
    return bool(int(getattr(stream, "disposition", 0)) & _ATTACHED_PICTURE)
