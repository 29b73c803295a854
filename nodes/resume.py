"""What a run of a VIDEO node depends on, so that the same prompt goes on with it after ComfyUI was killed in its midst.

Pictures, masks and the video count by their content; networks, which reach a node as objects, by the graph that loads
and patches them, and by size and time of the files that it names.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import Input, InputImpl, io
from torch import Tensor

from ..svfr_model.base.version import VERSION
from ..svfr_model.files.digests import Digests
from ..svfr_model.files.work import Parts
from .files import FOLDER

_digests = Digests()
"""Of the videos of this session."""
LONGEST_NAME = 1000


def parts_of(
    node: type[io.ComfyNode], video: Input.Video, networks: Sequence[str], given: Mapping[str, Any]
) -> Parts | None:
    """The parts, as a `WorkFolder` takes them; None where the prompt is not known.

    networks: the inputs that are followed through the graph. given: the values of the others, by name.
    """
    prompt = getattr(node.hidden, "prompt", None)
    own = (prompt or {}).get(getattr(node.hidden, "unique_id", None))
    if prompt is None or own is None:
        return None
    graph = _upstream(prompt, [own["inputs"].get(name) for name in networks])
    return {
        "node": own["class_type"],
        "source": _source(video),
        "options": {name: _described(value) for name, value in sorted(given.items())},
        "networks": {**graph, "wires": {name: own["inputs"].get(name) for name in networks}},
        "files": dict(sorted(_files(graph))),
        "version": VERSION,
    }


def name_of(node: type[io.ComfyNode], video: Input.Video) -> str:
    """What the work on a video in a node is called; others of the graph have other names."""
    source = None if isinstance(video, InputImpl.VideoFromComponents) else video.get_stream_source()
    shown = Path(source).name if isinstance(source, str) else "frames"
    return f"{shown} ({node.define_schema().display_name}, node {node.hidden.unique_id})"


def _source(video: Input.Video) -> str:
    """SHA-256 of what is shown of a video."""
    digest = hashlib.sha256(repr(video.get_active_trim_window()).encode())
    if isinstance(video, InputImpl.VideoFromComponents):
        parts = video.get_components()
        audio = parts.audio or {}
        told = _described([parts.images, audio.get("waveform"), audio.get("sample_rate")])
        digest.update(repr((told, str(parts.frame_rate))).encode())
        return digest.hexdigest()
    source = video.get_stream_source()
    content = _digests.of(Path(source)) if isinstance(source, str) else hashlib.sha256(source.getbuffer()).hexdigest()
    digest.update(content.encode())
    return digest.hexdigest()


def _described(value: Any) -> Any:
    """A value as JSON has it; tensors by their content."""
    if isinstance(value, Tensor):
        numbers = value.detach().cpu().contiguous().numpy()
        digest = hashlib.sha256(repr((numbers.shape, str(numbers.dtype))).encode())
        digest.update(numbers.data)
        return digest.hexdigest()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _described(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_described(entry) for entry in value] if isinstance(value, list | tuple) else value


def _upstream(prompt: Mapping[str, Any], links: Sequence[Any]) -> dict[str, Any]:
    """Every node that these links come from, by its id, and those before them."""
    found: dict[str, Any] = {}
    waiting = [link for link in links if _is_link(link)]
    while waiting:
        number = str(waiting.pop()[0])
        if number not in found and number in prompt:
            inputs = prompt[number]["inputs"]
            found[number] = {"node": prompt[number]["class_type"], **inputs}
            waiting += [value for value in inputs.values() if _is_link(value)]
    return found


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _files(graph: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Size and time of change of each file in ComfyUI's folders that the nodes name, and of all in models/svfr."""
    texts = {value for inputs in graph.values() for value in inputs.values() if isinstance(value, str)}
    named = [(kind, text) for kind in folder_paths.folder_names_and_paths for text in texts if _may_name(text)]
    for kind, name in [*named, *((FOLDER, name) for name in folder_paths.get_filename_list(FOLDER))]:
        path = folder_paths.get_full_path(kind, name)
        if path is not None:
            found = os.stat(path)
            yield f"{kind}/{name}", [found.st_size, found.st_mtime_ns]


def _may_name(text: str) -> bool:
    return 0 < len(text) < LONGEST_NAME and text.isprintable()
