"""Choosing faces by eye: the route, the dialog in a real browser, and what is restored then."""

from __future__ import annotations

import json
import subprocess
import urllib.error

import numpy as np
import pytest
from support.comfy import ROOT
from support.graphs import FRAMES, write_clip
from support.pictures import keep

from svfr_model.media import open_clip

SIDE = 128
"""Of each half of a frame: one person on the left, one on the right."""
SPILL = 20
"""Columns at the halves' edges that a soft edge may reach from the other half."""


@pytest.fixture(scope="module")
def people(footage, portrait_clip):
    """The server, with a clip of two people over two shots; they have moved, and changed places, after the cut."""
    faces = [frame for _, frame in zip(range(FRAMES), open_clip(portrait_clip), strict=False)]
    first = [np.concatenate([face, face[:, ::-1]], axis=1) for face in faces]
    red = np.array([1, 0.4, 0.2])
    second = [(np.roll(frame[:, ::-1], 22, axis=1) * red).astype(np.uint8) for frame in first]
    write_clip(footage.base / "input" / "people.mp4", [*first, *second])
    return footage


def graph(**face_crop):
    """Inverts the faces that Face Crop gives."""
    return {
        "1": {"class_type": "LoadVideo", "inputs": {"file": "people.mp4"}},
        "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
        "3": {
            "class_type": "SVFRLoadFaceDetector",
            "inputs": {"detector_name": "YuNet (bundled)", "kind": "yunet", "threshold": 0.0},
        },
        "4": {"class_type": "SVFRFaceCrop", "inputs": {"frames": ["2", 0], "detector": ["3", 0], **face_crop}},
        "5": {"class_type": "ImageInvert", "inputs": {"image": ["4", 0]}},
        "6": {
            "class_type": "SVFRPasteBack",
            "inputs": {
                **{"frames": ["2", 0], "restored": ["5", 0], "tracks": ["4", 2]},
                **{"region": "face", "feather": 0.0, "color_match": "none", "blend": 1.0, "occlusion_safe": False},
            },
        },
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "people"}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "before"}},
    }


@pytest.fixture
def crop(object_info):
    """The widgets of Face Crop at their defaults, for crops of 64 pixels."""
    from support.workflows import widgets

    return {**{name: told["default"] for name, told in widgets(object_info["SVFRFaceCrop"])}, "width": 64, "height": 64}


def with_encoder(asked):
    """So that people are recognised from shot to shot."""
    names = {"recognizer_name": "insightface_glint360k.pth", "projection_name": "id_linear.pth"}
    asked["9"] = {"class_type": "SVFRLoadIdentityEncoder", "inputs": names}
    asked["4"]["inputs"]["encoder"] = ["9", 0]
    return asked


def ask(server, asked, node="4"):
    return json.loads(server.post("/svfr/faces", {"graph": asked, "node": node}))


def places(scan):
    """(shot, half) of each track."""
    return {
        face["track"]: (number, int((face["box"][0] + face["box"][2]) / 2 > SIDE))
        for number, shot in enumerate(scan["shots"])
        for view in shot["views"]
        for face in view["faces"]
    }


def changed(server, history):
    """Which (shot, half) of the clip differ from the original."""
    from PIL import Image

    def pictures(number):
        files = [server.base / "output" / entry["filename"] for entry in history["outputs"][number]["images"]]
        return np.stack([np.asarray(Image.open(file)) for file in files]).astype(int)

    difference = np.abs(pictures("7") - pictures("8")).max(axis=3)
    shots = difference[:FRAMES], difference[FRAMES:]
    return {
        (shot, half)
        for shot, part in enumerate(shots)
        for half in (0, 1)
        if part[:, :, half * SIDE + SPILL : (half + 1) * SIDE - SPILL].max() > 0
    }


def test_the_route_shows_everyone_in_every_shot(people, crop):
    scan = ask(people, graph(**crop))
    assert scan["size"] == [2 * SIDE, SIDE]
    assert scan["frames"] == 2 * FRAMES
    assert [(shot["first"], shot["stop"]) for shot in scan["shots"]] == [(0, FRAMES), (FRAMES, 2 * FRAMES)]
    assert sorted(places(scan).values()) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert scan["shots"][0]["views"][0]["picture"].startswith("data:image/jpeg;base64,/9j/")


@pytest.mark.parametrize("name", ["../server.log", "/etc/hostname", "nowhere.mp4"])
def test_the_route_reads_input_files_only(name, people, crop):
    asked = graph(**crop)
    asked["1"]["inputs"]["file"] = name
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(people, asked)
    assert refused.value.code == 400
    assert "is not in ComfyUI's input folder" in json.loads(refused.value.read())["error"]


def test_a_clip_from_elsewhere_is_shown_once_the_node_has_run(people, crop):
    asked = graph(**crop)
    asked["2"] = {"class_type": "ImageFromBatch", "inputs": {"image": ["9", 0], "batch_index": 0, "length": 9}}
    asked["9"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}}
    asked["14"] = asked.pop("4")
    asked["5"]["inputs"]["image"][0] = asked["6"]["inputs"]["tracks"][0] = "14"
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(people, asked, "14")
    assert "Run the workflow once" in json.loads(refused.value.read())["error"]
    assert people.run(asked)["status"]["status_str"] == "success"
    assert ask(people, asked, "14")["frames"] == 9


def test_another_clip_falls_back_with_a_message(people, crop):
    kept = json.dumps({"size": [640, 480], "frames": 9, "of": 1, "marks": [[3, 10, 10, 90, 90]]})
    history = people.run(graph(**crop | {"choice": "left", "faces": kept}))
    assert history["status"]["status_str"] == "success", history["status"]
    (text,) = history["outputs"]["4"]["text"]
    assert "not in this clip (it was 9 frames of 640x480 and is 24 frames of 256x128)" in text
    assert changed(people, history) == {(0, 0), (1, 0)}


def test_what_is_gone_is_told_and_the_rest_is_done(people, crop):
    scan = ask(people, graph(**crop))
    face = scan["shots"][1]["views"][0]["faces"][0]
    frame = scan["shots"][1]["views"][0]["frame"]
    marks = [[frame, *face["box"]], [2, 0, 0, 9, 9]]
    kept = json.dumps({"size": scan["size"], "frames": scan["frames"], "of": 4, "marks": marks})
    history = people.run(graph(**crop | {"faces": kept}))
    assert "1 of the 2 faces that were chosen by eye are not there any more (seen in frame 2)" in str(
        history["outputs"]["4"]["text"]
    )
    assert changed(people, history) == {places(scan)[face["track"]]}


def test_what_the_dialog_has_not_written_is_refused(people, crop):
    history = people.run(graph(**crop | {"faces": "the tall one"}))
    (failed,) = [data for kind, data in history["status"]["messages"] if kind == "execution_error"]
    assert "'the tall one', which is no choice of faces" in failed["exception_message"]


@pytest.fixture
def dialog(comfyui, chromium, people, tmp_path):
    """A function that clicks tracks in the dialog of Face Crop, see choose_faces.py."""

    def press(workflow, *arguments):
        path = tmp_path / "faces.json"
        path.write_text(json.dumps(workflow), encoding="utf-8")
        script = ROOT / "tests" / "support" / "choose_faces.py"
        command = [comfyui.python, script, chromium, people.url, tmp_path, path, "SVFRFaceCrop", *arguments]
        people.post("/settings", {"Comfy.TutorialCompleted": True})  # otherwise a tour of ComfyUI opens
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        keep(tmp_path / "dialog.png", "choose_faces")
        return json.loads(done.stdout)

    return press


def drawn():
    """The graph as the frontend saves it; what has no values has its defaults."""
    nodes = [
        {**box(1, "LoadVideo", {}, {"VIDEO": ("VIDEO", [1])}), "widgets_values": ["people.mp4", "image"]},
        box(2, "GetVideoComponents", {"video": ("VIDEO", 1)}, {"images": ("IMAGE", [2, 6, 8])}),
        box(3, "SVFRLoadFaceDetector", {}, {"detector": ("SVFR_FACE_DETECTOR", [3])}),
        box(
            4,
            "SVFRFaceCrop",
            {"frames": ("IMAGE", 2), "detector": ("SVFR_FACE_DETECTOR", 3)},
            {"crops": ("IMAGE", [4]), "masks": ("MASK", []), "tracks": ("SVFR_FACE_TRACK", [7])},
        ),
        box(5, "ImageInvert", {"image": ("IMAGE", 4)}, {"IMAGE": ("IMAGE", [5])}),
        box(
            6,
            "SVFRPasteBack",
            {"frames": ("IMAGE", 6), "restored": ("IMAGE", 5), "tracks": ("SVFR_FACE_TRACK", 7)},
            {"frames": ("IMAGE", [9])},
        ),
        box(7, "SaveImage", {"images": ("IMAGE", 9)}, {}),
        box(8, "SaveImage", {"images": ("IMAGE", 8)}, {}),
    ]
    links = [
        [1, 1, 0, 2, 0, "VIDEO"],
        [2, 2, 0, 4, 0, "IMAGE"],
        [3, 3, 0, 4, 1, "SVFR_FACE_DETECTOR"],
        [4, 4, 0, 5, 0, "IMAGE"],
        [5, 5, 0, 6, 1, "IMAGE"],
        [6, 2, 0, 6, 0, "IMAGE"],
        [7, 4, 2, 6, 2, "SVFR_FACE_TRACK"],
        [8, 2, 0, 8, 0, "IMAGE"],
        [9, 6, 0, 7, 0, "IMAGE"],
    ]
    return {"last_node_id": 8, "last_link_id": 9, "nodes": nodes, "links": links, "version": 0.4}


def box(number, kind, inputs, outputs):
    return {
        "id": number,
        "type": kind,
        "pos": [420 * ((number - 1) % 4), 60 + 620 * ((number - 1) // 4)],
        "size": [380, 560],
        "mode": 0,
        "inputs": [{"name": name, "type": type_, "link": link} for name, (type_, link) in inputs.items()],
        "outputs": [{"name": name, "type": type_, "links": links} for name, (type_, links) in outputs.items()],
    }


def drawn_with_encoder():
    """The same, with the encoder wired to Face Crop."""
    workflow = drawn()
    workflow["nodes"].append(box(9, "SVFRLoadIdentityEncoder", {}, {"encoder": ("SVFR_ID_ENCODER", [10])}))
    crop = next(node for node in workflow["nodes"] if node["id"] == 4)
    crop["inputs"].append({"name": "encoder", "type": "SVFR_ID_ENCODER", "link": 10})
    workflow["links"].append([10, 9, 0, 4, len(crop["inputs"]) - 1, "SVFR_ID_ENCODER"])
    return {**workflow, "last_node_id": 9, "last_link_id": 10}


def check(seen, people, found, tracks):
    """What was pressed is kept, comes back, and is all that a run changes. tracks: the numbers of those chosen."""
    pressed = sorted([str(track), track in tracks] for track in found)
    assert seen["console"] == []
    assert f"{len(tracks)} of 4 faces chosen" in seen["text"]
    assert sorted(seen["shown"]) == pressed
    assert sorted(seen["again"]) == pressed
    assert seen["button"] == f"Choose faces... ({len(tracks)}/4)"
    assert "faces" not in seen["visible"]
    assert seen["api"]["4"]["inputs"]["faces"] == seen["kept"]
    history = people.run(seen["api"])
    assert history["status"]["status_str"] == "success", history["status"]
    assert changed(people, history) == {found[track] for track in tracks}


def test_only_faces_that_were_clicked_are_changed(dialog, people, crop, renderer):
    """Two people over two shots: one in the first shot, the other in the second; saved, opened again, run."""
    found = places(ask(people, graph(**crop)))
    tracks = [track for track, place in found.items() if place in {(0, 0), (1, 1)}]
    seen = dialog(drawn(), *map(str, tracks))
    assert "Shot 2, frames 12 to 23" in seen["text"]
    check(seen, people, found, tracks)


def test_a_person_is_taken_throughout_by_one_click(dialog, people, crop):
    scan = ask(people, with_encoder(graph(**crop)))
    persons = {face["track"]: face["person"] for shot in scan["shots"] for v in shot["views"] for face in v["faces"]}
    tracks = [track for track, person in persons.items() if person == persons[0]]
    assert len(tracks) == 2  # one in each shot
    seen = dialog(drawn_with_encoder(), "--throughout", "0")
    check(seen, people, places(scan), tracks)
