"""The pack as the Comfy Registry hands it out, unpacked into a ComfyUI of its own that reaches no network."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest
from support import archive
from support.comfy import PACK, running_server
from support.graphs import path_of, run, said
from support.workflows import node_of, read_workflow, to_api

from svfr_model.media import open_clip

OFFLINE = """
import socket
plain = socket.socket.connect
def connect(self, address):
    if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        print("REFUSED", address, flush=True)
        raise OSError("there is no network in this test")
    return plain(self, address)
socket.socket.connect = connect
NODE_CLASS_MAPPINGS = {}
"""
"""A pack that ComfyUI loads before ours, by its name."""


@pytest.fixture(scope="module")
def unpacked(comfyui, tmp_path_factory):
    """A server with the archive's files and nothing else of this repository."""
    if shutil.which("git") is None or not (archive.ROOT / ".git").exists():
        pytest.skip("this is no git checkout: nothing says which files are tracked")
    base = tmp_path_factory.mktemp("unpacked")
    packs = base / "custom_nodes"
    packs.mkdir()
    archive.write(base / "node.zip")
    with zipfile.ZipFile(base / "node.zip") as file:
        file.extractall(packs / PACK)
    (packs / "AAA_offline").mkdir()
    (packs / "AAA_offline" / "__init__.py").write_text(OFFLINE, encoding="utf-8")
    with running_server(comfyui, base) as running:
        assert not (packs / PACK).is_symlink()
        yield running


@pytest.mark.slow
def test_the_first_template_runs_from_the_archive_without_a_network(unpacked):
    info = json.loads(unpacked.get("/object_info"))
    graph = to_api(read_workflow(path_of("01")), info)
    history = run(unpacked, graph)
    assert history["status"]["status_str"] == "success", said(history)
    (shown,) = history["outputs"][node_of(graph, "SVFRCompare")]["svfr_compare"]
    before, after = (list(open_clip(unpacked.base / "temp" / shown[name])) for name in ("before", "after"))
    assert len(before) == len(after) == 29
    assert abs(before[4].astype(int) - after[4]).max() > 20, "a face was restored"
    assert "REFUSED" not in unpacked.log()
    for place in (("js", "compare.js"), ("docs", "SVFRCompare", "zh.md")):
        assert unpacked.get("/".join(["/extensions", PACK, *place]))
    templates = json.loads(unpacked.get("/workflow_templates"))[PACK]
    assert path_of("01").stem in templates
