"""Faces out of a clip as BFVR-STC was trained to see them, and back into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ..base.clip import Clip
from ..base.memory import PLAIN, Memory
from ..base.progress import Callback
from ..base.tasks import Task
from ..faces.crop import plan_crop
from ..faces.cut import CutTrack, cut_shots
from ..faces.options import CropOptions, PasteOptions
from ..faces.paste_clip import RestoredTrack, paste_clip
from ..faces.track import FaceTrack
from ..stc.enhance import FACE_MARGIN, enhance_crops
from ..stc.network import CodeFormer3D, TaskName
from ..stc.options import EnhanceOptions

ENHANCED = "enhanced"
"""The stage that a memory knows by how many tasks a track went through."""
RESTORATION = frozenset({Task.BFR})
"""What paste-back needs to know: this is a restoration, not a colorization."""


def cut_faces(
    clip: Clip,
    tracks: Sequence[FaceTrack],
    side: int,
    callback: Callback | None = None,
    memory: Memory = PLAIN,
    *,
    tasks: int = 1,
) -> list[CutTrack]:
    """Each track's crops, (n,3,side,side) uint8, and their colours: a steady upright square per track.

    side: the network's img_size. memory: where they lie, and what `enhance_faces` makes of them. tasks: how many times
    that will be called. Reports stage "crop". Raises InputError where there is no room for all of it.
    """
    options = CropOptions(mode="static", size=(side, side), margin=FACE_MARGIN)
    memory.require(sum(map(len, tracks)) * side * side * 3 * (1 + tasks))
    plans = [plan_crop(track, options) for track in tracks]
    (cut,) = cut_shots(clip, [plans], colors=True, memory=memory, callback=callback)
    return cut


def enhance_faces(
    network: CodeFormer3D,
    cut: Sequence[CutTrack],
    options: EnhanceOptions,
    callback: Callback | None = None,
    *,
    number: int = 0,
) -> None:
    """Enhance the crops of each track, which are then the enhanced ones.

    What they were lies where it was, so that a run that was killed goes on with the track at work. number: of the task,
    where there are several, counted from 0.
    """
    for track in cut:
        own, name = track.memory, f"enhanced-{number}"
        if own.done(ENHANCED) > number:
            track.crops = own.kept(name)
            continue
        result = own.array(name, track.crops.shape, track.crops.dtype)
        track.crops = enhance_crops(network, track.crops, options, result=result, callback=callback)
        own.save(ENHANCED, number + 1)


def paste_faces(
    clip: Clip,
    cut: Sequence[CutTrack],
    tasks: Sequence[TaskName],
    options: PasteOptions,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """The clip's frames, in their own dtype, with enhanced crops in them; frames without a face come as they are.

    cut: from `cut_faces`, its crops enhanced since. tasks: what was done to them. Reports stage "paste".
    """
    # The colours of a flickering clip are what de-flickering is to change, so they are no target.
    options = options if set(tasks) == {"bfr"} else replace(options, color_match="none")
    restored = [RestoredTrack(track.plan, track.crops, originals=track.colors) for track in cut]
    return (entry.frame for entry in paste_clip(clip, restored, options, RESTORATION, callback=callback))
