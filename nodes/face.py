"""Faces out of full frames, and back into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..svfr_model.clip import ArrayClip
from ..svfr_model.errors import InputError
from ..svfr_model.faces.change import changed_region
from ..svfr_model.faces.color import COLOR_MODES, ColorMatch, fit_colors
from ..svfr_model.faces.crop import CropOptions, crop_clip, crop_mask, plan_crop
from ..svfr_model.faces.debug import draw
from ..svfr_model.faces.detect import FaceDetector
from ..svfr_model.faces.find import TrackOptions, find_tracks
from ..svfr_model.faces.paste import PasteOptions, Patch, paste, warn_if_grey
from ..svfr_model.faces.select import reference_embedding, select_similar, select_tracks
from ..svfr_model.faces.track import Detection, FaceTrack
from ..svfr_model.tasks import Task, Tasks
from .images import from_pictures, from_pixels, to_clip, to_mask, to_pictures, to_planar
from .progress import Progress
from .types import DetectorType, EncoderType, ResidentEncoder, TaskType, TrackType

TRACK, CROP, PASTE = TrackOptions(), CropOptions(), PasteOptions()
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
            description="Finds the people in a clip, follows each through every shot, and cuts their faces out. Each "
            "output is a list with one item per person and shot: what is wired to it runs once for each.",
            inputs=[
                io.Image.Input("frames", tooltip="The clip's frames, whole."),
                DetectorType.Input("detector", tooltip="From Load Face Detector."),
                *_choice_inputs(),
                *_crop_inputs(),
                *_track_inputs(),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the frames are missing something, 1 for missing: one for all frames or one for "
                    "each. It is cropped like them. Without it the masks come out empty.",
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
                    tooltip="A frame from the middle of each track, with box, landmarks, crop and the region that "
                    "paste-back changes drawn in.",
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
        tracks = [plan_crop(track, cropping) for track in chosen]
        crops = crop_clip(clip, tracks, progress)
        return io.NodeOutput(
            [from_pixels(crop) for crop in crops],
            [_cropped_mask(mask, track, len(frames)) for track in tracks],
            tracks,
            [_preview(clip, track, found) for track in tracks],
        )


class PasteBack(io.ComfyNode):
    """Puts restored faces back into their frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Takes the lists of Face Crop and what was made of them."""
        return io.Schema(
            node_id="SVFRPasteBack",
            display_name="SVFR Paste Back",
            category="SVFR/face",
            description="Puts restored crops of all tracks back into the frames. Frames without a face keep their "
            "exact values.",
            is_input_list=True,
            inputs=[
                io.Image.Input("frames", tooltip="The original frames, as given to SVFR Face Crop."),
                io.Image.Input("restored", tooltip="The restored crops, one batch per track, in the tracks' order."),
                TrackType.Input("tracks", tooltip="The tracks from SVFR Face Crop."),
                *_paste_inputs(),
                TaskType.Input(
                    "task",
                    optional=True,
                    tooltip="The task of the restoration: under colorization the original's colours are not brought "
                    "back, and a grey clip gives a warning.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="The masks from SVFR Face Crop, for inpainting: what was missing is filled beside the "
                    "face too, and is left out when colours are compared.",
                ),
                io.Mask.Input(
                    "allowed",
                    optional=True,
                    tooltip="Where the frames may change, 1 for yes: one for all frames or one for each. Default: "
                    "everywhere.",
                ),
            ],
            outputs=[
                io.Image.Output("pasted", display_name="frames", tooltip="The clip with its restored faces."),
                io.Mask.Output("mask", tooltip="How far each pixel was replaced, 0 to 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        frames: list[Tensor],
        restored: list[Tensor],
        tracks: list[FaceTrack],
        region: list[str],
        feather: list[float],
        color_match: list[str],
        blend: list[float],
        occlusion_safe: list[bool],
        task: list[Tasks] | None = None,
        masks: list[Tensor] | None = None,
        allowed: list[Tensor] | None = None,
    ) -> io.NodeOutput:
        """Fit the colours, then paste frame by frame."""
        image, tasks = frames[0], task[0] if task else None
        clip = to_clip(image)
        options = PasteOptions(region[0], feather[0], color_match[0], occlusion_safe[0]).for_tasks(tasks)
        crops = [_crops_of(track, image) for track, image in _paired(tracks, restored)]
        missing = _missing(masks, tracks, tasks)
        patches = _patches(tracks, crops, _fit(clip, tracks, crops, missing, options), missing)
        limits = _limits(allowed, image, blend[0])
        pasted, changed = _paste_clip(clip, patches, options, tasks, limits)
        return io.NodeOutput(from_pictures(pasted), torch.from_numpy(np.stack(changed)))


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


def _paste_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "region",
            options=["face", "crop"],
            default=PASTE.region,
            tooltip='"face" (default) changes the oval of the face only; "crop" the whole crop with a soft edge: also '
            "hair and background, whose joins show more.",
        ),
        io.Float.Input(
            "feather",
            default=PASTE.feather,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Width of the soft edge, in sides of the face. Default 0.12. More hides joins and keeps less of "
            "the restoration.",
        ),
        io.Combo.Input(
            "color_match",
            options=["auto", *COLOR_MODES],
            default=PASTE.color_match,
            tooltip='Colours brought back to the original\'s, by one correction per track: "lab" mean and spread, '
            '"wavelet" low frequencies place by place. "auto" (default) is lab, and none for colorization.',
        ),
        io.Float.Input(
            "blend",
            default=1.0,
            min=0.0,
            max=1.0,
            step=0.05,
            tooltip="How much of the restoration is taken. Default 1, all; less keeps some of the original.",
        ),
        io.Boolean.Input(
            "occlusion_safe",
            default=PASTE.occlusion_safe,
            tooltip="Keep the original where it and the restoration disagree strongly, such as a hand before the "
            "face. Default off: it also keeps heavy damage. Never for colorization.",
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
) -> tuple[Detection, list[FaceTrack]]:
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


def _cropped_mask(mask: Tensor | None, track: FaceTrack, count: int) -> Tensor:
    """MASK of a track's crops, (n,h,w); zeros without one."""
    width, height = track.crop_size
    if mask is None:
        return torch.zeros(len(track), height, width)
    whole = to_mask(mask, count, track.frame_size[::-1]).expand(count, -1, -1, -1)
    pieces = [crop_mask(whole[track.start + i, 0].numpy(), track, i) for i in range(len(track))]
    return torch.from_numpy(np.stack(pieces))


def _preview(clip: ArrayClip, track: FaceTrack, found: Detection) -> Tensor:
    middle = track.start + len(track) // 2
    others = [other for other in found.tracks if other.id != track.id]
    return from_pictures([draw(clip.frames[middle], [*others, track], middle, found.cuts)])


def _paired(tracks: list[FaceTrack], images: list[Tensor]) -> list[tuple[FaceTrack, Tensor]]:
    if len(tracks) != len(images):
        raise InputError(f"There are {len(tracks)} tracks but {len(images)} batches of crops: one is needed for each.")
    return list(zip(tracks, images, strict=True))


def _crops_of(track: FaceTrack, image: Tensor) -> Tensor:
    """Restored crops of a track, (n,3,h,w) float in [0,1]."""
    if len(image) != len(track):
        raise InputError(f"Track {track.id} has {len(track)} frames, but {len(image)} restored crops were given.")
    return to_planar(image)


def _missing(masks: list[Tensor] | None, tracks: list[FaceTrack], tasks: Tasks | None) -> list[Tensor | None]:
    """The inpainting mask of each track, (n,1,h,w), where there is one and the task makes use of it."""
    if not masks or (tasks is not None and Task.INPAINTING not in tasks):
        return [None] * len(tracks)
    cropped = [to_mask(mask, len(track), track.crop_size[::-1]) for track, mask in _paired(tracks, masks)]
    return [mask.expand(len(track), -1, -1, -1) for track, mask in zip(tracks, cropped, strict=True)]


def _limits(allowed: list[Tensor] | None, image: Tensor, blend: float) -> Tensor | None:
    """How far each frame may change, (1 or N,1,H,W), or None for everywhere and wholly."""
    if not allowed:
        return None if blend >= 1 else torch.full((1, 1, *image.shape[1:3]), blend)
    return blend * to_mask(allowed[0], len(image), tuple(image.shape[1:3]))


def _fit(
    clip: ArrayClip,
    tracks: list[FaceTrack],
    crops: list[Tensor],
    missing: list[Tensor | None],
    options: PasteOptions,
) -> list[ColorMatch]:
    """The colour correction of each track against crops of the original frames."""
    if options.color_match == "none":
        return [ColorMatch()] * len(tracks)
    return [
        fit_colors(options.color_match, track, before, after, None if mask is None else mask[:, 0].numpy())
        for track, before, after, mask in zip(tracks, crop_clip(clip, tracks), crops, missing, strict=True)
    ]


def _patches(
    tracks: list[FaceTrack], crops: list[Tensor], colors: list[ColorMatch], missing: list[Tensor | None]
) -> dict[int, list[Patch]]:
    """What belongs into each frame, by the frame's number."""
    patches: dict[int, list[Patch]] = {}
    for track, crop, color, mask in zip(tracks, crops, colors, missing, strict=True):
        for index in range(len(track)):
            hole = None if mask is None else mask[index, 0].numpy()
            patches.setdefault(track.start + index, []).append(Patch(track, index, crop[index], color, hole))
    return patches


def _paste_clip(
    clip: ArrayClip, patches: dict[int, list[Patch]], options: PasteOptions, tasks: Tasks | None, limits: Tensor | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The frames, and how far each pixel of them was replaced."""
    if patches:
        warn_if_grey(clip.frames[min(patches)], tasks, options.region)
    progress = Progress({"paste": len(clip)})
    pasted, changed = [], []
    for number, frame in enumerate(clip):
        here = patches.get(number, [])
        limit = None if limits is None else limits[min(number, len(limits) - 1), 0].numpy()
        pasted.append(paste(frame, here, options, limit) if here else frame)
        changed.append(changed_region(frame, here, options, limit))
        progress("paste", number + 1, len(clip))
    return pasted, changed
