"""Faces out of full frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.clip import ArrayClip, Clip
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.memory import PLAIN, Memory
from ..svfr_model.base.pixels import MASK_THRESHOLD
from ..svfr_model.base.progress import Callback
from ..svfr_model.faces.crop import crop_mask, plan_crop
from ..svfr_model.faces.cut import crop_clip
from ..svfr_model.faces.debug import draw
from ..svfr_model.faces.face import FaceDetector
from ..svfr_model.faces.find import find_tracks
from ..svfr_model.faces.options import ChoiceOptions, CropOptions, TrackOptions
from ..svfr_model.faces.select import reference_embedding, select_similar, select_tracks
from ..svfr_model.faces.track import FaceTrack, FoundFaces, PlannedCrop
from .by_eye import NAME as BY_EYE
from .by_eye import ByEye, by_eye_input, parse_by_eye
from .face_route import keep
from .images import from_pictures, from_pixels, to_clip, to_mask, to_pictures
from .masks import as_mask, mask_faults, mask_or_picture
from .notice import notice
from .progress import Progress
from .scan import scan_of
from .search import aliases
from .types import DetectorType, EncoderType, ResidentEncoder, TrackType
from .widgets import folded, inputs_of, made

IN_SIGHT = ("choice", "number", "width", "height", "margin")
"""Widgets that are not folded away."""


class FaceCrop(io.ComfyNode):
    """Finds and follows people, and cuts their faces out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Every output is a list with one item per track."""
        return io.Schema(
            node_id="SVFRFaceCrop",
            display_name="SVFR Face Crop",
            category="SVFR/face",
            **aliases(
                "video face, face detect, face tracking, face crop, crop face, FaceDetailer, ReActor, roop, "
                "autocrop, inpaint crop"
            ),
            description="Finds the people in a clip, follows each of them through every shot, and crops their faces. "
            "Each output is a list with one item per person and shot; whatever you wire to it runs once per item.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip's whole frames."),
                DetectorType.Input("detector", tooltip="From Load Face Detector."),
                *folded(inputs_of(ChoiceOptions, CropOptions, TrackOptions), *IN_SIGHT),
                mask_or_picture(
                    "Where the frames are missing something, 1 for missing: one mask for all frames, or one for each. "
                    "It is cropped like the frames. Without it, the masks are empty."
                ),
                io.Image.Input(
                    "face",
                    optional=True,
                    tooltip="A picture of the person to work on; it overrides the choice and needs the encoder. "
                    "Everyone who resembles it closely enough is taken.",
                ),
                EncoderType.Input(
                    "encoder",
                    optional=True,
                    tooltip="Recognises people who leave and come back, and finds the person in the picture. Without "
                    "it, people are told apart by their looks within a shot.",
                ),
                by_eye_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("crops", is_output_list=True, tooltip="The cropped faces, one batch per track."),
                io.Mask.Output("masks", is_output_list=True, tooltip="The mask of the crops, one batch per track."),
                TrackType.Output("tracks", is_output_list=True, tooltip="Where each face is, for SVFR Paste Back."),
                io.Image.Output(
                    "preview",
                    is_output_list=True,
                    tooltip="The middle frame of each track, with the box, the landmarks, the crop, the region that "
                    "paste-back changes and, in red, the mask.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        detector: FaceDetector,
        mask: Tensor | None = None,
        face: Tensor | None = None,
        encoder: ResidentEncoder | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        """Find, choose, plan, cut."""
        clip, progress = to_clip(frames), Progress({"detect": len(frames), "crop": len(frames)})
        cropping, choice = made(CropOptions, widgets), made(ChoiceOptions, widgets).choice
        whose = Whose(choice, face, parse_by_eye(widgets.get(BY_EYE, "")))
        found, chosen, told = find_faces(clip, detector, made(TrackOptions, widgets), whose, encoder, progress)
        keep(None if cls.hidden is None else cls.hidden.unique_id, lambda: scan_of(clip, found))
        plans = [plan_crop(track, cropping) for track in chosen]
        crops = crop_clip(clip, plans, progress)
        mask, size = as_mask(mask), (clip.height, clip.width)
        full = None if mask is None else to_mask(mask, len(frames), size).expand(len(frames), -1, -1, -1)
        masks = [_cropped_mask(full, plan) for plan in plans]
        return io.NodeOutput(
            [from_pixels(crop) for crop in crops],
            masks,
            plans,
            [_preview(clip, plan, found, full) for plan in plans],
            ui=notice(*told, *([] if mask is None else mask_faults(mask, size, masks))),
        )


@dataclass(frozen=True)
class Whose:
    """Whose faces are worked on: those chosen by eye, else the person in a picture (IMAGE), else by a choice."""

    choice: str | int
    face: Tensor | None = None
    by_eye: ByEye | None = None


def find_faces(
    clip: Clip,
    detector: FaceDetector,
    options: TrackOptions,
    whose: Whose,
    encoder: ResidentEncoder | None,
    progress: Callback,
    memory: Memory = PLAIN,
) -> tuple[FoundFaces, list[FaceTrack], list[str]]:
    """All tracks, the chosen ones, and what to tell of the choice. memory: keeps what is found."""
    if encoder is None:
        if whose.face is not None:
            raise InputError("A picture of the person needs an encoder: wire Load SVFR Identity Encoder to Face Crop.")
        return _chosen(find_tracks(clip, detector, options, None, progress, memory), whose, None)
    with encoder.loaded() as networks:
        found = find_tracks(clip, detector, options, networks, progress, memory)
        face = whose.face
        known = None if face is None else reference_embedding(to_pictures(face)[0], detector, networks)
        return _chosen(found, whose, known)


def _chosen(found: FoundFaces, whose: Whose, known: np.ndarray | None) -> tuple[FoundFaces, list[FaceTrack], list[str]]:
    """known: the embedding of the person in the picture."""
    picked, told = ([], []) if whose.by_eye is None else whose.by_eye.pick(found)
    if picked:
        return found, picked, told
    if known is not None:
        return found, select_similar(found.tracks, known), told
    return found, select_tracks(found.tracks, whose.choice), told


def _cropped_mask(mask: Tensor | None, plan: PlannedCrop) -> Tensor:
    """MASK of a track's crops, (n,h,w), from the frames' (N,1,H,W); zeros without one."""
    if mask is None:
        return torch.zeros(len(plan), *plan.size[::-1])
    pieces = [crop_mask(mask[plan.track.start + i, 0].numpy(), plan, i) for i in range(len(plan))]
    return torch.from_numpy(np.stack(pieces))


def _preview(clip: ArrayClip, plan: PlannedCrop, found: FoundFaces, mask: Tensor | None) -> Tensor:
    """IMAGE of the track's middle frame, with what was found and the frames' mask (N,1,H,W) drawn in."""
    track = plan.track
    middle = track.start + len(track) // 2
    others = [other for other in found.tracks if other.id != track.id]
    shown = None if mask is None else mask[middle, 0].numpy() >= MASK_THRESHOLD
    return from_pictures([draw(clip.frames[middle], [*others, track], middle, found.cuts, shown, [plan])])
