"""Pictures of a person from outside the clip: whose face they show, and one of them as the frame to refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..base.errors import InputError
from ..base.pixels import to_network_range

if TYPE_CHECKING:
    from ..engine.options import Alignment
    from ..faces.face import FaceDetector
    from ..faces.options import CropOptions
    from ..networks.identity import Identity, IdentityEncoder


def identity_of(
    pictures: Mapping[str, np.ndarray],
    detector: FaceDetector,
    encoder: IdentityEncoder,
    alignment: Alignment = "arcface",
) -> Identity:
    """The identity of the largest face of each picture (H,W,3) uint8, averaged.

    pictures: by what a FaceNotFoundError calls each.
    """
    from ..faces.geometry import align_face
    from ..faces.select import largest_face

    if not pictures:
        raise InputError("An identity needs at least one picture.")
    aligned = [
        align_face(picture, largest_face(picture, detector, name).landmarks, alignment)
        for name, picture in pictures.items()
    ]
    return encoder.encode(torch.stack(aligned))


def crop_portrait(
    picture: np.ndarray, detector: FaceDetector, options: CropOptions, name: str = "reference picture"
) -> Tensor:
    """The largest face of a picture (H,W,3) uint8, cut out as the clip's faces are: (3,h,w) in [-1,1].

    name is what a FaceNotFoundError calls the picture.
    """
    from ..base.clip import ArrayClip
    from ..faces.crop import plan_crop
    from ..faces.cut import crop_clip
    from ..faces.select import largest_face
    from ..faces.track import FaceTrack

    face = largest_face(picture, detector, name)
    track = FaceTrack(
        id=0,
        person=0,
        shot=0,
        start=0,
        boxes=face.box[None],
        landmarks=face.landmarks[None],
        scores=np.array([face.score]),
        seen=np.array([True]),
        frame_size=(picture.shape[1], picture.shape[0]),
    )
    return to_network_range(crop_clip(ArrayClip([picture]), [plan_crop(track, options)])[0][0])


def cover(picture: Tensor, width: int, height: int) -> Tensor:
    """A picture (3,H,W) float scaled to cover width x height, its middle cut out: (3,height,width).

    The same values where the size is right already.
    """
    if tuple(picture.shape[-2:]) == (height, width):
        return picture
    factor = max(height / picture.shape[-2], width / picture.shape[-1])
    size = [max(height, round(picture.shape[-2] * factor)), max(width, round(picture.shape[-1] * factor))]
    scaled = torch.nn.functional.interpolate(picture[None], size, mode="bicubic", antialias=True, align_corners=False)[
        0
    ]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return scaled[:, top : top + height, left : left + width]
