"""A clip from end to end: faces found, cropped, restored and pasted back, or whole frames restored shot by shot.

The command line and the demonstration call this with networks that are ready; nothing here knows files.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..base.clip import Clip, expected_length, picked
from ..base.errors import FaceNotFoundError, InputError
from ..base.memory import ASIDE, PLAIN, Memory
from ..base.packed import pack, unpack
from ..base.pixels import from_network_range, pad_to_multiple
from ..base.progress import Callback, report
from ..base.tasks import Tasks
from ..engine.options import RestoreOptions
from ..engine.restore import Known, Networks, SampledClip, restore
from ..engine.windows import shots
from ..faces.cut import CUT, CutTrack, cut_shots
from ..faces.paste_clip import RestoredTrack
from ..faces.shots import CutDetector
from ..faces.track import PlannedCrop

if TYPE_CHECKING:
    from ..networks.identity import Identity

log = logging.getLogger(__name__)

SHOTS = "shots"
"""The part of a memory that belongs to a search for cuts, and the stage that it knows its saves by."""
RESTORED = "restored"
"""The stage that a memory knows restored crops by."""


@dataclass(frozen=True)
class Request:
    """What is wanted of a clip, apart from the clip.

    reference: a picture (3,H,W) in [-1,1] in the framing of the crops (or of the frames), or None. identity: of the
    person, or None.
    """

    tasks: Tasks
    options: RestoreOptions
    reference: Tensor | None = None
    identity: Identity | None = None


def find_shots(clip: Clip, callback: Callback | None = None, memory: Memory = PLAIN) -> list[tuple[int, int]]:
    """The (first, last + 1) frames of every shot, in one walk; InputError for a clip without frames.

    memory: keeps what was seen, so that a later run goes on from there.
    """
    own = memory.part(ASIDE + SHOTS)
    cutter, saves = CutDetector(), own.done(SHOTS)
    state = unpack(own.kept(f"state-{saves % 2}")) if saves else None
    if state:
        cutter.go_on(state)
    total, begun = expected_length(clip), cutter.count

    def save(*, seldom: bool) -> None:
        if own.is_due(seldom=seldom):
            done = own.done(SHOTS) + 1
            own.save(SHOTS, done, {f"state-{done % 2}": pack(cutter.state())})

    for frame in picked(clip, lambda number: number >= begun):
        if frame is not None:
            cutter.add(frame)
            report(callback, "shots", cutter.count, max(cutter.count, total))
            save(seldom=True)
    if not cutter.count:
        raise InputError("The clip has no frames.")
    save(seldom=False)
    return shots(cutter.count, cutter.cuts)


def restore_tracks(
    clip: Clip,
    plans: Sequence[PlannedCrop],
    networks: Networks,
    requests: Sequence[Request],
    *,
    masks: Iterable[np.ndarray] | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> list[RestoredTrack]:
    """Cut out, in one walk of the clip, and restore every planned track; one request per track.

    masks: (H,W), True where the picture is missing, one per frame of the clip. memory: where the crops of all tracks
    lie, as uint8, and the latents of one.
    """
    (cut,) = cut_shots(clip, [plans], masks=masks, colors=True, memory=memory, callback=callback)
    return [restore_track(track, networks, request, callback) for track, request in zip(cut, requests, strict=True)]


def restore_track(
    track: CutTrack, networks: Networks, request: Request, callback: Callback | None = None
) -> RestoredTrack:
    """Restore the crops of a track in place: the result takes their memory. An earlier run's work is gone on with."""
    landmarks = torch.from_numpy(track.plan.landmarks)
    restore_crops(
        networks, track.crops, request, mask=track.mask, landmarks=landmarks, memory=track.memory, callback=callback
    )
    return RestoredTrack(track.plan, track.crops, track.mask, track.colors)


def restore_crops(
    networks: Networks,
    crops: Tensor,
    request: Request,
    *,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> Tensor:
    """Restore crops (n,3,h,w) uint8 in place: the result takes the memory of the input.

    memory: what the crops lie in, if it is to be known of them how far they are restored.
    """
    if memory.done(RESTORED):
        return crops
    latents = memory.part("latents")
    known = Known(mask, request.reference, request.identity, landmarks)
    sampled = restore(
        networks, crops, request.tasks, request.options, known=known, memory=latents, callback=callback
    )
    first = sampled.decoded(request.options, latents)
    for index, frame in enumerate(_decoded(networks, sampled, request, latents, callback), first):
        crops[index] = frame
    memory.save(RESTORED, 1)
    latents.drop()
    return crops


def _decoded(
    networks: Networks, sampled: SampledClip, request: Request, memory: Memory, callback: Callback | None
) -> Iterator[Tensor]:
    """The restored frames that are left to decode, (3,h,w) uint8 on the CPU, one at a time."""
    for frames in sampled.decode(networks.vae, request.options, callback, memory):
        yield from from_network_range(frames).cpu()


def restore_whole(
    clip: Clip,
    networks: Networks,
    request: Request,
    spans: Sequence[tuple[int, int]],
    *,
    masks: Iterable[np.ndarray] | None = None,
    memory: Memory = PLAIN,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """Restore whole frames, one shot after the other; yields (H,W,3) uint8 frames of the clip's size.

    Frames, and the request's reference (3,H,W), are padded at the right and bottom to the network's size multiple by
    repeating their edge, and cut back afterwards: nothing is stretched. spans: (first, last + 1) of every shot.
    masks: (H,W), True where the picture is missing, one per frame. memory: where the frames lie, as uint8; plain memory
    holds one shot at a time.
    """
    multiple = networks.size_multiple
    begun = _first_to_cut(spans, memory)
    frames = picked(clip, lambda number: number >= begun)
    mask_frames = iter(masks) if masks is not None else None
    if request.reference is not None:
        request = replace(request, reference=pad_to_multiple(request.reference, multiple))
    for first, last in spans:
        own = _frames_of(first, memory)
        pictures = _stacked(own, "frames", frames, last - first, multiple)
        mask = None if mask_frames is None else _stacked(own, "mask", mask_frames, last - first, multiple)
        own.save(CUT, last - first)
        try:
            shot = restore_crops(networks, pictures, request, mask=mask, memory=own, callback=callback)
        except FaceNotFoundError:
            if len(spans) == 1:
                raise
            # Other shots may show a face: one without must not end the whole clip.
            log.warning("Frames %d to %d: no face for the self-reference, so this shot gets one pass.", first, last - 1)
            alone = replace(request, options=replace(request.options, passes=1))
            shot = restore_crops(networks, pictures, alone, mask=mask, memory=own, callback=callback)
        for picture in shot:
            yield picture[:, : clip.height, : clip.width].permute(1, 2, 0).numpy()  # CHW -> HWC


def _first_to_cut(spans: Sequence[tuple[int, int]], memory: Memory) -> int:
    """The first frame of the first shot that no earlier run has cut."""
    return next((first for first, _ in spans if not _frames_of(first, memory).done(CUT)), spans[-1][1])


def _frames_of(first: int, memory: Memory) -> Memory:
    """The part of a memory that belongs to the shot that begins with this frame."""
    return memory.part(f"frames-{first}")


def _stacked(
    memory: Memory, name: str, pictures: Iterator[np.ndarray] | Iterator[np.ndarray | None], count: int, multiple: int
) -> Tensor:
    """The next count pictures (H,W,3) or masks (H,W), padded, as one (count,C,h,w) array of a memory.

    Those that are cut already are passed over, and may be None.
    """
    done = memory.done(CUT)
    stacked: Tensor | None = memory.kept(name) if done else None
    for index, picture in enumerate(itertools.islice(pictures, count)):
        if picture is None or index < done:
            continue
        values = torch.from_numpy(np.ascontiguousarray(picture))
        padded = pad_to_multiple(values.permute(2, 0, 1) if values.ndim == 3 else values[None], multiple)  # HWC -> CHW
        if stacked is None:
            stacked = memory.array(name, (count, *padded.shape), padded.dtype)
        stacked[index] = padded
    if stacked is None:
        raise InputError(f"The clip ended before {count} more frames: give the spans of all of it.")
    return stacked
