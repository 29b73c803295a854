"""How faces are found, followed, cut out and pasted back: the options of the room."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Literal, TypeAlias

from ..base.errors import InputError
from ..base.options import Flag, Range, Widget, option, options
from ..base.tasks import Task, Tasks

DetectorKind: TypeAlias = Literal["yunet", "yoloface", "scrfd"]
FaceChoice: TypeAlias = Literal["largest", "all", "left", "right"]
CropMode: TypeAlias = Literal["tracked", "static"]
Region: TypeAlias = Literal["face", "crop"]
ColorMode: TypeAlias = Literal["none", "lab", "wavelet"]

MARGIN = 0.4
"""The reference's: how far a crop reaches beyond the face box, per side, in parts of the box's width and height."""
SEARCH_SIZE = 640
"""Length in pixels of a frame's longer side at which faces are searched."""
MOST_SMOOTHING = 300.0
"""Frames; the smoother's equations lose their digits from about 1,000 on."""


@options
class TrustOptions:
    """Whether weight files that are programs may run."""

    trust_torchscript: bool = option(
        default=False,
        help="Run the program in a TorchScript file (.pt), such as yoloface's. It can do to this machine whatever you "
        "can: only for files whose source you trust. A converted .onnx needs no trust.",
        widget=Widget(late=True),
    )


@options
class DetectorOptions(TrustOptions):
    """Which detector finds faces."""

    detector: DetectorKind = option(
        default="yunet",
        help="Kind of face detector. yunet is small, quick and free to use; yoloface is the reference's, slower; scrfd "
        "is insightface's, run by onnxruntime.",
        widget=Widget("kind"),
    )
    threshold: float | None = option(
        default=None,
        within=Range(0.0, 1.0, above=True, below=True),
        help="How sure the detector must be; by default its own threshold, 0.6 for yunet and 0.5 for the others. Lower "
        "finds more blurred or turned faces, and more that are none.",
        widget=Widget(range=(0.0, 0.99), step=0.05, unset=0.0),
    )


@options
class ChoiceOptions:
    """Whose face is worked on."""

    choice: FaceChoice | int = option(
        default="largest",
        within=Range(0, 999_999_999),
        help="Whose face: at every moment the largest or outermost one (left, right), all, the one with this number, "
        "or (restore only) the person's in this picture.",
        flag=Flag("faces"),
        widget=Widget(
            range=(0, 9999),
            parts={
                "choice": "Whose face: at every moment the largest or outermost one, or everyone's.",
                "number": "The track to take where the choice is number; the preview shows them.",
            },
        ),
    )


@options
class CropOptions:
    """How faces are cut out."""

    mode: CropMode = option(
        default="tracked",
        help="tracked follows the face; static is one square for the whole track, as the reference cuts it: steady, "
        "but the face is small where it moves far.",
        flag=Flag("crop"),
    )
    size: tuple[int, int] = option(
        default=(512, 512),
        within=Range(8, 2048),
        unit="pixels",
        help="Side of the face crop. SVFR was trained on 512; larger takes more memory and time and is not what the "
        "network knows.",
        flag=Flag(once=True),
        widget=Widget(
            range=(64, 2048),
            step=64,
            parts={
                "width": "Width of the crops. SVFR was trained on 512; larger takes more memory and time and is not "
                "what the network knows.",
                "height": "Height of the crops, as for width.",
            },
        ),
    )
    margin: float = option(
        default=MARGIN,
        within=Range(0.0, 5.0),
        help="Margin on each side, as a fraction of the face box. More shows hair and neck, less leaves more pixels "
        "for the face.",
        widget=Widget(range=(0.0, 2.0), step=0.05),
    )
    smoothing: float = option(
        default=15.0,
        within=Range(0.0, MOST_SMOOTHING),
        unit="frames",
        help="Remove crop motion faster than this many frames (0: off). More is calmer; 0 follows every jitter of the "
        "detector.",
        flag=Flag("smooth"),
        widget=Widget(range=(0.0, 120.0), step=1.0),
    )
    roll: bool = option(
        default=False,
        help="Turn the crop with the head, for heads that lean far. SVFR was trained without.",
    )
    pre_downscale: float = option(
        default=1.0,
        within=Range(1.0, 16.0),
        help="Reduce the crop this many times first, so that large but soft faces look more like what the network "
        "knows. More repairs more and keeps less.",
        widget=Widget(range=(1.0, 8.0), step=0.5),
    )


@options
class ShotOptions:
    """How different frames must be for a cut; distances lie in [0,1]."""

    minimum: float = option(default=0.3, help="Distance every cut must reach.", flag=None, widget=None)
    ratio: float = option(
        default=2.5,
        help="How many times the distance must exceed the mean distance of neighbouring frames (adaptive threshold).",
        flag=None,
        widget=None,
    )
    neighbours: int = option(
        default=6, help="Frames on either side from which that mean is taken.", flag=None, widget=None
    )


@options
class TrackOptions:
    """How faces are searched and followed."""

    detect_size: int = option(
        default=SEARCH_SIZE,
        within=Range(32, 8192),
        unit="pixels",
        help="Longer side to which frames are reduced before faces are searched; smaller frames stay as they are. More "
        "finds smaller faces and takes longer.",
        widget=Widget(range=(32, 4096), step=32),
    )
    stride: int = option(
        default=5,
        within=Range(1, 1000),
        help="Search the whole frame every this many frames; known faces are followed in between. Fewer finds "
        "newcomers sooner and takes longer.",
        flag=None,
        widget=Widget(range=(1, 60)),
    )
    max_gap: int = option(
        default=15,
        within=Range(0, 100_000),
        unit="frames",
        help="Frames a face may be out of sight and still be filled in. More keeps a track in one piece behind things "
        "that pass.",
        flag=None,
        widget=Widget(range=(0, 240)),
    )
    min_length: int = option(
        default=5,
        within=Range(1, 100_000),
        unit="frames",
        help="Frames in which a face must be seen to count; in shots shorter than twice that, half of the shot. More "
        "ignores passers-by and mistakes.",
        flag=None,
        widget=Widget(range=(1, 240)),
    )
    min_score: float = option(
        default=0.5,
        within=Range(0.0, 1.0),
        help="Mean confidence of the detector that a track needs. More ignores what is hardly a face.",
        flag=None,
        widget=Widget(step=0.05),
    )
    looks: int = option(
        default=3,
        within=Range(0, 100),
        help="Most looks at each face in each frame; 0 leaves the frames between searches to interpolation.",
        flag=None,
        widget=None,
    )
    batch: int = option(
        default=16,
        within=Range(1, 1000),
        help="Reduced frames held, and given to the detector, at a time.",
        flag=None,
        widget=None,
    )
    same_person: float = option(
        default=0.4,
        within=Range(-1.0, 1.0),
        help="Cosine of two identity embeddings from which two tracks are one person.",
        flag=None,
        widget=None,
    )
    same_look: float = option(
        default=0.8,
        within=Range(-1.0, 1.0),
        help="Likeness of two appearances in one shot from which two tracks are one person, where no encoder is given.",
        flag=None,
        widget=None,
    )
    shots: ShotOptions = field(default_factory=ShotOptions)

    def __post_init__(self) -> None:
        """Refuse combinations without a meaning."""
        if self.looks == 0 and self.stride - 1 > self.max_gap:
            raise InputError(
                "With looks 0, frames between searches are interpolated: a stride of "
                f"{self.stride} needs max_gap {self.stride - 1} or more, got {self.max_gap}."
            )


@options
class PasteOptions:
    """How restored crops are put back."""

    region: Region = option(
        default="face",
        help="What is pasted back: face changes the face's oval only (its outline, where that is known); crop the "
        "whole crop with a soft edge, hair and background included, whose joins show more.",
    )
    feather: float = option(
        default=0.12,
        within=Range(0.0, 1.0),
        help="Width of the soft edge, as a fraction of the face's side. More hides joins and keeps less of the "
        "restoration.",
        widget=Widget(step=0.01),
    )
    color_match: Literal["auto", ColorMode] = option(
        default="auto",
        help="Bring colours back to the original's, by one correction per track: lab matches mean and spread, wavelet "
        "low frequencies place by place; auto is lab, and none for colorization.",
    )
    occlusion_safe: bool = option(
        default=False,
        help="Keep the original where it and the restoration disagree strongly, such as a hand before the face. It "
        "also keeps heavy damage. Never for colorization.",
    )

    def for_tasks(self, tasks: Tasks | None) -> PasteOptions:
        """The options with "auto" decided and what does not suit the tasks switched off."""
        colorizing = tasks is not None and Task.COLORIZATION in tasks
        color = self.color_match
        if color == "auto":
            color = "none" if colorizing else "lab"
        return replace(self, color_match=color, occlusion_safe=self.occlusion_safe and not colorizing)
