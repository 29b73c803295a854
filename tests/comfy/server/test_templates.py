"""The shipped workflows as somebody opens them who has nothing yet: they run at once, and make the clip better."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.comfy import ROOT, running_server
from support.graphs import FOLDER, run, said
from support.templates import sheets
from support.workflows import node_of, read_workflow, to_api

from svfr_model.media import open_clip

PATHS = sorted(FOLDER.glob("*.json"))
BUNDLED = [path for path in PATHS if "STC" not in path.stem]
"""Those for which svfr-tiny has all that they need; nothing stands in for BFVR-STC's files."""
WIDEST = 1900
"""Pixels, so that a window of 1,920 shows three quarters of the size, at which text is drawn."""
FRAMES = 8


@pytest.fixture(scope="module")
def bare(comfyui, tmp_path_factory):
    """A server as it is after the installation."""
    with running_server(comfyui, tmp_path_factory.mktemp("bare")) as running:
        yield running


def test_names_say_the_order():
    assert [path.stem.split()[0] for path in PATHS] == [f"{number:02d}" for number in range(1, len(PATHS) + 1)]
    assert PATHS[0].stem == "01 Restore faces in a video"


def test_they_are_what_the_script_writes(object_info):
    """Else: python tests/support/templates.py."""
    written = {sheet.name: sheet.saved() for sheet in sheets(object_info)}
    assert {path.stem: read_workflow(path) for path in PATHS} == written


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_each_is_narrow_has_a_note_and_compares(path):
    nodes = read_workflow(path)["nodes"]
    left, right = min(n["pos"][0] for n in nodes), max(n["pos"][0] + n["size"][0] for n in nodes)
    assert right - left <= WIDEST
    (note,) = [node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote"]
    assert "## Networks" in note
    assert ("Memory and time" in note) == any(node["type"] == "SVFRLoadNetworks" for node in nodes)
    assert [node["type"] for node in nodes].count("SVFRCompare") == 1


def test_the_first_is_one_node_with_few_widgets(object_info):
    kinds = {node["type"] for node in read_workflow(PATHS[0])["nodes"]}
    ours = {"SVFRLoadNetworks", "SVFRSampleClip", "SVFRRestoreVideo", "SVFRCompare"}
    assert kinds == {*ours, "MarkdownNote", "Video Slice", "SaveVideo"}
    inputs = object_info["SVFRRestoreVideo"]["input"]["required"]
    seen = [name for name, (_, options) in inputs.items() if options.get("advanced") is False]
    assert seen == ["task", "preset", "choice", "seed"]


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_it_runs_at_once_and_comes_nearer_to_the_truth(path, bare, record_property):
    """Without a file, without a change but the clip's length. PSNR over the whole frames."""
    info = json.loads(bare.get("/object_info"))
    graph = to_api(read_workflow(path), info, {"SVFRSampleClip.length": FRAMES})
    sample = node_of(graph, "SVFRSampleClip")
    graph["truth"] = {"class_type": "SaveImage", "inputs": {"images": [sample, 2], "filename_prefix": "truth"}}
    history = run(bare, graph)
    assert history["status"]["status_str"] == "success", said(history)
    (shown,) = history["outputs"][node_of(graph, "SVFRCompare")]["svfr_compare"]
    truth = pictures(bare.base / "output", history["outputs"]["truth"]["images"])
    before, after = (psnr(frames_of(bare.base / "temp" / shown[name]), truth) for name in ("before", "after"))
    record_property("psnr", f"{before:.2f} to {after:.2f} dB")
    assert after > before


def pictures(folder, entries):
    from PIL import Image

    return np.stack([np.asarray(Image.open(folder / entry["filename"])) for entry in entries]).astype(float)


def frames_of(path):
    return np.stack(list(open_clip(path))).astype(float)


def psnr(frames, truth):
    return 10 * np.log10(255**2 / np.mean((frames - truth[: len(frames)]) ** 2))


def test_every_picture_shows_before_and_after():
    """The two halves of a picture differ where the line is; tests/support/thumbnails.py made them."""
    for path in BUNDLED:
        picture = pictures(ROOT / "workflows", [{"filename": f"{path.stem}.jpg"}])[0]
        assert picture.shape == (480, 640, 3)
        assert picture[200:280, 319:321].mean() > 240
