"""The networks that some metrics need: which are there, and why the others are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ..base.errors import DependencyError, InputError, WeightsError
from ..faces.detectors.load import load_detector
from ..faces.face import FaceDetector
from ..faces.follow import Encoder
from ..networks.identity import RECOGNIZER_ROLE, build_recognizer
from ..weights import find, load_network
from .faces import Embedder, Landmarks
from .fvd import I3d, load_i3d
from .perceptual import PerceptualDistance, load_lpips

if TYPE_CHECKING:
    from ..faces.options import DetectorKind

Instrument: TypeAlias = Literal["detector", "encoder", "lpips", "i3d"]

NOT_GIVEN: dict[Instrument, str] = {
    "detector": "no face detector was given",
    "encoder": "no face recogniser was given",
    "lpips": "no LPIPS network was given",
    "i3d": "no I3D network was given",
}


@dataclass(frozen=True)
class Instruments:
    """The networks that some metrics need, ready to use; any may be missing.

    detector, encoder: find and recognise faces. landmarks: instead of a detector, the true five landmarks of each
    frame, by which the faces of both clips are then aligned. lpips, i3d: see `load_lpips` and `load_i3d`. reasons: why
    an instrument is missing, by its name, for the report.
    """

    detector: FaceDetector | None = None
    encoder: Encoder | None = None
    landmarks: Landmarks | None = None
    lpips: PerceptualDistance | None = None
    i3d: I3d | None = None
    reasons: Mapping[Instrument, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a detector and landmarks together."""
        if self.detector is not None and self.landmarks is not None:
            raise InputError("Faces are found by a detector or by given landmarks: give one of them, not both.")

    @property
    def sees_faces(self) -> bool:
        """Whether there is a way to tell where the face is."""
        return self.detector is not None or self.landmarks is not None

    def why_not(self, name: Instrument) -> str:
        """Why an instrument is missing, or "" where it is there."""
        return "" if getattr(self, name) is not None else self.reasons.get(name, NOT_GIVEN[name])


@dataclass(frozen=True)
class InstrumentChoice:
    """Which instruments to load, and from where.

    folders: where to look for weights; None for the default folders. detector, threshold: which face detector, and
    the least score of a face; None for the detector's own. i3d: path of the TorchScript I3D. device: as
    `choose_device` takes it. trust_torchscript: see `load_detector` and `load_i3d`.
    """

    folders: Sequence[Path | str] | None = None
    detector: DetectorKind = "yunet"
    threshold: float | None = None
    i3d: Path | None = None
    device: str = "auto"
    trust_torchscript: bool = False


def load_instruments(choice: InstrumentChoice | None = None) -> Instruments:
    """Load every chosen instrument whose weights and packages are there; the others are left out with their reason.

    Raises WeightsError for a file that is there but broken.
    """
    from ..base.devices import choose_device
    from ..faces.detectors.load import DETECTOR_ROLES

    choice = choice or InstrumentChoice()
    place, trusted = choose_device(choice.device), choice.trust_torchscript
    paths: dict[Instrument, Path] = {}
    reasons: dict[Instrument, str] = {"i3d": "the path of StyleGAN-V's i3d_torchscript.pt was not given"}
    roles: dict[Instrument, str] = {"detector": DETECTOR_ROLES[choice.detector], "encoder": RECOGNIZER_ROLE}
    for name, role in roles.items():
        try:
            paths[name] = find(role, choice.folders)
        except WeightsError as error:
            reasons[name] = str(error)
    lpips: PerceptualDistance | None = None
    try:
        lpips = load_lpips(place)
    except (DependencyError, WeightsError) as error:
        reasons["lpips"] = str(error)
    finder = None
    if "detector" in paths:
        kind, threshold = choice.detector, choice.threshold
        finder = load_detector(kind, paths["detector"], threshold, str(place), trust_torchscript=trusted)
    encoder = None
    if "encoder" in paths:
        encoder = Embedder(load_network(paths["encoder"], RECOGNIZER_ROLE, build_recognizer, device=place))
    network = None if choice.i3d is None else load_i3d(choice.i3d, place, trust_torchscript=trusted)
    return Instruments(detector=finder, encoder=encoder, lpips=lpips, i3d=network, reasons=reasons)
