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
"""The reference's: how far a crop reaches beyond the face box on each side, as a fraction of the box's sides."""
SEARCH_SIZE = 640
"""Length in pixels of a frame's longer side while faces are searched for."""
MOST_SMOOTHING = 300.0
"""Frames; from about 1,000 on the smoother's equations lose precision."""


@options
class TrustOptions:
    """Whether weight files that contain a program may run."""

    trust_torchscript: bool = option(
        default=False,
        help="Run the program in a TorchScript file (.pt), such as yoloface's. It can do anything on this machine "
        "that you can, so switch this on only for files whose source you trust. A converted .onnx needs no trust.",
        widget=Widget(late=True),
    )


@options
class DetectorOptions(TrustOptions):
    """Which detector finds faces."""

    detector: DetectorKind = option(
        default="yunet",
        help="Kind of face detector. yunet is small, fast and free to use; yoloface is the reference's, and slower; "
        "scrfd is insightface's, and needs onnxruntime.",
        widget=Widget("kind"),
    )
    threshold: float | None = option(
        default=None,
        within=Range(0.0, 1.0, above=True, below=True),
        help="Confidence that a face needs; by default the detector's own threshold, 0.6 for yunet and 0.5 for the "
        "others. A lower one finds more blurred or turned faces, and more false ones.",
        widget=Widget(range=(0.0, 0.99), step=0.05, unset=0.0),
    )


@options
class ChoiceOptions:
    """Whose face is worked on."""

    choice: FaceChoice | int = option(
        default="largest",
        within=Range(0, 999_999_999),
        help="Whose face to work on: the largest or the outermost one (left, right) at every moment, all, the one "
        "with this number, or (restore only) that of the person in this picture.",
        flag=Flag("faces"),
        widget=Widget(
            range=(0, 9999),
            parts={
                "choice": "Whose face to work on: the largest or the outermost one at every moment, or everyone's.",
                "number": "Number of the track to take if the choice is number; the preview shows the numbers.",
            },
        ),
    )


@options
class CropOptions:
    """How faces are cut out."""

    mode: CropMode = option(
        default="tracked",
        help="tracked follows the face; static cuts one square for the whole track, as the reference does: steady, "
        "but the face is small if it moves far.",
        flag=Flag("crop"),
    )
    size: tuple[int, int] = option(
        default=(512, 512),
        within=Range(8, 2048),
        unit="pixels",
        help="Side of the face crop. SVFR was trained on 512; larger crops take more memory and time, and the network "
        "was not trained on them.",
        flag=Flag(once=True),
        widget=Widget(
            range=(64, 2048),
            step=64,
            parts={
                "width": "Width of the crops. SVFR was trained on 512; larger crops take more memory and time, and "
                "the network was not trained on them.",
                "height": "Height of the crops, as for width.",
            },
        ),
    )
    margin: float = option(
        default=MARGIN,
        within=Range(0.0, 5.0),
        help="Margin on each side, as a fraction of the face box. More shows hair and neck; less leaves more pixels "
        "for the face.",
        widget=Widget(range=(0.0, 2.0), step=0.05),
    )
    smoothing: float = option(
        default=15.0,
        within=Range(0.0, MOST_SMOOTHING),
        unit="frames",
        help="Remove crop motion faster than this many frames (0: off). More is steadier; 0 follows every jitter of "
        "the detector.",
        flag=Flag("smooth"),
        widget=Widget(range=(0.0, 120.0), step=1.0),
    )
    roll: bool = option(
        default=False,
        help="Rotate the crop with the head, for heads that lean far. SVFR was trained without this.",
    )
    pre_downscale: float = option(
        default=1.0,
        within=Range(1.0, 16.0),
        help="Shrink the crop by this factor first, so that large but soft faces look more like what the network was "
        "trained on. More repairs more and keeps less.",
        widget=Widget(range=(1.0, 8.0), step=0.5),
    )


@options
class ShotOptions:
    """How much frames must differ for a cut; distances lie in [0,1]."""

    minimum: float = option(default=0.3, help="Distance that every cut must reach.", flag=None, widget=None)
    ratio: float = option(
        default=2.5,
        help="How many times the distance must exceed the mean distance of neighbouring frames (adaptive threshold).",
        flag=None,
        widget=None,
    )
    neighbours: int = option(default=6, help="Frames on either side that this mean covers.", flag=None, widget=None)


@options
class TrackOptions:
    """How faces are found and followed."""

    detect_size: int = option(
        default=SEARCH_SIZE,
        within=Range(32, 8192),
        unit="pixels",
        help="Longer side to which frames are shrunk before the search for faces; smaller frames are not enlarged. "
        "More finds smaller faces and takes longer.",
        widget=Widget(range=(32, 4096), step=32),
    )
    stride: int = option(
        default=5,
        within=Range(1, 1000),
        help="Search the whole frame once in this many frames; known faces are followed in between. Fewer finds new "
        "faces sooner and takes longer.",
        flag=None,
        widget=Widget(range=(1, 60)),
    )
    max_gap: int = option(
        default=15,
        within=Range(0, 100_000),
        unit="frames",
        help="How many frames a face may be out of sight before its track ends; shorter gaps are filled in. More "
        "keeps a track in one piece when something passes in front of the face.",
        flag=None,
        widget=Widget(range=(0, 240)),
    )
    min_length: int = option(
        default=5,
        within=Range(1, 100_000),
        unit="frames",
        help="How many frames must show a face for it to count; in shots shorter than twice that, half of the shot. "
        "More ignores passers-by and false detections.",
        flag=None,
        widget=Widget(range=(1, 240)),
    )
    min_score: float = option(
        default=0.5,
        within=Range(0.0, 1.0),
        help="Mean detector confidence that a track needs. More ignores what is hardly a face.",
        flag=None,
        widget=Widget(step=0.05),
    )
    looks: int = option(
        default=3,
        within=Range(0, 100),
        help="At most this many looks at each face in each frame; 0 interpolates the frames between searches.",
        flag=None,
        widget=None,
    )
    batch: int = option(
        default=16,
        within=Range(1, 1000),
        help="Reduced frames held in memory, and given to the detector, at a time.",
        flag=None,
        widget=None,
    )
    same_person: float = option(
        default=0.4,
        within=Range(-1.0, 1.0),
        help="Cosine of two identity embeddings that makes two tracks one person.",
        flag=None,
        widget=None,
    )
    same_look: float = option(
        default=0.8,
        within=Range(-1.0, 1.0),
        help="Similarity of two appearances in one shot that makes two tracks one person if no encoder is given.",
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
        help="What is pasted back. face changes only the face's oval (its outline, if that is known); crop changes "
        "the whole crop, hair and background included, and its soft edge shows more.",
    )
    feather: float = option(
        default=0.12,
        within=Range(0.0, 1.0),
        help="Width of the soft edge, as a fraction of the face's side. More hides the joins better and keeps less of "
        "the restoration.",
        widget=Widget(step=0.01),
    )
    color_match: Literal["auto", ColorMode] = option(
        default="auto",
        help="Match the colours to the original's, with one correction per track. lab matches mean and spread; "
        "wavelet matches low frequencies, place by place; auto is lab, or none for colorization.",
    )
    occlusion_safe: bool = option(
        default=False,
        help="Keep the original where it and the restoration differ strongly, such as a hand in front of the face. "
        "This keeps heavy damage too. Ignored for colorization.",
    )

    def for_tasks(self, tasks: Tasks | None) -> PasteOptions:
        """The options with "auto" resolved, and with what does not suit the tasks switched off."""
        colorizing = tasks is not None and Task.COLORIZATION in tasks
        color = self.color_match
        if color == "auto":
            color = "none" if colorizing else "lab"
        return replace(self, color_match=color, occlusion_safe=self.occlusion_safe and not colorizing)
