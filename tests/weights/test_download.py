"""Downloads: on consent only, whole, continued where they broke, and with the login going to the hub alone."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from support.hub import CONTENT, Hub

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.weights import REGISTRY, download


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    server = Hub()
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", server.page)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("svfr_model.weights.hub._CHUNK", 700)
    monkeypatch.setattr("svfr_model.weights.hub._PAUSE_SECONDS", 0.0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


fetch = partial(download, ["id_linear"], accept_license=True)


def test_nothing_is_fetched_without_consent(hub, tmp_path):
    with pytest.raises(InputError) as caught:
        download(["unet", "vae"], tmp_path / "weights", accept_license=False)
    for role in ("unet", "vae"):
        assert REGISTRY[role].licence in str(caught.value)
    assert "--accept-license" in str(caught.value)
    assert not hub.requests
    assert not (tmp_path / "weights").exists()


def test_a_download_arrives_whole_with_progress_and_the_login_goes_to_the_hub_only(hub, tmp_path):
    seen = []
    paths = fetch(tmp_path / "weights", callback=lambda *event: seen.append(event))
    assert paths == [tmp_path / "weights/id_linear.pth"]
    assert paths[0].read_bytes() == CONTENT
    assert list(paths[0].parent.iterdir()) == paths
    assert seen[-1] == ("download id_linear", 5000, 5000, None)
    assert [event[1] for event in seen] == [700, 1400, 2100, 2800, 3500, 4200, 4900, 5000]
    (method, page, asked), (_, _, fetched) = hub.requests
    assert (method, page) == ("HEAD", "/fffiloni/SVFR/resolve/main/face_restoration/id_linear.pth")
    assert {key.lower(): value for key, value in asked.items()}["authorization"] == "Bearer hf_secret"
    assert "Authorization" not in fetched


@pytest.fixture
def released(hub, monkeypatch):
    """A registered file that lies elsewhere than on Hugging Face."""
    entry = replace(REGISTRY["stc_bfr"], address=f"http://127.0.0.1:{hub.server_port}/release/ckpt-bfvr.pth")
    monkeypatch.setitem(REGISTRY, "stc_bfr", entry)
    return entry


def test_a_file_with_an_address_of_its_own_is_fetched_there_without_login_and_continued(hub, released, tmp_path):
    hub.break_after = [1234]
    (path,) = download(["stc_bfr"], tmp_path, accept_license=True)
    assert path.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [tmp_path / "ckpt-bfvr.pth"]
    assert not any("Authorization" in headers for _, _, headers in hub.requests)
    assert hub.ranges[-1] is not None


def test_an_address_that_does_not_answer_is_named(hub, released, tmp_path):
    hub.status = 404
    with pytest.raises(WeightsError, match=re.escape(released.address)):
        download(["stc_bfr"], tmp_path, accept_license=True)


def test_the_login_is_not_carried_along_to_where_the_hub_redirects(hub, tmp_path):
    hub.names_storage = False
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    sent = [(headers["Host"].split(":")[0], headers.get("Authorization")) for _, _, headers in hub.requests[1:]]
    assert sent == [("127.0.0.1", "Bearer hf_secret"), ("localhost", None)]


def test_a_file_that_is_there_is_left_alone_unless_it_is_damaged(hub, tmp_path):
    path = tmp_path / "id_linear.pth"
    torch.save({"mine": torch.zeros(100)}, path)
    mine = path.read_bytes()
    assert fetch(tmp_path) == [path]
    assert path.read_bytes() == mine
    path.write_bytes(mine[:500])
    with pytest.raises(WeightsError, match=r"id_linear\.pth already exists, but is truncated: .*Delete or rename"):
        fetch(tmp_path)
    assert path.read_bytes() == mine[:500]
    assert not hub.requests


def test_a_broken_connection_is_continued_where_it_broke(hub, tmp_path):
    hub.break_after = [2100, 1000]
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=2100-", "bytes=3100-"]


def test_an_interrupted_download_goes_on_the_next_time(hub, tmp_path):
    hub.break_after = [2100, 0]
    with pytest.raises(WeightsError, match="2100 of 5000 bytes"):
        fetch(tmp_path)
    assert not (tmp_path / "id_linear.pth").exists()
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=2100-", "bytes=2100-"]
    assert [path.name for path in tmp_path.iterdir()] == ["id_linear.pth"]


def test_cancelling_leaves_no_file_under_the_final_name(hub, tmp_path):
    class Cancelled(Exception):
        pass

    def cancel(stage, done, total, preview):
        if done >= 2000:
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(tmp_path, callback=cancel)
    assert not (tmp_path / "id_linear.pth").exists()
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=2100-"]


def test_a_server_without_ranges_makes_it_start_again(hub, tmp_path):
    hub.break_after, hub.knows_ranges = [2100], False
    assert fetch(tmp_path)[0].read_bytes() == CONTENT


def test_a_newer_version_does_not_continue_an_older_beginning(hub, tmp_path):
    hub.break_after = [2100, 0]
    with pytest.raises(WeightsError):
        fetch(tmp_path)
    hub.content = CONTENT[::-1]
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    assert fetch(tmp_path)[0].read_bytes() == CONTENT[::-1]
    assert [path.name for path in tmp_path.iterdir()] == ["id_linear.pth"]


def test_damaged_bytes_are_refused_and_removed(hub, tmp_path):
    hub.content = CONTENT[:-1] + b"?"
    with pytest.raises(WeightsError, match="SHA-256"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [401, 404, 500])
def test_a_refusal_names_the_address(hub, tmp_path, status):
    hub.status = status
    with pytest.raises(WeightsError, match=re.escape(REGISTRY["id_linear"].url)):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_connection_names_the_address(hub, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda repository, path: f"http://127.0.0.1:9/{path}")
    with pytest.raises(WeightsError, match=re.escape(REGISTRY["id_linear"].url)):
        fetch(tmp_path)


def test_a_server_that_gives_little_at_a_time_is_given_up_with_what_came(hub, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("svfr_model.weights.hub._PAUSE_SECONDS", 1.0)
    monkeypatch.setattr("time.sleep", pauses.append)
    hub.break_after = [10] * 1000
    with pytest.raises(WeightsError, match=r"5 connections in a row.*50 of 5000 bytes are kept"):
        fetch(tmp_path)
    assert pauses == [2.0, 4.0, 8.0, 16.0]
    assert len(hub.ranges) == 5
    hub.break_after = []
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert hub.ranges[-1] == "bytes=50-"


def test_many_breaks_that_each_bring_enough_are_no_reason_to_stop(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("svfr_model.weights.hub._LEAST", 400)
    hub.break_after = [500] * 9
    assert fetch(tmp_path)[0].read_bytes() == CONTENT
    assert len(hub.ranges) == 10


def test_a_connection_that_is_too_slow_is_given_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("svfr_model.weights.hub._CHUNK", 5000)
    monkeypatch.setattr("svfr_model.weights.hub._SLOW_SECONDS", 0.1)
    hub.pieces = 10
    with pytest.raises(WeightsError, match=r"only \d+ bytes arrived in 0\.1 seconds"):
        fetch(tmp_path)
    assert not (tmp_path / "id_linear.pth").exists()


def test_more_bytes_than_stated_are_not_kept(hub, tmp_path):
    hub.content = CONTENT * 3
    with pytest.raises(WeightsError, match="more than the 5000 bytes"):
        fetch(tmp_path)
    assert not (tmp_path / "id_linear.pth").exists()
    assert all(path.stat().st_size <= 5000 for path in tmp_path.iterdir())


@pytest.mark.parametrize("storage", ["http://files.example", "ftp://localhost", "file:///etc"])
def test_only_https_is_followed(hub, tmp_path, storage):
    hub.storage = storage
    with pytest.raises(WeightsError, match=f"{storage}.* was not downloaded: without https"):
        fetch(tmp_path)
    hub.names_storage = False
    with pytest.raises(WeightsError, match=f"{storage}.* (was not downloaded: without https|is not allowed)"):
        fetch(tmp_path)
    assert not list(tmp_path.glob("*.pth"))


@pytest.mark.parametrize(("size", "checksum"), [(4999, ""), (5000, "0" * 64)])
def test_what_the_registry_knows_of_a_file_is_checked_too(hub, tmp_path, monkeypatch, size, checksum):
    monkeypatch.setitem(REGISTRY, "id_linear", replace(REGISTRY["id_linear"], size=size, sha256=checksum))
    with pytest.raises(WeightsError, match=r"it is a different file|SHA-256"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_told_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4000))
    with pytest.raises(InputError, match="room for 4000 bytes, but 5000 bytes are still needed"):
        fetch(tmp_path)
    assert not list(tmp_path.iterdir())
    assert not hub.ranges


def test_a_file_in_place_of_the_folder_and_a_folder_in_place_of_the_file(hub, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be created as a folder.*--weights"):
        fetch(tmp_path / "file")
    (tmp_path / "id_linear.pth").mkdir()
    with pytest.raises(InputError, match=r"id_linear\.pth is in the way"):
        fetch(tmp_path)
    assert not hub.requests
