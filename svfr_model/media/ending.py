"""Whether a video file was cut short: its container says how long each of its pieces is.

FFmpeg takes the end of a file for the end of the clip, without a warning. Sources: RFC 8794, sections 4 to 6 (elements
of Matroska and WebM), ISO/IEC 14496-12, section 4.2 (boxes of MP4 and MOV), and OpenDML's AVI extensions (an AVI is a
row of RIFF chunks).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_RIFF = b"RIFF"
# What a Matroska file and its segment consist of, and what MP4 consists of. Anything else after the last of these was
# put there by other programs.
_ELEMENTS = {_EBML, _SEGMENT, b"\xec", b"\xbf"} | {
    bytes.fromhex(name)
    for name in ("114d9b74", "1549a966", "1654ae6b", "1f43b675", "1c53bb6b", "1043a770", "1941a469", "1254c367")
}
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta")
_LONGEST_NAME, _LONGEST_SIZE = 4, 8


def missing_bytes(path: Path) -> int:
    """How many bytes a file lacks at its end, by the length of its last piece; 0 if it does not say.

    Knows Matroska, WebM, MP4, MOV and AVI. Raises OSError for a file that cannot be read.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
        find_end = {_EBML: _end_of_elements, _RIFF: _end_of_chunks}.get(head, _end_of_boxes)
        return max(find_end(file, length) - length, 0)


def _end_of_elements(file: BinaryIO, length: int) -> int:
    """Where Matroska's last element should end. A segment of unknown length, as live recorders write, is entered."""
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(_LONGEST_NAME + _LONGEST_SIZE)
        name = head[: _width(head)]
        digits = head[len(name) :]
        width = _width(digits)
        if name not in _ELEMENTS or width > _LONGEST_SIZE:
            return place
        size = int.from_bytes(digits[:width], "big") & (1 << 7 * width) - 1
        unknown = size == (1 << 7 * width) - 1
        if unknown and name != _SEGMENT:
            return place
        place += len(name) + width + (0 if unknown else size)
        if name == _SEGMENT and not unknown:
            break
    return place


def _width(number: bytes) -> int:
    """Bytes of EBML's number of variable length that begins here, by its first byte; 1 where nothing is left."""
    return 9 - number[0].bit_length() if number else 1


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """Where MP4's last box should end."""
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:  # the length follows the name, in eight bytes
            size = int.from_bytes(head[8:16], "big")
        if size < 8 or head[4:8] not in _BOXES:  # 0: the box goes on to the end of the file
            return place
        place += size
    return place


def _end_of_chunks(file: BinaryIO, length: int) -> int:
    """Where AVI's last chunk should end."""
    place = 0
    while place < length:
        file.seek(place)
        head = file.read(8)
        if head[:4] != _RIFF:
            return place
        place += len(head) + int.from_bytes(head[4:], "little")
    return place
