"""The shipped workflows in ComfyUI's own frontend, in a real browser."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from support.comfy import ROOT
from support.graphs import node
from support.pictures import keep
from support.workflows import read_workflow, to_api

FILES = sorted((ROOT / "workflows").glob("*.json"))
(BLUEPRINT,) = (ROOT / "subgraphs").glob("*.json")


@pytest.fixture(scope="session", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["canvas", "vue"])
def opened(request, browse, footage, tmp_path_factory):
    """What the frontend showed of every workflow, by name, in either renderer; and the folder of the screenshots."""
    folder = tmp_path_factory.mktemp("shots")
    footage.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    try:
        seen = browse(footage, folder, *FILES, BLUEPRINT)
        if not request.param:
            keep(folder / "04 Restore step by step.png", "step_by_step")
        return seen, folder
    finally:
        footage.post("/settings", {"Comfy.VueNodes.Enabled": False})


@pytest.mark.parametrize("path", [*FILES, BLUEPRINT], ids=lambda path: path.stem)
def test_a_workflow_opens_without_complaint(path, opened):
    seen, folder = opened
    shown = seen[path.stem]
    assert shown["missing"] == []
    assert shown["dialogs"] == []
    assert [line for line in shown["console"] if is_about(line, path.read_text())] == []
    assert (folder / f"{path.stem}.png").stat().st_size > 20_000  # not an empty canvas


def is_about(complaint, workflow):
    """Whether a complaint may come from a workflow: the frontend also looks for the models of the one it starts with,
    which its own security policy forbids."""
    addresses = re.findall(r"https://huggingface\.co/\S+?(?=['\"\s]|\. |$)", complaint)
    return not addresses or any(address in workflow for address in addresses)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_frontend_queues_what_the_tests_execute(path, opened, object_info):
    """So that the conversion which the other tests rely on is the frontend's own."""
    queued = opened[0][path.stem]["api"]
    ours = to_api(read_workflow(path), object_info)
    assert {number: node["class_type"] for number, node in queued.items()} == {
        number: node["class_type"] for number, node in ours.items()
    }
    for number, own in ours.items():
        assert own["inputs"].items() <= queued[number]["inputs"].items(), own["class_type"]


def test_the_blueprint_queues_two_passes(opened):
    queued = opened[0][BLUEPRINT.stem]["api"]
    kinds = {number: node["class_type"] for number, node in queued.items()}
    assert sorted(kinds.values()) == ["ImageFromBatch", "SVFRSampler", "SVFRSampler", "SVFRSelfReference"]
    second = next(node["inputs"] for node in queued.values() if "identity" in node["inputs"])
    assert [kinds[second[name][0]] for name in ("reference", "identity")] == ["SVFRSelfReference"] * 2
    first = next(node["inputs"] for node in queued.values() if kinds.get(node["inputs"].get("frames", [""])[0]))
    assert kinds[first["frames"][0]] == "SVFRSampler"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_node_lies_on_another(path, opened):
    boxes = opened[0][path.stem]["boxes"]
    for (a, kind, x, y, width, height), (b, other, u, v, breadth, depth) in itertools.combinations(boxes, 2):
        apart = x + width <= u or u + breadth <= x or y + height <= v - 30 or v + depth <= y - 30  # 30 for the title
        assert apart, f"{kind} {a} and {other} {b}"


def test_the_metrics_stand_in_their_node_after_a_run(browse, server, renderer, tmp_path):
    """And a workflow saved then holds no figures."""
    size = [64, 64, 3]
    nodes = [
        node(1, "EmptyImage", [*size, 0x6E6E6E], outputs={"IMAGE": ("IMAGE", [1])}),
        node(2, "EmptyImage", [*size, 0x646464], outputs={"IMAGE": ("IMAGE", [2])}),
        node(3, "SVFRMetrics", [], inputs={"restored": ("IMAGE", 1), "truth": ("IMAGE", 2)}),
    ]
    links = [[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 3, 1, "IMAGE"]]
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"last_node_id": 3, "last_link_id": 2, "nodes": nodes, "links": links, "version": 0.4}))
    shown = browse(server, tmp_path, "--run", path)["metrics"]
    assert shown["missing"] == shown["dialogs"] == []
    assert [line for line in shown["console"] if is_about(line, path.read_text())] == []
    (table,) = shown["texts"]
    assert "3 frames of 64x64" in table
    assert re.search(r"^PSNR\s+28\.1308 dB\s", table, re.M)
    assert "|" not in table
    assert "Not computed: PSNR in mask, because no mask was given" in table
    assert shown["api"]["3"]["inputs"] == {"restored": ["1", 0], "truth": ["2", 0]}
    (saved,) = [entry for entry in shown["saved"] if entry["id"] == 3]
    assert not saved.get("widgets_values")


SEARCHED = {
    "face restore": "SVFR Restore",
    "old film": "SVFR Restore",
    "deflicker": "STC Enhance",
    "flicker": "STC Enhance",
    "face enhance": "SVFR Restore",
    "colourise": "SVFR Restore",
    "scratch": "SVFR Restore",
    "video face": "SVFR Restore",
    "GFPGAN": "SVFR Restore",
    "CodeFormer": "SVFR Restore",
    "SeedVR2": "SVFR Restore",
    "KEEP": "SVFR Restore",
    "FaceDetailer": "SVFR Face Crop",
    "ReActor": "SVFR Face Crop",
    "roop": "SVFR Face Crop",
    "face tracking": "SVFR Face Crop",
    "paste face": "SVFR Paste Back",
    "PSNR": "SVFR Metrics",
}
"""What artists type, and a node that must be among those they are shown."""


@pytest.fixture(scope="session")
def searched(browse, server, object_info, tmp_path_factory):
    if "search_aliases" not in object_info["SVFRRestore"]:
        pytest.skip("this ComfyUI is older than 0.11 and knows no search aliases")
    folder = tmp_path_factory.mktemp("search")
    found = browse(server, folder, "--search", *SEARCHED)
    keep(folder / "face restore.png", "search")
    return found


@pytest.mark.parametrize("words", SEARCHED)
def test_the_search_finds_what_artists_type(words, searched):
    assert SEARCHED[words] in searched[words]


def test_a_warning_stands_in_its_node_and_only_there(browse, server, tmp_path):
    """And is no part of the workflow that is saved then."""
    task = ["restore", True, True, False]
    nodes = [
        node(1, "SVFRTaskVector", task, outputs={"task": ("SVFR_TASK", [1])}),
        node(2, "EmptyImage", [64, 64, 3, 0x646464], outputs={"IMAGE": ("IMAGE", [2])}),
        node(3, "SVFRDegrade", [0, 0, 0], {"task": ("SVFR_TASK", 1), "frames": ("IMAGE", 2)}, {"": ("IMAGE", [3])}),
        node(4, "PreviewImage", [], {"images": ("IMAGE", 3)}),
    ]
    links = [[1, 1, 0, 3, 0, "SVFR_TASK"], [2, 2, 0, 3, 1, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]]
    path = tmp_path / "warned.json"
    path.write_text(json.dumps({"last_node_id": 4, "last_link_id": 3, "nodes": nodes, "links": links, "version": 0.4}))
    shown = browse(server, tmp_path, "--run", path)["warned"]
    assert shown["missing"] == shown["dialogs"] == []
    (text,) = shown["texts"]
    assert text.startswith('The preset decides: "restore".')
    (saved,) = [entry for entry in shown["saved"] if entry["id"] == 1]
    assert saved["widgets_values"] == task


def test_a_help_page_fits_its_panel(browse, server, tmp_path):
    """No table has to be scrolled sideways."""
    found = browse(server, tmp_path, "--help-of", "SVFRFaceCrop", "SVFRRestoreVideo")
    keep(tmp_path / "help of SVFRFaceCrop.png", "help")
    for kind, seen in found.items():
        assert len(seen["tables"]) >= 2, kind
        assert all(wide <= shown + 1 for wide, shown in seen["tables"]), (kind, seen)
