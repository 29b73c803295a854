"""The face detectors by name, and loading one from its weight file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ...base.errors import InputError
from ..face import checked_threshold
from ..options import DetectorKind

if TYPE_CHECKING:
    from ..face import FaceDetector

DETECTOR_KINDS: tuple[DetectorKind, ...] = get_args(DetectorKind)
DETECTOR_ROLES: dict[DetectorKind, str] = {"yunet": "yunet", "yoloface": "yoloface_v5m", "scrfd": "scrfd"}
"""The role of each detector's weight file."""


def load_detector(
    kind: str,
    path: str | Path,
    threshold: float | None = None,
    device: str = "cpu",
    *,
    trust_torchscript: bool = False,
) -> FaceDetector:
    """A detector from its weight file: "yunet", "yoloface" or "scrfd"; threshold None takes the detector's own.

    trust_torchscript: the user has said that the code in a TorchScript file (yoloface's) may run on this machine.
    Raises InputError for an unknown kind, WeightsError for a file that is missing, broken, of another network, or a
    program that is neither known nor trusted.
    """
    extra = {} if threshold is None else {"threshold": checked_threshold(threshold)}
    if kind == "yunet":
        from .yunet import YuNetDetector

        return YuNetDetector(path, **extra)
    if kind == "yoloface":
        from .yoloface import YoloFaceDetector

        return YoloFaceDetector(path, device=device, trusted=trust_torchscript, **extra)
    if kind == "scrfd":
        from .scrfd import ScrfdDetector

        return ScrfdDetector(path, device=device, **extra)
    raise InputError(f'Unknown face detector "{kind}": use one of {", ".join(DETECTOR_KINDS)}.')
