"""The reference's detector, YOLOv5-face (yoloface_v5m.pt, or its ONNX conversion), with its pre- and postprocessing.

Described at docs/reference/svfr.md#detector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch

from ...base.errors import WeightsError
from ...files.paths import Output, check_paths
from ...files.staging import staged
from ...weights import load_torchscript, weight_file
from ...weights.onnx import open_session, run_session
from ...weights.registry import checked_file
from ..face import Face, checked_threshold, sorted_faces
from ..geometry import non_max_suppression

ROLE = "yoloface_v5m"
INPUTS = ["picture", "grid_8", "grid_16", "grid_32"]
"""Of the ONNX graph: the picture, and the cells of each stride."""
CONVERTED = (
    "Better: run its code once to convert it to ONNX, which contains no code and is then found automatically: `python "
    "-m svfr_model weights convert yoloface_v5m yoloface_v5m.pt weights/yoloface_v5m.onnx --trust-torchscript`. Or "
    "use YuNet, which ships with this package."
)

Network: TypeAlias = "Callable[[torch.Tensor, list[torch.Tensor]], np.ndarray | None]"
"""A picture (1,3,h,w) and its three grids, on the CPU, to float32 rows; None if the result is not a single tensor."""

INPUT_SIZE = 416
STRIDES = (8, 16, 32)
ROW = 16
"""Numbers per candidate: centre x, y, width, height, objectness, five points, class score."""
IOU = 0.45


def input_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the network's input: the shorter side is 416 or a little more, both multiples of 32."""
    ratio = INPUT_SIZE / min(height, width)
    return int(height * ratio + 31) // 32 * 32, int(width * ratio + 31) // 32 * 32


def grids(height: int, width: int) -> list[torch.Tensor]:
    """The cell coordinates that the network adds to its offsets: one (1,1,gh,gw,2) float tensor of (x,y) per stride."""
    made = []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        made.append(torch.stack((x, y), dim=-1).float()[None, None])
    return made


def preprocess(frame: np.ndarray) -> torch.Tensor:
    """A frame (H,W,3) uint8 RGB as the network's input (1,3,h,w) in [0,1]."""
    height, width = input_size(*frame.shape[:2])
    resized = cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=cv2.INTER_LINEAR)
    return torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255  # HWC -> 1CHW


def decode(prediction: np.ndarray, height: int, width: int, threshold: float = 0.5, iou: float = IOU) -> list[Face]:
    """Faces in a frame of height x width from the network's rows (n,16) in its own pixels, best score first."""
    rows = np.asarray(prediction, dtype=np.float32).reshape(-1, ROW)
    scores = rows[:, 4] * rows[:, 15]
    kept = (rows[:, 4] > threshold) & (scores > threshold)
    rows, scores = rows[kept], scores[kept]
    half = rows[:, 2:4] / 2
    boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
    best = non_max_suppression(boxes, scores, iou)
    in_height, in_width = input_size(height, width)
    scale = np.array([width / in_width, height / in_height])
    return sorted_faces(
        (boxes[best].reshape(-1, 2, 2) * scale).reshape(-1, 4),
        rows[best, 5:15].reshape(-1, 5, 2) * scale,
        scores[best],
    )


class YoloFaceDetector:
    """The reference's detector: network(picture, three grids) returns (1,n,16).

    The file is ONNX, as made by `convert_to_onnx`, or the published TorchScript, which is a program and must therefore
    be known or trusted.
    """

    def __init__(
        self,
        path: str | Path,
        threshold: float = 0.5,
        iou: float = IOU,
        device: str = "cpu",
        *,
        trusted: bool = False,
    ) -> None:
        """Load the file on a device; threshold in (0,1); trusted: TorchScript may run. Raises WeightsError."""
        self._path = checked_file(path, "the face detector yoloface")
        self._threshold, self._iou = checked_threshold(threshold), iou
        if self._path.suffix == ".onnx":
            self._run: Network = _onnx_network(self._path, device)
        else:
            self._run = _script_network(self._path, device, trusted)

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        """The faces of each (H,W,3) uint8 RGB frame, best score first."""
        return [self._detect_one(frame) for frame in frames]

    def _detect_one(self, frame: np.ndarray) -> list[Face]:
        picture = preprocess(frame)
        rows = _checked_rows(self._run(picture, grids(*picture.shape[2:])), self._path)
        return decode(rows, frame.shape[0], frame.shape[1], self._threshold, self._iou)


def _checked_rows(rows: np.ndarray | None, path: Path) -> np.ndarray:
    """The rows (n,16) of a network's output, or a WeightsError if it has another form."""
    if rows is None or rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] != ROW:
        found = "something other than one tensor" if rows is None else rows.shape
        raise WeightsError(f"{path} returned {found}, expected rows (1,n,{ROW}): it is not yoloface.")
    candidates: np.ndarray = rows[0]
    return candidates


def _onnx_network(path: Path, device: str) -> Network:
    session = open_session(path, "yoloface", device)
    names = [entry.name for entry in session.get_inputs()]
    if names != INPUTS or len(session.get_outputs()) != 1:
        raise WeightsError(
            f"{path} is not yoloface: its inputs are {', '.join(names)}, but yoloface's are {', '.join(INPUTS)}. "
            f"{CONVERTED}"
        )

    def run(picture: torch.Tensor, cells: list[torch.Tensor]) -> np.ndarray | None:
        given = (value.numpy() for value in (picture, *cells))
        found = run_session(session, dict(zip(INPUTS, given, strict=True)), path)[0]
        return np.asarray(found, dtype=np.float32)

    return run


def _script_network(path: Path, device: str, trusted: bool) -> Network:
    known = weight_file(ROLE).sha256
    network = load_torchscript(
        path, "yoloface_v5m.pt as published with SVFR", CONVERTED, sha256=known, trusted=trusted, device=device
    )

    @torch.inference_mode()
    def run(picture: torch.Tensor, cells: list[torch.Tensor]) -> np.ndarray | None:
        try:
            rows = network(picture.to(device), [grid.to(device) for grid in cells])
        except RuntimeError as error:
            raise WeightsError(f"{path} cannot be run as yoloface: {error}") from error
        return rows.float().cpu().numpy() if isinstance(rows, torch.Tensor) else None

    return run


class _Flat(torch.nn.Module):
    """The network with each grid as a separate input, as a graph needs it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, picture: torch.Tensor, fine: torch.Tensor, middle: torch.Tensor, coarse: torch.Tensor
    ) -> torch.Tensor:
        """Rows (1,n,16)."""
        rows: torch.Tensor = self.network(picture, [fine, middle, coarse])
        return rows


def convert_to_onnx(source: Path | str, target: Path | str, *, trusted: bool = False) -> None:
    """Write the published TorchScript detector as ONNX, which is a graph and contains no code to run.

    The module's own code runs here, so it must be known or trusted. Nothing is written unless the result gives the same
    rows for noise of two sizes. The file appears under its name only when it is complete. Raises InputError for a
    target that does not end in .onnx, WeightsError for a source that cannot be used.
    """
    source, target = checked_file(source, "the face detector yoloface"), Path(target)
    check_paths([source], [Output(target, "converted detector", (".onnx",))])
    network = _script_network(source, "cpu", trusted)
    picture = torch.rand(1, 3, 64, 96)
    _checked_rows(network(picture, grids(64, 96)), source)
    module: torch.nn.Module = torch.jit.load(str(source), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    axes = {name: {2: f"{name}_height", 3: f"{name}_width"} for name in INPUTS} | {"rows": {1: "candidates"}}
    with staged(target) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is deprecated is known
        try:
            torch.onnx.export(
                torch.jit.script(_Flat(module)),
                (picture, *grids(64, 96)),
                str(path),
                input_names=INPUTS,
                output_names=["rows"],
                dynamic_axes=axes,
                opset_version=17,
                dynamo=False,
            )
        except (RuntimeError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
            raise WeightsError(f"{source} cannot be converted to ONNX: {str(error).splitlines()[0]}") from error
        _compare(network, _onnx_network(path, "cpu"), source)


def _compare(one: Network, other: Network, source: Path) -> None:
    for height, width in ((64, 96), (416, 736)):
        picture = torch.rand(1, 3, height, width)
        expected, found = (_checked_rows(network(picture, grids(height, width)), source) for network in (one, other))
        if expected.shape != found.shape or not np.allclose(expected, found, rtol=1e-3, atol=1e-3):
            raise WeightsError(
                f"{source} gives different results as ONNX at {height}x{width}, so it was not converted. Use the file "
                "itself, with --trust-torchscript."
            )
