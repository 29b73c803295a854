"""A clip from end to end: faces found, cropped, restored and pasted back, or whole frames restored shot by shot.

The command line and the demonstration call this with networks that are ready; nothing here knows files.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .clip import Clip
from .pixels import from_network_range
from .progress import Callback
from .restore import Networks, RestoreOptions, restore
from .tasks import Task, Tasks

if TYPE_CHECKING:
    from .identity import Identity

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


def check_mask(tasks: Tasks, mask: object | None) -> None:
    """Warn where mask and tasks do not belong together; neither is an error."""
    if mask is not None and Task.INPAINTING not in tasks:
        log.warning("A mask was given, but inpainting is not among the tasks: the mask is not used.")
    if mask is None and Task.INPAINTING in tasks:
        log.warning("Inpainting was asked for without a mask: only what is pure white already counts as missing.")


def restore_crops(
    networks: Networks,
    crops: Tensor,
    request: Request,
    *,
    mask: Tensor | None = None,
    landmarks: Tensor | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Restore the crops of one track, (n,3,h,w) uint8, in place: the result takes the memory of the input."""
    restored = restore(
        networks,
        crops,
        request.tasks,
        request.options,
        mask=mask,
        reference=request.reference,
        identity=request.identity,
        landmarks=landmarks,
        callback=callback,
    )
    first = 0
    for frames in restored.decode(networks.vae, request.options, callback):
        crops[first : first + len(frames)] = from_network_range(frames).cpu()
        first += len(frames)
    return crops


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

    Frames are padded at the right and bottom to the network's size multiple by repeating their edge, and cut back
    afterwards: nothing is stretched. spans: (first, last + 1) of every shot. masks: (H,W), True where the picture is
    missing, one per frame. One shot is held at a time, as uint8.
    """
    multiple = networks.size_multiple
    padding = ((0, -clip.height % multiple), (0, -clip.width % multiple))
    frames = iter(clip)
    hidden = iter(masks) if masks is not None else None
    for first, last in spans:
        pictures = _stack(frames, last - first, (*padding, (0, 0)))
        mask = _stack(hidden, last - first, padding) if hidden is not None else None
        shot = restore_crops(networks, pictures, request, mask=mask, callback=callback)
        for picture in shot:
            yield picture[:, : clip.height, : clip.width].permute(1, 2, 0).numpy()  # CHW -> HWC


def _stack(pictures: Iterator[np.ndarray], count: int, padding: tuple[tuple[int, int], ...]) -> Tensor:
    """The next count pictures (H,W,3) or masks (H,W), padded with their edge, as one (count,C,H,W) tensor."""
    padded = [np.pad(picture, padding, mode="edge") for picture in itertools.islice(pictures, count)]
    stacked = torch.from_numpy(np.stack(padded))
    return stacked.permute(0, 3, 1, 2) if stacked.ndim == 4 else stacked[:, None]  # NHWC -> NCHW
