"""The first minute after the installation, by the mouse: four clicks from a fresh page to a restored clip."""

from __future__ import annotations

import json
import subprocess

import pytest
from support.comfy import PACK, ROOT, running_server
from support.pictures import keep

from svfr_model.media import open_clip

TEMPLATE = "01 Restore faces in a video"


@pytest.fixture(scope="module", params=[False, True], ids=["canvas", "vue"])
def seen(request, comfyui, chromium, tmp_path_factory):
    """What stood on the page of a server without weights, and the folder of its screenshots."""
    folder = tmp_path_factory.mktemp("first_minute")
    with running_server(comfyui, tmp_path_factory.mktemp("bare")) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": request.param})
        script = ROOT / "tests" / "support" / "first_minute.py"
        command = [comfyui.python, script, chromium, server.url, folder, PACK, TEMPLATE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        if not request.param:
            keep(folder / "result.png", "first_result")
            keep(folder / "overlay.png", "compare")
        saved = sorted((server.base / "output" / "video").glob("*.mp4"))
        return {**json.loads(done.stdout), "saved": [len(list(open_clip(path))) for path in saved]}


def test_four_clicks_lead_to_a_result(seen):
    assert seen["clicks"] == 4
    assert seen["tracks"] == 1


def test_text_is_drawn(seen):
    """From three quarters of the size on."""
    assert seen["scale"] >= 0.75


def test_the_box_is_drawn_around_the_face_and_the_view_goes_there(seen):
    """In the green of the first person."""
    without, with_box = seen["edge"]
    assert with_box[1] > 150 > without[1]
    assert with_box[1] > with_box[0] + 40
    assert seen["zoom"] > 1.5


def test_save_video_has_saved_it_and_trim_makes_it_a_second(seen):
    """Of the sample clip's 29 frames, 25 a second."""
    assert seen["frames"] == [29, 25]
    assert seen["saved"] == [29, 25]


def test_templates_stand_in_the_order_of_their_numbers(seen):
    """Though the server was made to list them backwards: it lists them as the disk has them."""
    assert seen["cards"] == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
