"""The nodes that damage and measure in a running server: pictures, figures, progress, and what goes wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.events import listen

from svfr_model.base.tasks import Task
from svfr_model.synthesis.degrade import degrade_clip
from svfr_model.synthesis.options import options_for

COUNT, SIDE = 4, 64
FLICKER = {"brightness_flicker": 0.5, "pixel_flicker": 9.0}


def colored(color, side=SIDE):
    return {"class_type": "EmptyImage", "inputs": {"width": side, "height": side, "batch_size": COUNT, "color": color}}


def task(**chosen):
    switches = {"preset": "switches below", "restore": False, "colorize": False, "inpaint": False, **chosen}
    return {"class_type": "SVFRTaskVector", "inputs": switches}


def degrade(frames, task, **widgets):
    quiet = {"brightness_flicker": 0.0, "pixel_flicker": 0.0, "seed": 3}
    return {"class_type": "SVFRDegrade", "inputs": {"frames": frames, "task": task, **quiet, **widgets}}


def metrics(**wired):
    return {"class_type": "SVFRMetrics", "inputs": wired}


def saved(source, name):
    return {"class_type": "SaveImage", "inputs": {"images": source, "filename_prefix": name}}


def outputs(server, graph):
    history = server.run(graph)
    assert history["status"]["status_str"] == "success", history["status"]
    return history["outputs"]


def pictures(output, base):
    from PIL import Image

    return np.stack([np.asarray(Image.open(base / "output" / entry["filename"])) for entry in output["images"]])


def test_damage_and_mask_are_the_librarys(server):
    graph = {
        "1": colored(0x64A0C8),
        "2": task(colorize=True, inpaint=True),
        "3": degrade(["1", 0], ["2", 0], **FLICKER),
        "4": saved(["3", 0], "degraded"),
        "5": {"class_type": "MaskToImage", "inputs": {"mask": ["3", 1]}},
        "6": saved(["5", 0], "mask"),
        "7": {"class_type": "SVFRTemporalProfile", "inputs": {"frames": ["3", 0], "position": 0.25}},
        "8": saved(["7", 0], "profile"),
    }
    found = outputs(server, graph)
    frames = np.full((COUNT, SIDE, SIDE, 3), (0x64, 0xA0, 0xC8), np.uint8)
    options = replace(options_for(frozenset({Task.COLORIZATION, Task.INPAINTING})), **FLICKER)
    expected, masks = degrade_clip(frames, options, 3)
    assert np.array_equal(pictures(found["4"], server.base), expected)
    assert np.array_equal(pictures(found["6"], server.base)[..., 0], masks * 255)
    assert 0 < masks.mean() < 1
    assert np.array_equal(pictures(found["8"], server.base)[0], expected[:, :, SIDE // 4].swapaxes(0, 1))


def test_the_table_is_shown_and_handed_on(server):
    graph = {
        "1": colored(0x6E6E6E),
        "2": colored(0x646464),
        "3": {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": SIDE, "height": SIDE}},
        "4": metrics(restored=["1", 0], truth=["2", 0], mask=["3", 0]),
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}},
        "6": {"class_type": "PreviewAny", "inputs": {"source": ["4", 1]}},
    }
    found = outputs(server, graph)
    (table,) = found["4"]["text"]
    assert found["5"]["text"] == [table]
    measured = json.loads(found["6"]["text"][0])["metrics"]
    expected = pytest.approx(20 * np.log10(255 / 10), abs=1e-9)
    assert measured["psnr"]["value"] == measured["psnr_mask"]["value"] == expected
    assert "28.1308 dB" in table
    assert "Not computed: IDS, VIDD, Face-Cons, because no face recogniser was given" in table


def test_damage_is_reported_frame_by_frame(comfyui, server):
    """The server leaves out what comes too quickly after the last report."""
    graph = {
        "1": colored(0x112233),
        "2": task(restore=True),
        "3": degrade(["1", 0], ["2", 0]),
        "4": saved(["3", 0], "low"),
    }
    events = listen(comfyui, server, graph)
    assert events[-1][1] == "execution_success"
    told = [(data["value"], data["max"]) for _, kind, data in events if kind == "progress" and data["node"] == "3"]
    assert told[-1] == (COUNT, COUNT)
    assert told == sorted(set(told))


def test_clips_of_two_sizes_are_refused_over_the_websocket(comfyui, server):
    graph = {"1": colored(1), "2": colored(1, side=48), "3": metrics(restored=["1", 0], truth=["2", 0])}
    _, kind, data = listen(comfyui, server, graph)[-1]
    assert kind == "execution_error"
    assert data["node_type"] == "SVFRMetrics"
    assert data["exception_type"] == "InputError"
    assert "frames of 64x64 pixels, the true one of 48x48, and nothing is resized here" in data["exception_message"]
