"""What an output takes from its source beside the picture, one stream at a time."""

from __future__ import annotations

from dataclasses import dataclass


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
