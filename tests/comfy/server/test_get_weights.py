"""SVFR Get Weights in a running server, beside a stand-in for Hugging Face: consent, progress, hashes and cancel."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest
from support.comfy import running_server
from support.events import listen
from support.hub import CONTENT, Hub

from svfr_model.weights import REGISTRY

FILES = ("unet.pth", "id_linear.pth", "insightface_glint360k.pth", "svd_vae.safetensors")


@pytest.fixture(scope="module")
def hub():
    server = Hub()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def bare(comfyui, hub, tmp_path_factory):
    """A server without weights whose Hugging Face is the stand-in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.setenv("NO_PROXY", "*")
        with running_server(comfyui, tmp_path_factory.mktemp("bare")) as running:
            yield running


@pytest.fixture
def folder(bare, hub):
    """The server's models/svfr, empty, and the stand-in as it answers by default."""
    hub.requests.clear()
    hub.pieces, hub.pause, hub.etag = None, 0.0, hashlib.sha256(CONTENT).hexdigest()
    place = bare.base / "models" / "svfr"
    for path in place.glob("*") if place.exists() else ():
        path.unlink()
    for path in place.glob(".*.partial"):
        path.unlink()
    return place


def graph(*, accept, files="SVFR"):
    return {"1": {"class_type": "SVFRGetWeights", "inputs": {"files": files, "accept_licences": accept}}}


def test_without_consent_it_only_lists(bare, hub, folder):
    history = bare.run(graph(accept=False))
    assert history["status"]["status_str"] == "success", history["status"]
    (shown,) = history["outputs"]["1"]["svfr_table"]
    assert {row[0]["text"] for row in shown["rows"]} == set(FILES)
    assert shown["head"] == "0 of 4 files are there"
    assert [row[-1] for row in shown["rows"]] == ["missing"] * 4
    (text,) = history["outputs"]["1"]["text"]
    for entry in (REGISTRY[role] for role in ("unet", "id_linear", "insightface_glint360k", "vae")):
        assert f"{entry.name}: {entry.purpose}" in text
        assert f"source: {entry.url}" in text
        assert f"licence: {entry.licence}" in text
    assert "unet.pth: SVFR's denoising UNet, about 2.84 GiB, missing" in text
    assert "Nothing was downloaded." in text
    assert not hub.requests
    assert not folder.exists() or not list(folder.iterdir())


def test_with_consent_what_is_missing_arrives_whole_with_progress(comfyui, bare, hub, folder):
    folder.mkdir(exist_ok=True)
    (folder / "unet.pth").write_bytes(b"PK of my own")
    events = listen(comfyui, bare, graph(accept=True))
    assert events[-1][1] == "execution_success"
    for name in FILES[1:]:
        assert (folder / name).read_bytes() == CONTENT, name
    assert (folder / "unet.pth").read_bytes() == b"PK of my own"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    told = [data for _, kind, data in events if kind == "progress"]
    assert told[-1]["value"] == told[-1]["max"] == 3 * len(CONTENT)
    options = json.loads(bare.get("/object_info/SVFRLoadModel"))["SVFRLoadModel"]["input"]["required"]["model_name"]
    assert options[1]["default"] == "unet.pth"


def test_a_second_run_fetches_nothing_and_sees_what_was_deleted(bare, hub, folder):
    bare.run(graph(accept=True))
    hub.requests.clear()
    history = bare.run(graph(accept=True))
    assert not hub.requests
    assert history["outputs"]["1"]["svfr_table"][0]["head"] == "4 of 4 files are there"
    (folder / "id_linear.pth").unlink()
    bare.run(graph(accept=True))
    assert {path for _, path, _ in hub.requests if path.startswith("/fffiloni")} == {
        "/fffiloni/SVFR/resolve/main/face_restoration/id_linear.pth"
    }
    assert (folder / "id_linear.pth").read_bytes() == CONTENT


def test_what_has_another_hash_is_refused_and_removed(comfyui, bare, hub, folder):
    hub.etag = "0" * 64
    _, kind, data = listen(comfyui, bare, graph(accept=True))[-1]
    assert kind == "execution_error"
    assert data["exception_type"] == "WeightsError"
    assert "its SHA-256 is not the stated one" in data["exception_message"]
    assert list(folder.iterdir()) == []


def test_what_has_another_size_than_the_registry_says_is_not_fetched(comfyui, bare, hub, folder):
    _, kind, data = listen(comfyui, bare, graph(accept=True, files="face detector: SCRFD"))[-1]
    assert kind == "execution_error"
    assert "has 5000 bytes instead of 16923827" in data["exception_message"]
    assert [method for method, _, _ in hub.requests] == ["HEAD"]


def test_what_is_in_the_way_is_told_in_words_for_comfyui(comfyui, bare, hub, folder):
    (folder / "id_linear.pth").mkdir(parents=True)
    try:
        _, kind, data = listen(comfyui, bare, graph(accept=True))[-1]
    finally:
        (folder / "id_linear.pth").rmdir()
    assert kind == "execution_error"
    assert "id_linear.pth is in the way: it is not a file" in data["exception_message"]
    assert "in ComfyUI extra_model_paths.yaml" in data["exception_message"]


def test_cancel_ends_within_a_second_though_the_network_is_silent_and_the_next_run_goes_on(comfyui, bare, hub, folder):
    hub.pieces, hub.pause = 1000, 4.0  # after each piece the connection is silent for four seconds
    events = listen(comfyui, bare, graph(accept=True), "--interrupt", "1", "progress")
    when = {kind: seconds for seconds, kind, _ in events}
    assert events[-1][1] == "execution_interrupted"
    assert when["execution_interrupted"] - when["interrupt"] < 1.0
    assert not (folder / "unet.pth").exists()
    hub.pieces, hub.pause = None, 0.0
    history = bare.run(graph(accept=True))
    assert history["status"]["status_str"] == "success", history["status"]
    assert (folder / "unet.pth").read_bytes() == CONTENT
    assert not list(folder.glob(".*.partial"))
