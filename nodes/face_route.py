"""The route that the dialog "Choose faces" asks: whom a node will find in its clip.

POST /svfr/faces with {"graph": the graph in API form, "node": an id}. Read are files of ComfyUI's input folder, and
what SVFR Face Crop found when it last ran; networks are those that the graph loads. Nothing of the graph is run but the
nodes named here, which only open files.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import folder_paths
import torch

from ..svfr_model.base.errors import InputError, SVFRError
from ..svfr_model.faces.face import FaceDetector
from ..svfr_model.faces.find import find_tracks
from ..svfr_model.faces.options import TrackOptions
from ..svfr_model.media.options import ReadOptions
from ..svfr_model.networks.identity import PROJECTION_ROLE, RECOGNIZER_ROLE, IdentityEncoder, load_identity_encoder
from .bundled import YUNET as BUNDLED
from .files import resolve
from .load import SMALL_FOLDERS, LoadFaceDetector
from .load_all import encoder_files
from .scan import scan_of
from .video_files import opened
from .widgets import made

PATH = "/svfr/faces"
EVENT = "svfr.faces"
CLIPS = {"SVFRFaceCrop": "frames", "SVFRRestoreVideo": "video"}
"""Nodes that have the dialog, and the input with their clip."""
OPENERS = ("LoadVideo", "Video Slice", "GetVideoComponents", "SVFRSampleClip")
"""Nodes between a file and such an input that are run here: they open, cut or make a clip, and load no network."""
_MOST = 8
_kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
"""The latest scans by what they were made from; nodes whose clip comes from elsewhere, by their id."""

Graph = Mapping[str, Mapping[str, Any]]


class _GoneError(Exception):
    """Nobody waits for the answer any more."""


def register_route() -> None:
    """Add the route to ComfyUI's server, where there is one: its module is then loaded, and else it would do much."""
    server: Any = getattr(sys.modules.get("server"), "PromptServer", None)
    instance = getattr(server, "instance", None)
    if instance is not None:
        instance.routes.post(PATH)(_answer)


def keep(node: str | None, made_scan: Callable[[], dict[str, Any]]) -> None:
    """Keep what a node found, for a clip that the route itself cannot read."""
    if node is not None:
        _store(f"node {node}", made_scan())


def scan(graph: Graph, node: str, alive: Callable[[float], None]) -> dict[str, Any]:
    """The scan of a node's clip, see `scan_of`; one that was made before is not made again.

    alive: told the share that is done, 0 to 1. Raises InputError for a clip that cannot be read here before the node
    has run.
    """
    entry = graph.get(node)
    if entry is None or entry["class_type"] not in CLIPS:
        raise InputError("This node is not in the graph: it may be muted or bypassed.")
    inputs = entry["inputs"]
    source = _link(inputs, CLIPS[entry["class_type"]], graph)
    if not _readable(source, graph):
        return _last(node)
    widgets = {name: value for name, value in inputs.items() if not isinstance(value, list)}
    wired = [_trace(inputs.get(name), graph) for name in (CLIPS[entry["class_type"]], "detector", "encoder")]
    key = json.dumps([*wired, *(widgets.get(name) for name in _TRACKING)])
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    video = _opened(source, graph)[0]
    found = _search(video, _detector(inputs, graph), _encoder(inputs, graph), widgets, alive)
    return _store(key, found)


_TRACKING = ("detect_size", "stride", "max_gap", "min_length", "min_score", "deinterlace")


def _search(
    video: Any,
    detector: FaceDetector,
    encoder: IdentityEncoder | None,
    widgets: Mapping[str, Any],
    alive: Callable[[float], None],
) -> dict[str, Any]:
    def told(_: str, done: int, total: int, __: torch.Tensor | None = None) -> None:
        alive(done / max(1, total))

    with opened(video, made(ReadOptions, widgets), deep=False) as source, torch.inference_mode():
        return scan_of(source.frames, find_tracks(source.frames, detector, made(TrackOptions, widgets), encoder, told))


def _store(key: str, made_scan: dict[str, Any]) -> dict[str, Any]:
    _kept[key] = made_scan
    _kept.move_to_end(key)
    while len(_kept) > _MOST:
        _kept.popitem(last=False)
    return made_scan


def _last(node: str) -> dict[str, Any]:
    """What the node found when it last ran."""
    found = _kept.get(f"node {node}")
    if found is None:
        raise InputError(
            "This clip does not come straight from Load Video. Run the workflow once; then its faces can be chosen "
            "here. SVFR Restore Video needs Load Video, Trim Video or SVFR Sample Clip before it."
        )
    return found


def _link(inputs: Mapping[str, Any], name: str, graph: Graph) -> list[Any]:
    link = inputs.get(name)
    if not isinstance(link, list) or link[0] not in graph:
        raise InputError(f"Nothing is wired to the input {name}: wire a clip to it, and choose again.")
    return link


def _readable(link: list[Any], graph: Graph) -> bool:
    """Whether all nodes that a clip comes through are among the openers."""
    entry = graph[link[0]]
    if entry["class_type"] not in OPENERS:
        return False
    return all(_readable(value, graph) for value in entry["inputs"].values() if _is_link(value, graph))


def _is_link(value: Any, graph: Graph) -> bool:
    return isinstance(value, list) and len(value) == 2 and value[0] in graph


def _trace(link: Any, graph: Graph) -> Any:
    """All that a link's value depends on: classes and widgets upstream, and of files their time and size."""
    if not _is_link(link, graph):
        return link
    entry = graph[link[0]]
    inputs = {name: _trace(value, graph) for name, value in entry["inputs"].items()}
    if entry["class_type"] == "LoadVideo":
        status = _input_file(entry["inputs"]["file"]).stat()
        inputs["status"] = [status.st_mtime_ns, status.st_size]
    return [entry["class_type"], link[1], inputs]


def _opened(link: list[Any], graph: Graph) -> tuple[Any, ...]:
    """The clip that a link brings, as VIDEO, made by the classes of the graph; components are taken as the video."""
    from nodes import NODE_CLASS_MAPPINGS

    entry = graph[link[0]]
    kind = entry["class_type"]
    made_by = NODE_CLASS_MAPPINGS[kind]
    declared = {name for part in made_by.INPUT_TYPES().values() for name in part}  # the frontend adds some of its own
    values = {
        name: _opened(value, graph)[0] if _is_link(value, graph) else value
        for name, value in entry["inputs"].items()
        if name in declared
    }
    if kind == "GetVideoComponents":
        return (values["video"],)
    if kind == "LoadVideo":
        _input_file(values["file"])
    return tuple(made_by.execute(**values).args)


def _input_file(name: Any) -> Path:
    """A file of ComfyUI's input folder. Raises InputError for any other."""
    folder = Path(folder_paths.get_input_directory()).resolve()
    path = Path(os.path.join(folder, str(name))).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise InputError(f"{name} is not in ComfyUI's input folder. Choose a file in Load Video.")
    return path


def _detector(inputs: Mapping[str, Any], graph: Graph) -> FaceDetector:
    """The graph's detector; the bundled one where another node loads it."""
    entry = graph[_link(inputs, "detector", graph)[0]]
    widgets = entry["inputs"] if entry["class_type"] == "SVFRLoadFaceDetector" else {}
    detector: FaceDetector = LoadFaceDetector.execute(**{"detector_name": BUNDLED, **widgets}).args[0]
    return detector


def _encoder(inputs: Mapping[str, Any], graph: Graph) -> IdentityEncoder | None:
    """The graph's encoder, on the CPU for the time of a search, or None: people are then told apart within a shot."""
    link: Any = inputs.get("encoder")
    entry: Mapping[str, Any] = graph[link[0]] if _is_link(link, graph) else {}
    names, files = entry.get("inputs", {}), None
    if entry.get("class_type") == "SVFRLoadNetworks":
        files = encoder_files(names["networks"])
    if entry.get("class_type") == "SVFRLoadIdentityEncoder":
        recognizer, projection = names["recognizer_name"], names["projection_name"]
        files = resolve(recognizer, RECOGNIZER_ROLE, SMALL_FOLDERS), resolve(projection, PROJECTION_ROLE, SMALL_FOLDERS)
    return None if files is None else load_identity_encoder(*files)


async def _answer(request: Any) -> Any:
    """The scan as JSON, or {"error"} with status 400. While it is made, EVENT tells how far it is."""
    from aiohttp import web
    from server import PromptServer

    asked = await request.json()
    node = str(asked["node"])

    def alive(share: float) -> None:
        if request.transport is None or request.transport.is_closing():
            raise _GoneError
        PromptServer.instance.send_sync(EVENT, {"node": node, "share": share})

    try:
        found = await asyncio.get_running_loop().run_in_executor(None, scan, asked["graph"], node, alive)
    except (SVFRError, _GoneError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return web.json_response(found)
