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

from ..base.clip import Clip, expected_length
from ..base.errors import FaceNotFoundError, InputError
from ..base.pixels import from_network_range, pad_to_multiple
from ..base.progress import Callback, report
from ..base.tasks import Tasks
from ..engine.options import RestoreOptions
from ..engine.restore import Known, Networks, SampledClip, restore
from ..engine.windows import shots
from ..faces.cut import CutTrack, cut_shots
from ..faces.paste_clip import RestoredTrack
from ..faces.shots import CutDetector
from ..faces.track import PlannedCrop

if TYPE_CHECKING:
    from ..networks.identity import Identity

log = logging.getLogger(__name__)


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


def find_shots(clip: Clip, callback: Callback | None = None) -> list[tuple[int, int]]:
    """The (first, last + 1) frames of every shot, in one walk; InputError for a clip without frames."""
    cutter = CutDetector()
    count, total = 0, expected_length(clip)
    for frame in clip:
        cutter.add(frame)
        count += 1
        report(callback, "shots", count, max(count, total))
    if not count:
        raise InputError("The clip has no frames.")
    return shots(count, cutter.cuts)


def restore_tracks(
    clip: Clip,
    plans: Sequence[PlannedCrop],
    networks: Networks,
    requests: Sequence[Request],
    *,
    masks: Iterable[np.ndarray] | None = None,
    callback: Callback | None = None,
) -> list[RestoredTrack]:
    """Cut out, in one walk of the clip, and restore every planned track; one request per track.

    masks: (H,W), True where the picture is missing, one per frame of the clip. Held are the crops of all tracks, as
    uint8, and the latents of one.
    """
    (cut,) = cut_shots(clip, [plans], masks=masks, colors=True, callback=callback)
    return [restore_track(track, networks, request, callback) for track, request in zip(cut, requests, strict=True)]


def restore_track(
    track: CutTrack, networks: Networks, request: Request, callback: Callback | None = None
) -> RestoredTrack:
    """Restore the crops of a track in place: the result takes their memory."""
    landmarks = torch.from_numpy(track.plan.landmarks)
    crops = restore_crops(networks, track.crops, request, mask=track.mask, landmarks=landmarks, callback=callback)
    return RestoredTrack(track.plan, crops, track.mask, track.colors)


def restore_crops(
    networks: Networks,
    crops: Tensor,
    request: Request,
    *,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Restore crops (n,3,h,w) uint8 in place: the result takes the memory of the input."""
    restored = _restored(networks, crops, request, mask, landmarks, callback)
    for index, frame in enumerate(_decoded(networks, restored, request, callback)):
        crops[index] = frame
    return crops


def _restored(
    networks: Networks,
    pixels: Tensor,
    request: Request,
    mask: Tensor | None,
    landmarks: Tensor | None,
    callback: Callback | None,
) -> SampledClip:
    """The request's restoration of crops (n,3,h,w) uint8, not decoded yet."""
    return restore(
        networks,
        pixels,
        request.tasks,
        request.options,
        known=Known(mask, request.reference, request.identity, landmarks),
        callback=callback,
    )


def _decoded(
    networks: Networks, sampled: SampledClip, request: Request, callback: Callback | None
) -> Iterator[Tensor]:
    """The restored frames, (3,h,w) uint8 on the CPU, one at a time."""
    for frames in sampled.decode(networks.vae, request.options, callback):
        yield from from_network_range(frames).cpu()


def restore_whole(
    clip: Clip,
    networks: Networks,
    request: Request,
    spans: Sequence[tuple[int, int]],
    *,
    masks: Iterable[np.ndarray] | None = None,
    callback: Callback | None = None,
) -> Iterator[np.ndarray]:
    """Restore whole frames, one shot after the other; yields (H,W,3) uint8 frames of the clip's size.

    Frames, and the request's reference (3,H,W), are padded at the right and bottom to the network's size multiple by
    repeating their edge, and cut back afterwards: nothing is stretched. spans: (first, last + 1) of every shot.
    masks: (H,W), True where the picture is missing, one per frame. One shot is held at a time, as uint8.
    """
    multiple = networks.size_multiple
    frames = iter(clip)
    mask_frames = iter(masks) if masks is not None else None
    if request.reference is not None:
        request = replace(request, reference=pad_to_multiple(request.reference, multiple))
    for first, last in spans:
        pictures = pad_to_multiple(_stack(frames, last - first), multiple)
        mask = pad_to_multiple(_stack(mask_frames, last - first), multiple) if mask_frames is not None else None
        try:
            shot = restore_crops(networks, pictures, request, mask=mask, callback=callback)
        except FaceNotFoundError:
            if len(spans) == 1:
                raise
            # Other shots may show a face: one without must not end the whole clip.
            log.warning("Frames %d to %d: no face for the self-reference, so this shot gets one pass.", first, last - 1)
            alone = replace(request, options=replace(request.options, passes=1))
            shot = restore_crops(networks, pictures, alone, mask=mask, callback=callback)
        for picture in shot:
            yield picture[:, : clip.height, : clip.width].permute(1, 2, 0).numpy()  # CHW -> HWC


def _stack(pictures: Iterator[np.ndarray], count: int) -> Tensor:
    """The next count pictures (H,W,3) or masks (H,W) as one (count,C,H,W) tensor."""
    stacked = torch.from_numpy(np.stack(list(itertools.islice(pictures, count))))
    return stacked.permute(0, 3, 1, 2) if stacked.ndim == 4 else stacked[:, None]  # NHWC -> NCHW
