"""ONNX networks through onnxruntime, and which device they really run on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..base.errors import DependencyError, WeightsError

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}


def open_session(path: str | Path, what: str, device: str = "cpu") -> onnxruntime.InferenceSession:
    """An inference session for an ONNX file on "cpu", "cuda" (also "cuda:1") or "mps".

    If the requested provider is not active, onnxruntime uses the CPU: a warning says so and names the remedy. Raises
    WeightsError for a missing or broken file, DependencyError if onnxruntime is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist; the weights of {what} were expected there. "
            "`python -m svfr_model weights list` says where to get them."
        )
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(f"{what} needs onnxruntime: pip install onnxruntime-gpu (or onnxruntime).") from error
    kind, _, number = device.partition(":")
    wanted = PROVIDERS.get(kind, PROVIDERS["cpu"])
    available = onnxruntime.get_available_providers()
    chosen: list[str | tuple[str, dict[str, str]]] = [PROVIDERS["cpu"]]
    if wanted != PROVIDERS["cpu"] and wanted in available:
        chosen.insert(0, (wanted, {"device_id": number}) if number else wanted)
    # What onnxruntime raises for a bad file, an unknown operator or a bad graph has no common base class.
    failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_session_errors())
    try:
        session = onnxruntime.InferenceSession(str(path), providers=chosen)
    except failures as error:
        raise WeightsError(
            f"onnxruntime cannot read {path} as {what} ({str(error).splitlines()[0]}). "
            "Delete the file and get it again."
        ) from error
    active = active_provider(session)
    if active != wanted:
        log.warning(
            "%s runs on %s, not on %s: onnxruntime offers only %s. If onnxruntime and onnxruntime-gpu are both "
            "installed, remove both and install onnxruntime-gpu alone.",
            what,
            active,
            wanted,
            ", ".join(available),
        )
    else:
        log.info("%s runs on %s.", what, active)
    return session


def active_provider(session: onnxruntime.InferenceSession) -> str:
    """The provider a session really uses first."""
    return str(session.get_providers()[0])


def _session_errors() -> tuple[type[Exception], ...]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoModel", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in names if hasattr(state, name))


def run_session(
    session: onnxruntime.InferenceSession, given: np.ndarray | Mapping[str, np.ndarray], path: str | Path
) -> list[np.ndarray]:
    """All outputs of a network in the order of the file; given is its one input, or all of them by name.

    path is for the message. Raises WeightsError where the network cannot be run on what it is given.
    """
    inputs = given if isinstance(given, Mapping) else {session.get_inputs()[0].name: given}
    failures: tuple[type[Exception], ...] = (RuntimeError, ValueError, *_session_errors())
    try:
        outputs: list[np.ndarray] = session.run(None, dict(inputs))
    except failures as error:
        raise WeightsError(
            f"{path} cannot be run on a picture: it is a different network ({str(error).splitlines()[0]})."
        ) from error
    return outputs
