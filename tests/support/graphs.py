"""The shipped workflows as graphs that run in seconds with reduced networks, and the files that they load."""

from __future__ import annotations

import urllib.error
from fractions import Fraction

import av
import numpy as np
import pytest

from .comfy import ROOT
from .video import encode
from .workflows import node_of, read_workflow, to_api

FOLDER = ROOT / "workflows"
FRAMES, FPS = 12, 12
WINDOWS = {"window": 8, "decode_chunk": 8}
CHANGES = {
    "01": WINDOWS,
    "02": WINDOWS,
    "03": WINDOWS,
    "04": WINDOWS,
    "05": WINDOWS,
    "06": WINDOWS,
    "07": WINDOWS,
    "08": WINDOWS,
    "09": WINDOWS,
    "10": {"ImageFromBatch.length": 8, "steps": 2},
    "11": {},
    "12": {},
    "13": {},
    "14": {"SVFRRestoreVideo.window": 8, "decode_chunk": 8},
}
"""Widgets of each workflow, by the number that its name begins with."""
OF_TWO = ("02", "05")
UNSURE = ("07", "08", "09")
"""Nothing that random networks paint is a face, but a detector that is hardly sure finds one."""


def path_of(number):
    """The file of the workflow with this number."""
    (path,) = FOLDER.glob(f"{number} *.json")
    return path


def graph_of(number, object_info, video=None, **changes):
    """A workflow with few steps and, in place of the sample clip, a video, a painted frame and a portrait.

    The networks of the server, which lie there as published ones, are preferred to svfr-tiny.
    """
    workflow = read_workflow(path_of(number))
    kinds = {node["type"] for node in workflow["nodes"]}
    svfr = {"preset": "custom", "steps": 2} if "SVFRLoadNetworks" in kinds and number != "10" else {}
    graph = to_api(workflow, object_info, {**svfr, **CHANGES[number], **changes})
    _use_files(graph, video or ("two.mp4" if number in OF_TWO else "input.mp4"))
    if number in UNSURE:
        _use_unsure_detector(graph)
    return graph


def _use_files(graph, video):
    """Load Video and Load Image instead of SVFR Sample Clip, as somebody with a video of their own does."""
    sample = node_of(graph, "SVFRSampleClip")
    picture = {"class_type": "LoadImage", "inputs": {}}
    places = {0: [sample, 0], 3: ["frame", 1], 4: ["portrait", 0]}  # video, mask and portrait
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] == sample:
                node["inputs"][name] = places[value[1]]
    graph[sample] = {"class_type": "LoadVideo", "inputs": {"file": video}}
    for name in ("frame", "portrait"):
        graph[name] = {**picture, "inputs": {"image": f"{name}.png"}}


def _use_unsure_detector(graph):
    """Load Face Detector with a low threshold in place of the detector of Load SVFR Networks."""
    loaded = node_of(graph, "SVFRLoadNetworks")
    told = {"detector_name": "YuNet (bundled)", "kind": "yunet", "threshold": 0.01, "trust_torchscript": False}
    for node in graph.values():
        if node["inputs"].get("detector") == [loaded, 2]:
            node["inputs"]["detector"] = ["unsure", 0]
    graph["unsure"] = {"class_type": "SVFRLoadFaceDetector", "inputs": told}


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


def node(number, kind, values, inputs=None, outputs=None):
    """A node as the frontend saves it: inputs with their link, outputs with their links."""
    return {
        "id": number,
        "type": kind,
        "pos": [400 * (number - 1), 100],
        "size": [350, 400],
        "mode": 0,
        "widgets_values": values,
        "inputs": [{"name": name, "type": type_, "link": link} for name, (type_, link) in (inputs or {}).items()],
        "outputs": [{"name": name, "type": type_, "links": links} for name, (type_, links) in (outputs or {}).items()],
    }
