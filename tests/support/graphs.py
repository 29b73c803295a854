"""The shipped workflows as graphs that run in seconds with reduced networks, and the files that they load."""

from __future__ import annotations

import urllib.error
from fractions import Fraction

import av
import numpy as np
import pytest

from .comfy import ROOT
from .video import encode
from .workflows import read_workflow, to_api

FOLDER = ROOT / "workflows"
FRAMES, FPS = 12, 12
CROPS = {"SVFRFaceCrop.width": 64, "SVFRFaceCrop.height": 64}
WINDOWS = {"window": 8, "decode_chunk": 8}
CHANGES = {
    "restore": {**CROPS, **WINDOWS},
    "restore_video": {"SVFRRestoreVideo.width": 64, "SVFRRestoreVideo.height": 64, **WINDOWS},
    "several_faces": {**CROPS, **WINDOWS, "LoadVideo.file": "two.mp4"},
    "inpaint": {**CROPS, **WINDOWS},
    # nothing that random networks paint is a face, but a detector that is hardly sure finds one
    "restore_colorize": {**WINDOWS, "ImageScale.height": 64, "threshold": 0.01},
    "all_three": {**WINDOWS, "ImageScale.height": 64, "threshold": 0.01},
    "ksampler": {**CROPS, "ImageFromBatch.length": 8},
    "stc_restore": {},
    "stc_deflicker": {},
    "stc_deflicker_restore": {},
    "stc_then_svfr": {**CROPS, "SVFRRestore.window": 8, "decode_chunk": 8},
}


def graph_of(name, object_info, **changes):
    """A workflow with few steps on small crops. It names the published .pth; the networks lie there as .safetensors."""
    workflow = read_workflow(FOLDER / f"{name}.json")
    kinds = {node["type"] for node in workflow["nodes"]}
    svfr = {"steps": 2} if "SVFRLoadModel" in kinds else {}
    return to_api(workflow, object_info, {**svfr, **CHANGES[name], **changes})


def run(server, graph):
    """The history entry of a graph; a refused one shows why."""
    try:
        return server.run(graph)
    except urllib.error.HTTPError as error:
        pytest.fail(f"refused: {error.read().decode()[:2000]}")


def said(history):
    """The errors of a run."""
    return [message for kind, message in history["status"]["messages"] if kind == "execution_error"]


def write_clip(path, frames):
    """An mp4 of (H,W,3) frames with two seconds of sound."""
    pictures = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format="yuv420p")
        for frame in frames
    ]
    encode(path, pictures, rate=Fraction(FPS), audio={"codec": "aac", "seconds": 2})


def write_painted(path, frame, *, painted=True):
    """A picture that is transparent where ComfyUI's mask editor would have painted."""
    from PIL import Image

    alpha = np.full(frame.shape[:2], 255, np.uint8)
    if painted:
        height, width = alpha.shape
        alpha[height // 2 : height // 2 + height // 8, width // 3 : width // 2] = 0
    Image.fromarray(np.dstack([frame, alpha])).save(path)
