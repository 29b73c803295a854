"""SVFR Compare in ComfyUI's frontend, in both of its renderers, by what stands in the page's pixels."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from support.comfy import ROOT
from support.video import encode

COUNT, WIDE, HIGH = 200, 256, 128
BAR = 16


def coded(number, channel):
    """A frame (H,W,3) that says its number, in bars of one colour, in either half."""
    bits = np.array([number >> bit & 1 for bit in reversed(range(8))])
    row = np.tile(np.repeat(np.where(bits, 220, 70), BAR), 2)
    frame = np.zeros((HIGH, WIDE, 3), np.uint8)
    frame[..., channel] = row
    return frame


def write_coded(path, channel):
    frames = [av.VideoFrame.from_ndarray(coded(n, channel), format="rgb24") for n in range(COUNT)]
    encode(path, [frame.reformat(format="yuv420p") for frame in frames], rate=Fraction(25))


def workflow():
    """Two clips, and a mask of the middle of the upper edge."""

    def node(number, kind, values, inputs=(), outputs=()):
        return {
            "id": number, "type": kind, "pos": [330 * (number - 1), 0], "size": [300, 300], "mode": 0,
            "widgets_values": values,
            "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
            "outputs": [{"name": name, "type": type_, "links": links} for name, type_, links in outputs],
        }  # fmt: skip

    compared = [("before", "VIDEO,IMAGE", 1), ("after", "VIDEO,IMAGE", 2), ("mask", "MASK,IMAGE", 3)]
    nodes = [
        node(1, "LoadVideo", ["red.mp4", "image"], outputs=[("VIDEO", "VIDEO", [1])]),
        node(2, "LoadVideo", ["blue.mp4", "image"], outputs=[("VIDEO", "VIDEO", [2])]),
        node(3, "LoadImage", ["mask.png", "image"], outputs=[("IMAGE", "IMAGE", [3]), ("MASK", "MASK", None)]),
        node(4, "SVFRCompare", ["old", "new", 25.0], compared),
    ]
    nodes[3]["size"] = [640, 560]
    links = [[1, 1, 0, 4, 0, "VIDEO"], [2, 2, 0, 4, 1, "VIDEO"], [3, 3, 0, 4, 4, "IMAGE"]]
    return {"last_node_id": 4, "last_link_id": 3, "nodes": nodes, "links": links, "version": 0.4}


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["canvas", "vue"])
def seen(request, server, comfyui, chromium, tmp_path_factory):
    """What the page showed, and the folder of its screenshots."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("compare")
    write_coded(server.base / "input" / "red.mp4", 0)
    write_coded(server.base / "input" / "blue.mp4", 2)
    mask = np.zeros((HIGH, WIDE), np.uint8)
    mask[32:96, 96:160] = 255
    Image.fromarray(mask).convert("RGB").save(server.base / "input" / "mask.png")
    (folder / "compare.json").write_text(json.dumps(workflow()))
    server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": request.param})
    script = ROOT / "tests" / "support" / "compare_page.py"
    command = [comfyui.python, script, chromium, server.url, folder, folder / "compare.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout), folder


def on_screen(seen, name, x, y):
    """A pixel of a screenshot, at x and y of the clip."""
    from PIL import Image

    told, folder = seen
    left, top, width, height, wide = told["screen"][name]
    scale = wide / WIDE
    place = (left + (width - wide) / 2 + x * scale, top + (height - HIGH * scale) / 2 + y * scale)
    picture = Image.open(folder / f"{name}.png").convert("RGB")
    return picture.getpixel(tuple(round(side) for side in place))


def is_red(pixel):
    return pixel[0] > 45 and pixel[2] < 40


def is_blue(pixel):
    return pixel[2] > 45 and pixel[0] < 40


def test_the_line_divides_before_and_after(seen):
    """Before at the left, in red; a press at a quarter of the width moves the line there."""
    assert is_red(on_screen(seen, "wipe", 100, 10))
    assert is_blue(on_screen(seen, "wipe", 150, 10))
    assert seen[0]["wipe"] == pytest.approx(0.25, abs=0.02)
    assert is_red(on_screen(seen, "wiped", 40, 10))
    assert is_blue(on_screen(seen, "wiped", 100, 10))


@pytest.mark.parametrize(
    ("done", "frame"),
    [
        ("first", 0), ("scrubbed 137", 137), ("scrubbed 12", 12), ("ArrowRight 1", 13), ("ArrowRight 2", 15),
        ("ArrowLeft 1", 14), ("End 1", COUNT - 1), ("Home 1", 0),
    ],
)  # fmt: skip
def test_both_stand_at_the_frame_that_was_asked_for(done, frame, seen):
    """Read from the bars of the picture."""
    assert seen[0]["codes"][done] == [frame, frame]


def test_modes_and_overlay_are_seen(seen):
    inside = on_screen(seen, "again", 104, 64)
    assert inside[0] > inside[1] + 20, inside  # a red veil over what was missing
    assert is_red(on_screen(seen, "flipped", 20, 10))  # before, all over
    assert is_red(on_screen(seen, "flipped", 200, 10))
    assert is_blue(on_screen(seen, "flicker", 20, 10))
    assert is_blue(on_screen(seen, "flicker", 200, 10))
    edge = {name: max(on_screen(seen, name, x / 2, 80)[0] for x in range(314, 328)) for name in ("wipe", "overlay")}
    assert edge["overlay"] > 120 > 60 > edge["wipe"], edge  # the outline of the mask, over blue


def test_the_two_stay_within_a_frame_of_each_other(seen):
    """Over all 200 frames, read from the picture at each time that the page draws."""
    pairs = np.array(seen[0]["played"])
    assert np.abs(pairs[:, 0] - pairs[:, 1]).max() <= 1, pairs[np.abs(np.diff(pairs, axis=1)[:, 0]).argmax()]
    assert pairs[0].max() < 30
    assert pairs[-1].min() > COUNT - 5
    assert len(set(pairs[:, 0])) > COUNT // 4  # it was seen, not jumped over


def test_the_wheel_enlarges_and_a_double_click_shows_the_whole_again(seen):
    """A wheel's turn of 277 doubles the size, and half of the 15 edges between the bars are left; the graph stays."""
    zoom = seen[0]["zoom"]
    assert zoom["whole"] == pytest.approx(15, abs=1)  # the last bit before the middle is like the first after it
    assert zoom["in"] == pytest.approx(0.5, abs=0.08)
    assert 0.6 < zoom["out"] < 0.85  # 1 / sqrt(2), and what has been moved out of sight
    assert zoom["moved"] == pytest.approx(WIDE / 2 - 40 * WIDE / (zoom["pixel"] * seen[0]["screen"]["wipe"][2]), abs=2)
    assert zoom["again"] == 1
    assert len(set(zoom["scale"])) == 1


def test_it_begins_again_at_the_end_only_if_it_shall(seen):
    loop = seen[0]["loop"]
    assert max(loop["on"]) >= COUNT - 4
    assert loop["on"][-1] < 50
    assert loop["on playing"]
    assert loop["off"][-1] == COUNT - 1
    assert not loop["off playing"]
    assert min(loop["anew"]) < 20 < loop["anew"][-1] < 50  # from the end, Space begins at the beginning


def test_nothing_of_it_is_saved_nor_complained_of(seen):
    told = seen[0]["api"]["4"]["inputs"]
    assert set(told) == {"before", "after", "mask", "label_before", "label_after", "fps"}
    assert [line for line in seen[0]["console"] if "svfr" in line.lower()] == []
