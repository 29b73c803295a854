"""Workflows as the frontend saves them, made into what the server executes."""

from __future__ import annotations

import json
from pathlib import Path

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
FRONTEND_ONLY = {"MarkdownNote", "Note"}
BYPASSED = 4


def read_workflow(path: Path) -> dict:
    """A workflow file."""
    return json.loads(path.read_text())


def to_api(workflow: dict, object_info: dict, changes: dict | None = None) -> dict:
    """A workflow in UI form as a graph in API form.

    changes: new values of widgets, by "NodeType.widget" or by "widget"; one that meets no widget is an error.
    """
    changes, used = changes or {}, set()
    sources = _sources(workflow)
    graph = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind in FRONTEND_ONLY or node["mode"] == BYPASSED:
            continue
        inputs = widget_values(node, object_info[kind])  # a wired widget keeps its place among the values
        for name in inputs:
            for key in (name, f"{kind}.{name}"):
                if key in changes:
                    inputs[name] = changes[key]
                    used.add(key)
        linked = {entry["name"]: sources[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        graph[str(node["id"])] = {"class_type": kind, "inputs": {**inputs, **linked}}
    assert used == set(changes), f"no widget was met by {set(changes) - used}"
    return graph


def _sources(workflow: dict) -> dict:
    """Node and output by link; what comes out of a bypassed node is what goes into it."""
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    bypassed = {str(node["id"]): node for node in workflow["nodes"] if node["mode"] == BYPASSED}
    for link, (number, slot) in sources.items():
        if number in bypassed:
            node = bypassed[number]
            kind = node["outputs"][slot]["type"]
            sources[link] = sources[next(entry["link"] for entry in node["inputs"] if entry["type"] == kind)]
    return sources


def widget_values(node: dict, info: dict) -> dict:
    """The values of a node's widgets by name; what the frontend adds to a widget (what a seed does next, an upload
    button) has a value of its own in the file."""
    values = list(node["widgets_values"])
    named = {}
    for name, options in widgets(info):
        if not values:
            break  # a widget younger than the file
        named[name] = values.pop(0)
        if options.get("control_after_generate") or options.get("image_upload") or options.get("video_upload"):
            values.pop(0)
    assert not values, f"{node['type']} has no widgets for {values}"
    return named


def widgets(info: dict):
    """The widgets of a node in the order of their values: names and options."""
    for kind in ("required", "optional"):
        for name, (type_, *rest) in info["input"].get(kind, {}).items():
            options = rest[0] if rest else {}
            if isinstance(type_, list) or (type_ in WIDGET_TYPES and not options.get("forceInput")):
                yield name, options


def node_of(graph: dict, kind: str) -> str:
    """The id of the only node of a kind."""
    (number,) = [number for number, node in graph.items() if node["class_type"] == kind]
    return number
