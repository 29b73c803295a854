"""Every shipped workflow, converted from the very file that ships, runs in a real ComfyUI."""

from __future__ import annotations

import hashlib
import shutil

import numpy as np
import pytest
from support.events import listen
from support.graphs import CHANGES, FOLDER, FPS, FRAMES, OF_TWO, graph_of, run, said
from support.workflows import node_of

from svfr_model.media import open_clip

NAMES = sorted(path.stem.split()[0] for path in FOLDER.glob("*.json"))
SIZE = {**dict.fromkeys(OF_TWO, (256, 128)), **dict.fromkeys(("07", "08", "09"), (64, 64))}
COUNT = {"10": 8}
SOUND = dict.fromkeys(("01", "02", "03", "11", "12", "13", "14"), 2)
"""Seconds of sound, where not as much as the frames: the file's own, which goes on after them, is kept whole."""


def saved_video(history, base):
    """The path of the one video a run has saved."""
    found = [
        base / entry["type"] / entry["subfolder"] / entry["filename"]
        for output in history["outputs"].values()
        for kind in ("images", "video")
        for entry in output.get(kind, [])
        if entry["filename"].endswith(".mp4")
    ]
    assert len(found) == 1, history["status"]
    return found[0]


def digest(path):
    return hashlib.sha256(b"".join(np.ascontiguousarray(frame).tobytes() for frame in open_clip(path))).hexdigest()


def sound_seconds(path):
    import av

    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_there_is_a_workflow_for_every_job():
    assert sorted(CHANGES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_executes(name, footage, object_info):
    history = run(footage, graph_of(name, object_info))
    assert history["status"]["status_str"] == "success", said(history)
    path = saved_video(history, footage.base)
    clip, count = open_clip(path), COUNT.get(name, FRAMES)
    assert (clip.width, clip.height) == SIZE.get(name, (128, 128))
    assert clip.fps == FPS
    assert len(list(clip)) == count
    assert sound_seconds(path) == pytest.approx(SOUND.get(name, count / FPS), abs=0.05)


@pytest.mark.parametrize("name", ["11", "12"])
def test_stc_keeps_frames_and_rate_of_a_real_clip(name, footage, real_clip, object_info):
    shutil.copy(real_clip, footage.base / "input" / "real.mp4")
    graph = graph_of(name, object_info, "real.mp4")
    history = run(footage, graph)
    assert history["status"]["status_str"] == "success", said(history)
    before, after = open_clip(real_clip), open_clip(saved_video(history, footage.base))
    assert (after.width, after.height, after.fps) == (before.width, before.height, before.fps)
    assert len(list(after)) == len(list(before)) == 85
    assert digest(saved_video(history, footage.base)) != digest(real_clip)


def test_one_seed_gives_one_result_and_another_another(footage, object_info):
    shutil.copy(footage.base / "input" / "input.mp4", footage.base / "input" / "copy.mp4")  # nothing is cached of it
    first, again, other = (
        digest(saved_video(sampled(footage, graph_of("06", object_info, video, **changes)), footage.base))
        for video, changes in (
            ("input.mp4", {"SVFRRestore.seed": 5}),
            ("copy.mp4", {"SVFRRestore.seed": 5}),
            ("input.mp4", {"SVFRRestore.seed": 6}),
        )
    )
    assert first == again
    assert first != other


def sampled(server, graph):
    """Run a graph whose sampling nothing is cached of."""
    history = run(server, graph)
    assert history["status"]["status_str"] == "success", said(history)
    (cached,) = [data["nodes"] for kind, data in history["status"]["messages"] if kind == "execution_cached"]
    assert node_of(graph, "SVFRRestore") not in cached
    return history


def test_an_interrupted_run_stops_in_its_step_and_the_next_one_runs(comfyui, footage, object_info, record_property):
    graph = graph_of("04", object_info, preset="custom", steps=1000, first_steps=1000)
    sampler = node_of(graph, "SVFRRestore")
    events = listen(comfyui, footage, graph, "--interrupt", sampler, "svfr.preview")
    told = {kind: (seconds, data) for seconds, kind, data in events}
    _, (_, interrupted) = told["interrupt"], told["execution_interrupted"]
    assert interrupted["node_id"] == sampler
    done = [data["value"] for _, kind, data in events if kind == "progress" and data["node"] == sampler]
    assert done[-1] - told["interrupt"][1] <= 1  # the step during which the server was asked may end
    shown = told["svfr.preview"][1]
    assert shown["node"] == sampler
    assert len(shown["frames"]) > 1  # for the page to play
    record_property("seconds", told["execution_interrupted"][0] - told["interrupt"][0])
    history = run(footage, graph_of("04", object_info, preset="custom", first_steps=1))
    assert history["status"]["status_str"] == "success", said(history)
