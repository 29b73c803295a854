"""One ComfyUI server for all tests here, with tiny random networks and short clips in it."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from support.comfy import ROOT, running_server
from support.graphs import FRAMES, write_clip, write_painted
from support.random_networks import write_random_stc_weights, write_random_weights

from svfr_model.media import open_clip

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """The running server."""
    base = tmp_path_factory.mktemp("comfyui")
    models = base / "models" / "svfr"
    models.mkdir(parents=True)
    write_random_weights(models)
    write_random_stc_weights(models)
    (base / "extra").mkdir()
    (base / "extra" / "elsewhere.safetensors").touch()
    paths = base / "paths.yaml"
    paths.write_text(f"tests:\n  svfr: {base / 'extra'}\n")
    options = ("--extra-model-paths-config", paths, "--preview-method", "latent2rgb")
    with running_server(comfyui, base, *options) as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    """The browser's path."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no Chromium to open the frontend in: none of {', '.join(BROWSERS)} is on the PATH")
    return found


@pytest.fixture(scope="session")
def object_info(server):
    """What the server says of every node."""
    return json.loads(server.get("/object_info"))


@pytest.fixture(scope="session")
def footage(server, portrait_clip, yunet_path):
    """The server with a detector, clips of a face with sound (one face, and two), a painted frame and a portrait."""
    shutil.copy(yunet_path, server.base / "models" / "svfr" / "face_detection_yunet_2023mar.onnx")
    folder = server.base / "input"
    frames = [frame for _, frame in zip(range(FRAMES), open_clip(portrait_clip), strict=False)]
    write_clip(folder / "input.mp4", frames)
    write_clip(folder / "two.mp4", [np.concatenate([frame, frame[:, ::-1]], axis=1) for frame in frames])
    write_painted(folder / "frame.png", frames[0])
    write_painted(folder / "portrait.png", frames[-1], painted=False)
    return server


@pytest.fixture(scope="session")
def browse(comfyui, chromium):
    """A function that opens workflows of a server, see browser.py, and returns what it tells."""

    def look(server, folder, *arguments):
        """arguments: see browser.py."""
        server.post("/settings", {"Comfy.TutorialCompleted": True})  # otherwise a tour of ComfyUI opens
        script = ROOT / "tests" / "support" / "browser.py"
        command = [comfyui.python, script, chromium, server.url, folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return look


@pytest.fixture(params=["canvas", "Nodes 2.0"])
def renderer(request, server):
    """Each of the frontend's two renderers."""
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param == "Nodes 2.0"})
    yield request.param
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})
