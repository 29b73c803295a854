"""One ComfyUI server for all tests here, with tiny random networks and short clips in it."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from support.comfy import running_server
from support.video import encode

from svfr_model.tiny import write_random_stc_weights, write_random_weights
from svfr_model.video import open_clip

FRAMES = 12
FPS = 12
STC_FILES = ("ckpt-bfvr.pth", "ckpt-defilcker.pth", "ckpt-deflickersd.pth")
PLACEHOLDERS = ("unet.pth", "id_linear.pth", "insightface_glint360k.pth", *STC_FILES)
"""Published names for which the tiny networks lie under another ending; the frontend looks for these."""


@pytest.fixture(scope="session")
def server(comfyui, tmp_path_factory):
    """The running server."""
    base = tmp_path_factory.mktemp("comfyui")
    models = base / "models" / "svfr"
    models.mkdir(parents=True)
    write_random_weights(models)
    write_random_stc_weights(models)
    for name in PLACEHOLDERS:
        (models / name).touch()
    (base / "extra").mkdir()
    (base / "extra" / "elsewhere.safetensors").touch()
    paths = base / "paths.yaml"
    paths.write_text(f"tests:\n  svfr: {base / 'extra'}\n")
    options = ("--extra-model-paths-config", paths, "--preview-method", "latent2rgb")
    with running_server(comfyui, base, *options) as running:
        yield running


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


def write_clip(path, frames):
    """An mp4 of (H,W,3) frames with two seconds of sound."""
    pictures = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(format="yuv420p")
        for frame in frames
    ]
    encode(path, pictures, rate=Fraction(FPS), audio={"codec": "aac", "seconds": 2})


def write_painted(path, frame, *, painted=True):
    """A picture with a hole in its alpha channel where ComfyUI's mask editor would have painted."""
    from PIL import Image

    alpha = np.full(frame.shape[:2], 255, np.uint8)
    if painted:
        height, width = alpha.shape
        alpha[height // 2 : height // 2 + height // 8, width // 3 : width // 2] = 0
    Image.fromarray(np.dstack([frame, alpha])).save(path)
