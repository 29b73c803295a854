"""How videos are read and written: what a user may choose."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..base.options import Range, option, options

CodecName: TypeAlias = Literal["h264", "hevc", "prores", "ffv1"]


@options
class ReadOptions:
    """How a video is read."""

    deinterlace: bool = option(
        default=False,
        help="Deinterlace the video as it is read (bwdif, one frame for each frame): for footage from tape and "
        "broadcast that shows combs where something moves.",
    )


@options
class VideoOptions:
    """How a video is written. Pictures and folders of pictures do not use these."""

    codec: CodecName = option(
        default="h264",
        help="Codec of the written video. h264 plays everywhere; hevc (.mkv) is smaller; prores (.mov, .mkv) is for "
        "editing; ffv1 (.mkv) is lossless. All but h264 keep the 10 bits of a source around restored faces.",
    )
    crf: int = option(
        default=16,
        within=Range(0, 51),
        help="Constant rate factor of h264 and hevc: 0 is lossless or nearly so, 51 the worst. 16 is hard to tell from "
        "the frames.",
    )

    stepping: bool = option(
        default=False,
        help="Encode h264 quickly and with a keyframe every few frames, for a player that goes to and fro in it.",
        flag=None,
        widget=None,
    )

    @property
    def keeps_depth(self) -> bool:
        """Whether more than 8 bits of a source are written."""
        return self.codec != "h264"
