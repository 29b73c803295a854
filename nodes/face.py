"""Faces out of full frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.base.clip import ArrayClip
from ..svfr_model.base.errors import InputError
from ..svfr_model.base.pixels import MASK_THRESHOLD
from ..svfr_model.faces.crop import CropOptions, crop_clip, crop_mask, plan_crop
from ..svfr_model.faces.debug import draw
from ..svfr_model.faces.face import FaceDetector
from ..svfr_model.faces.find import TrackOptions, find_tracks
from ..svfr_model.faces.select import reference_embedding, select_similar, select_tracks
from ..svfr_model.faces.track import FaceTrack, FoundFaces, PlannedCrop
from .images import from_pictures, from_pixels, to_clip, to_mask, to_pictures
from .masks import as_mask, mask_faults, mask_or_picture
from .notice import notice
from .progress import Progress
from .search import aliases
from .types import DetectorType, EncoderType, ResidentEncoder, TrackType

TRACK, CROP = TrackOptions(), CropOptions()
BY_NUMBER = "number"
CHOICES = ["largest", "all", "left", "right", BY_NUMBER]


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
            description="Finds the people in a clip, follows each through every shot, and cuts their faces out. Each "
            "output is a list with one item per person and shot: what is wired to it runs once for each.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip's frames, whole."),
                DetectorType.Input("detector", tooltip="From Load Face Detector."),
                *_choice_inputs(),
                *_crop_inputs(),
                *_track_inputs(),
                mask_or_picture(
                    "Where the frames are missing something, 1 for missing: one for all frames or one for each. It is "
                    "cropped like them. Without it the masks come out empty."
                ),
                io.Image.Input(
                    "face",
                    optional=True,
                    tooltip="A picture of the person to work on; overrules the choice and needs the encoder. Everyone "
                    "who resembles it enough is taken.",
                ),
                EncoderType.Input(
                    "encoder",
                    optional=True,
                    tooltip="Tells people apart where they leave and come back, and finds the person of the picture. "
                    "Without it their looks within a shot must do.",
                ),
            ],
            outputs=[
                io.Image.Output("crops", is_output_list=True, tooltip="The face's frames, one batch per track."),
                io.Mask.Output("masks", is_output_list=True, tooltip="The mask in the crops, one batch per track."),
                TrackType.Output("tracks", is_output_list=True, tooltip="Where each face is, for SVFR Paste Back."),
                io.Image.Output(
                    "preview",
                    is_output_list=True,
                    tooltip="A frame from the middle of each track, with box, landmarks, crop, the region that "
                    "paste-back changes and, in red, the mask drawn in.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: Tensor,
        detector: FaceDetector,
        choice: str,
        number: int,
        mask: Tensor | None = None,
        face: Tensor | None = None,
        encoder: ResidentEncoder | None = None,
        **options: Any,
    ) -> io.NodeOutput:
        """Find, choose, plan, cut."""
        clip, progress = to_clip(frames), Progress({"detect": len(frames), "crop": len(frames)})
        cropping = _crop_options(options)
        wanted = number if choice == BY_NUMBER else choice
        found, chosen = _find(clip, detector, TrackOptions(**options), wanted, face, encoder, progress)
        plans = [plan_crop(track, cropping) for track in chosen]
        crops = crop_clip(clip, plans, progress)
        mask, size = as_mask(mask), (clip.height, clip.width)
        missing = None if mask is None else to_mask(mask, len(frames), size).expand(len(frames), -1, -1, -1)
        masks = [_cropped_mask(missing, plan) for plan in plans]
        return io.NodeOutput(
            [from_pixels(crop) for crop in crops],
            masks,
            plans,
            [_preview(clip, plan, found, missing) for plan in plans],
            ui=notice(*([] if mask is None else mask_faults(mask, size, masks))),
        )


def _choice_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "choice",
            options=CHOICES,
            default="largest",
            tooltip="Whose face: at every moment the largest (default) or outermost one, everyone's, or one track by "
            "its number in the preview.",
        ),
        io.Int.Input(
            "number",
            default=0,
            min=0,
            max=9999,
            tooltip=f'The track to take where the choice is "{BY_NUMBER}"; the preview shows them. Default 0.',
        ),
    ]


def _crop_inputs() -> list[io.Input]:
    size = {"min": 64, "max": 2048, "step": 64}
    return [
        io.Combo.Input(
            "mode",
            options=["tracked", "static"],
            default=CROP.mode,
            tooltip='"tracked" (default) follows the face; "static" is one square for the whole track, as the '
            "reference cuts it: steady, but the face is small where it moves far.",
        ),
        io.Int.Input(
            "width",
            default=CROP.size[0],
            **size,
            tooltip="Width of the crops. Default 512, what SVFR was trained on. Larger takes more memory and time "
            "and is not what the network knows.",
        ),
        io.Int.Input("height", default=CROP.size[1], **size, tooltip="Height of the crops, as for width. Default 512."),
        io.Float.Input(
            "margin",
            default=CROP.margin,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="What is added to the face's box on each side, in parts of the box. Default 0.4, the reference's. "
            "More shows hair and neck, less leaves more pixels for the face.",
        ),
        io.Float.Input(
            "smoothing",
            default=CROP.smoothing,
            min=0.0,
            max=120.0,
            step=1.0,
            tooltip="Motions of the crop quicker than this many frames are removed. Default 15. More is calmer; 0 "
            "follows every jitter of the detector.",
        ),
        io.Boolean.Input(
            "roll",
            default=CROP.roll,
            tooltip="Turn the crop with the head, for heads that lean far. Default off, as SVFR was trained.",
        ),
        io.Float.Input(
            "pre_downscale",
            default=CROP.pre_downscale,
            min=1.0,
            max=8.0,
            step=0.5,
            tooltip="Make the crop this many times smaller first: large but soft faces then look more like what the "
            "network knows. Default 1, not at all. More repairs more and keeps less.",
        ),
    ]


def _track_inputs() -> list[io.Input]:
    return [
        io.Int.Input(
            "detect_size",
            default=TRACK.detect_size,
            min=32,
            max=4096,
            step=32,
            tooltip="Frames are reduced to this length before faces are looked for. Default 640. More finds smaller "
            "faces and takes longer.",
        ),
        io.Int.Input(
            "stride",
            default=TRACK.stride,
            min=1,
            max=60,
            tooltip="The whole frame is searched every so many frames; known faces are followed in between. Default "
            "5. Less finds newcomers sooner and takes longer.",
        ),
        io.Int.Input(
            "max_gap",
            default=TRACK.max_gap,
            min=0,
            max=240,
            tooltip="Frames a face may be out of sight and still be filled in. Default 15. More keeps a track in one "
            "piece behind things that pass.",
        ),
        io.Int.Input(
            "min_length",
            default=TRACK.min_length,
            min=1,
            max=240,
            tooltip="Frames in which a face must be seen to count. Default 5. More ignores passers-by and mistakes.",
        ),
        io.Float.Input(
            "min_score",
            default=TRACK.min_score,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="Mean confidence of the detector that a track needs. Default 0.5. More ignores what is hardly a "
            "face.",
        ),
    ]


def _crop_options(options: dict[str, Any]) -> CropOptions:
    """Take the crop's options out of the widgets' values; what stays are the tracker's."""
    size = options.pop("width"), options.pop("height")
    names = ("mode", "margin", "smoothing", "roll", "pre_downscale")
    return CropOptions(size=size, **{name: options.pop(name) for name in names})


def _find(
    clip: ArrayClip,
    detector: FaceDetector,
    options: TrackOptions,
    choice: str | int,
    face: Tensor | None,
    encoder: ResidentEncoder | None,
    progress: Progress,
) -> tuple[FoundFaces, list[FaceTrack]]:
    """All tracks, and the chosen ones."""
    if encoder is None:
        if face is not None:
            raise InputError("A picture of the person needs an encoder: wire Load SVFR Identity Encoder to Face Crop.")
        found = find_tracks(clip, detector, options, callback=progress)
        return found, select_tracks(found.tracks, choice)
    with encoder.loaded() as networks:
        found = find_tracks(clip, detector, options, networks, progress)
        if face is None:
            return found, select_tracks(found.tracks, choice)
        return found, select_similar(found.tracks, reference_embedding(to_pictures(face)[0], detector, networks))


def _cropped_mask(missing: Tensor | None, plan: PlannedCrop) -> Tensor:
    """MASK of a track's crops, (n,h,w), from the frames' (N,1,H,W); zeros without one."""
    if missing is None:
        return torch.zeros(len(plan), *plan.size[::-1])
    pieces = [crop_mask(missing[plan.track.start + i, 0].numpy(), plan, i) for i in range(len(plan))]
    return torch.from_numpy(np.stack(pieces))


def _preview(clip: ArrayClip, plan: PlannedCrop, found: FoundFaces, missing: Tensor | None) -> Tensor:
    """IMAGE of the track's middle frame, with what was found and what is missing in it, (N,1,H,W), drawn in."""
    track = plan.track
    middle = track.start + len(track) // 2
    others = [other for other in found.tracks if other.id != track.id]
    hole = None if missing is None else missing[middle, 0].numpy() >= MASK_THRESHOLD
    return from_pictures([draw(clip.frames[middle], [*others, track], middle, found.cuts, hole, [plan])])
