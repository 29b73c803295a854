"""The pack as a ComfyUI server sees it: its nodes, their help, the templates, and what it says when things go wrong."""

from __future__ import annotations

import json
import re
import urllib.error
from urllib.parse import quote

import pytest
from support.comfy import PACK, ROOT
from support.events import listen
from support.help_pages import page as help_page
from support.workflows import widget_values, widgets

from svfr_model.engine.options import RestoreOptions
from svfr_model.faces.options import CropOptions, PasteOptions, TrackOptions
from svfr_model.stc.network import TASKS
from svfr_model.stc.options import EnhanceOptions
from svfr_model.synthesis.options import DegradeOptions
from svfr_model.weights import weight_file

IDS = {
    "SVFRLoadModel",
    "SVFRLoadVAE",
    "SVFRLoadFaceDetector",
    "SVFRLoadIdentityEncoder",
    "SVFRGetWeights",
    "SVFRFaceCrop",
    "SVFRPasteBack",
    "SVFRTaskVector",
    "SVFRIdentity",
    "SVFRSampler",
    "SVFRSelfReference",
    "SVFRRestore",
    "SVFRConditioning",
    "STCLoadModel",
    "STCEnhance",
    "SVFRDegrade",
    "SVFRMetrics",
    "SVFRTemporalProfile",
    "SVFRRestoreVideo",
    "STCEnhanceVideo",
    "SVFRSampleClip",
    "SVFRLoadNetworks",
    "SVFRCompare",
    "SVFRTasks",
}
"""Permanent: saved workflows know nodes by them."""


@pytest.fixture(scope="module")
def ours(object_info):
    return {name: info for name, info in object_info.items() if info["python_module"] == f"custom_nodes.{PACK}"}


def inputs(info):
    for kind in ("required", "optional"):
        yield from info["input"].get(kind, {}).items()


def test_all_nodes_are_there(ours):
    assert set(ours) >= IDS


def test_nothing_in_the_log_of_the_start_complains_of_the_pack(server):
    start, served, _ = server.log().partition("To see the GUI go to")  # what follows belongs to other tests' prompts
    assert served
    lines = [line for line in start.splitlines() if re.search("warn|error|fail|skip", line, re.I)]
    assert not [line for line in lines if PACK.lower() in line.lower() or "svfr" in line.lower()]


def test_every_input_and_output_has_a_tooltip(ours):
    for name, info in ours.items():
        assert info["description"], name
        assert info["category"].split("/")[0] == "SVFR", name
        for input_name, (_, options) in inputs(info):
            assert len(options.get("tooltip", "")) > 10, f"{name}.{input_name}"
        tips = info["output_tooltips"]
        assert len(tips) == len(info["output"]), name
        assert all(tip and len(tip) > 10 for tip in tips), name


def test_the_damage_stays_the_same_from_run_to_run(ours):
    """The frontend makes an input named seed random after each run unless the node says no."""
    assert dict(widgets(ours["SVFRDegrade"]))["seed"]["control_after_generate"] is False


def test_defaults_are_the_engines(ours):
    options = RestoreOptions()
    expected = {
        "seed": options.seed,
        "steps": options.steps,
        "guidance_from": options.guidance[0],
        "guidance_to": options.guidance[1],
        "window": options.plan.length,
        "overlap": options.plan.overlap,
        "plan": options.plan.name,
        "strength": options.strength,
        "decode_chunk": options.decode_chunk,
        "decode_overlap": options.decode_overlap,
        "batch": options.batch,
    }
    for node in ("SVFRSampler", "SVFRRestore"):
        found = {name: options["default"] for name, options in widgets(ours[node])}
        assert expected.items() <= found.items(), node
    found = {name: options["default"] for name, options in widgets(ours["SVFRFaceCrop"])}
    crop, track = CropOptions(), TrackOptions()
    assert (found["width"], found["height"]) == crop.size
    for name in ("mode", "margin", "smoothing", "roll", "pre_downscale"):
        assert found[name] == getattr(crop, name), name
    for name in ("detect_size", "stride", "max_gap", "min_length", "min_score"):
        assert found[name] == getattr(track, name), name
    found = {name: options["default"] for name, options in widgets(ours["SVFRPasteBack"])}
    for name in ("region", "feather", "color_match", "occlusion_safe"):
        assert found[name] == getattr(PasteOptions(), name), name
    found = {name: options["default"] for name, options in widgets(ours["STCEnhance"])}
    for name in ("window", "overlap", "low_frequency", "stretch"):
        assert found[name] == getattr(EnhanceOptions(), name), name
    found = {name: options["default"] for name, options in widgets(ours["SVFRDegrade"])}
    for name in ("brightness_flicker", "pixel_flicker"):
        assert found[name] == getattr(DegradeOptions(), name), name


def test_widgets_of_saved_workflows_keep_their_values_by_name(ours):
    """Every workflow and blueprint of 0.1.0, before widgets were derived: values lie in a file by position alone."""
    saved = json.loads((ROOT / "tests" / "comfy" / "data" / "saved_widgets.json").read_text())
    assert sum(map(len, saved.values())) > 50
    for workflow, nodes in saved.items():
        for node in nodes:
            found = widget_values({**node, "widgets_values": node["values"]}, ours[node["type"]])
            assert found == node["named"], workflow


def test_every_node_has_a_help_page_that_names_all_it_has(server, ours):
    for name, info in ours.items():
        page = server.get(f"/extensions/{PACK}/docs/{name}.md").decode()
        assert page == (ROOT / "web" / "docs" / f"{name}.md").read_text()
        assert page == help_page(info, page), f"{name}: run `make docs`"
        assert page.split("## Tips")[1].count("|") > 10, name
        before, after = page.split("## Outputs")
        assert all(f"| `{input_name}` |" in before for input_name, _ in inputs(info)), name
        assert all(f"| `{output}` |" in after for output in info["output_name"]), name


def test_templates_are_listed_and_served_with_thumbnails(server):
    files = {path.stem: path for path in (ROOT / "workflows").glob("*.json")}
    assert len(files) >= 6
    assert set(json.loads(server.get("/workflow_templates"))[PACK]) == set(files)
    for name, path in files.items():
        place = f"/api/workflow_templates/{PACK}/{quote(name)}"
        assert json.loads(server.get(f"{place}.json")) == json.loads(path.read_text(encoding="utf-8"))
        assert server.get(f"{place}.jpg").startswith(b"\xff\xd8\xff")


def test_the_blueprint_is_offered(server, object_info):
    (path,) = (ROOT / "subgraphs").glob("*.json")
    offered = json.loads(server.get("/global_subgraphs"))
    (key,) = [key for key, entry in offered.items() if PACK in json.dumps(entry)]
    stored = json.loads(json.loads(server.get(f"/global_subgraphs/{quote(key)}"))["data"])
    assert stored == json.loads(path.read_text())
    (graph,) = stored["definitions"]["subgraphs"]
    for node in graph["nodes"]:
        info = object_info[node["type"]]
        assert [entry["name"] for entry in node["outputs"]] == info["output_name"]
        assert {entry["name"] for entry in node["inputs"]} <= {name for name, _ in inputs(info)}


def test_a_missing_file_is_told_before_anything_runs(server):
    graph = {
        "1": {"class_type": "SVFRLoadModel", "inputs": {"model_name": "nowhere.safetensors", "dtype": "auto"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.run(graph)
    text = refused.value.read().decode()
    for part in ("nowhere.safetensors", "models/svfr", "fffiloni/SVFR", "licence"):
        assert part in text


@pytest.mark.parametrize("task", TASKS)
def test_a_missing_stc_file_is_told_with_its_source_and_folder(task, server):
    graph = {
        "1": {"class_type": "STCLoadModel", "inputs": {"stc_name": "nowhere.pth", "task": task}},
        "2": {"class_type": "STCEnhance", "inputs": {"stc_model": ["1", 0], "frames": ["3", 0], "mode": "whole frame"}},
        "3": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.run(graph)
    text = refused.value.read().decode()
    entry = weight_file(f"stc_{task}")
    for part in ("nowhere.pth", entry.purpose, entry.address, "models/svfr"):
        assert part in text


@pytest.mark.parametrize(("kind", "wanted"), [("yoloface", "the reference's face detector"), ("nose", "'nose' not in")])
def test_a_missing_detector_is_named_by_its_kind(kind, wanted, server):
    told = {"detector_name": "nowhere.pt", "kind": kind, "threshold": 0.0}
    graph = {
        "1": {"class_type": "SVFRLoadFaceDetector", "inputs": told},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.run(graph)
    assert wanted in refused.value.read().decode()


def test_a_failing_node_says_why_over_the_websocket(comfyui, server):
    (server.base / "models" / "svfr" / "broken.safetensors").write_bytes(b"no weights")
    graph = {
        "1": {"class_type": "SVFRLoadModel", "inputs": {"model_name": "broken.safetensors", "dtype": "auto"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    _, kind, data = listen(comfyui, server, graph)[-1]
    assert kind == "execution_error"
    assert data["node_type"] == "SVFRLoadModel"
    assert data["exception_type"] == "WeightsError"  # no module's path before the message
    assert "broken.safetensors cannot be used as SVFR's denoising UNet" in data["exception_message"]


def test_extra_model_paths_are_honoured(server, object_info, tmp_path):
    """Read the server's own configuration: a folder named there before the pack was loaded is still listed."""
    folders = json.loads(server.get("/experiment/models"))
    (svfr,) = [folder for folder in folders if folder["name"] == "svfr"]
    assert str(server.base / "models" / "svfr") in svfr["folders"]
    options = dict(widgets(object_info["SVFRLoadModel"]))["model_name"]["options"]
    assert "elsewhere.safetensors" in options
    assert "unet.safetensors" in options
