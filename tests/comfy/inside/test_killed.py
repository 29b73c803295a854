"""A ComfyUI that is killed (SIGKILL) while a VIDEO node works: the same prompt goes on with what it left."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import folder_paths
import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from svfr_pack.nodes import phases
from svfr_pack.nodes.bundled import TINY
from svfr_pack.nodes.files import register_folder
from svfr_pack.nodes.load_all import LoadNetworks
from svfr_pack.nodes.phases import Phases
from svfr_pack.nodes.resume import name_of, parts_of
from svfr_pack.nodes.video import NETWORKS, RestoreVideo
from svfr_pack.nodes.video_files import work_memory
from svfr_pack.svfr_model.base.clip import ArrayClip
from svfr_pack.svfr_model.files.work import MANIFEST, WorkFolder
from svfr_pack.svfr_model.media import write_clip
from svfr_pack.svfr_model.media.options import VideoOptions
from svfr_pack.svfr_model.networks.identity import Identity
from test_nodes import FixedFaces, call

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

HERE = Path(__file__).parent
PROGRAM = """
import os, signal, sys
sys.path[:0] = {paths!r}
import conftest
import folder_paths, torch
torch.set_num_threads(1)
from svfr_pack.nodes.phases import Phases
plain, seen = Phases.__call__, []

def told(self, stage, done, total, preview=None):
    seen.extend([stage] if done else [])
    if done and (stage, seen.count(stage)) == {when!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(self, stage, done, total, preview)

Phases.__call__ = told
import test_killed
test_killed.run({folder!r})
"""
"""What a process does until it kills itself."""
GRAPH = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "in.mkv"}},
    "2": {"class_type": "SVFRLoadModel", "inputs": {"file": "svfr-tiny", "dtype": "fp32"}},
    "3": {"class_type": "LoraLoaderModelOnly", "inputs": {"model": ["2", 0], "lora_name": "a.safetensors"}},
    "9": {
        "class_type": "SVFRRestoreVideo",
        "inputs": {"video": ["1", 0], "model": ["3", 0], "vae": ["2", 1], "detector": ["2", 2], "encoder": ["2", 3]},
    },
}


def prepare(folder):
    """The places of a ComfyUI in a folder, and the node as its graph has it."""
    folder = Path(folder)
    folder_paths.temp_directory, folder_paths.output_directory = str(folder / "temp"), str(folder / "output")
    register_folder()
    phases.tell = lambda node, text: None
    RestoreVideo.hidden = SimpleNamespace(unique_id="9", prompt=copy.deepcopy(GRAPH))


def run(folder):
    """One prompt: the bytes of the restored video."""
    prepare(folder)
    model, vae, _, encoder, _ = call(LoadNetworks, networks=TINY, dtype="fp32")
    networks = {
        "model": model,
        "vae": vae,
        "encoder": encoder,
        "detector": FixedFaces((0.3, 0.25, 0.7, 0.75), size=(96, 120)),
    }
    video = InputImpl.VideoFromFile(str(Path(folder) / "in.mkv"))
    result = call(RestoreVideo, video=video, task="restore", **networks, codec="ffv1", steps=3, first_steps=2)[0]
    return Path(result.get_stream_source()).read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for place in ("temp_directory", "output_directory"):
        monkeypatch.setattr(folder_paths, place, getattr(folder_paths, place))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    monkeypatch.setattr(phases, "tell", phases.tell)
    monkeypatch.setattr(RestoreVideo, "hidden", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    picture = np.random.default_rng(3).integers(0, 200, (24, 30, 3)).repeat(4, 0).repeat(4, 1)
    frames = np.stack([picture + 2 * number for number in range(12)]).astype(np.uint8)
    write_clip(tmp_path / "in.mkv", ArrayClip(frames), options=VideoOptions(codec="ffv1"))
    prepare(tmp_path)
    yield tmp_path
    torch.set_num_threads(before)


def killed(folder, *when):
    """Run the prompt in a process that kills itself when a stage was told so often."""
    places = [str(HERE), str(Path(folder_paths.__file__).parent)]
    program = PROGRAM.format(paths=places, when=when, folder=str(folder))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr[-3000:]


def left_in(folder):
    return [path.name for path in (folder / "output").iterdir()]


def test_the_same_prompt_goes_on_to_the_same_bytes(folder, monkeypatch, caplog):
    killed(folder, "denoise", 2)
    (work,) = left_in(folder)
    assert (folder / "output" / work / MANIFEST).is_file()
    told, plain = [], Phases.__call__
    monkeypatch.setattr(Phases, "__call__", lambda self, *entry: told.append(entry[:2]) or plain(self, *entry))
    with caplog.at_level(logging.WARNING):
        resumed = run(folder)
    assert "in.mkv (SVFR Restore Video, node 9): a killed run has left its work, which goes on" in caplog.text
    told = [entry for entry in told if entry[1]]
    assert [done for stage, done in told if stage == "denoise"] == [2, 3], "the step at hand, and the last"
    assert not [stage for stage, _ in told if stage in ("detect", "crop", "encode", "first denoise")]
    assert left_in(folder) == []
    assert run(folder) == resumed


def test_what_was_changed_is_named_and_nothing_is_mixed(folder):
    video = InputImpl.VideoFromFile(str(folder / "in.mkv"))

    def parts(**given):
        return parts_of(RestoreVideo, video, NETWORKS, {"seed": 5, "mask": torch.zeros(1, 4, 4), **given})

    known = parts()
    assert parts() == known
    assert parts(seed=6)["options"] != known["options"]
    assert parts(mask=torch.ones(1, 4, 4))["options"] != known["options"]
    faces = [Identity(torch.full((49, 8), value), torch.zeros(512)) for value in (0.0, 1.0)]
    assert parts(identity=faces[0])["options"] != parts(identity=faces[1])["options"]
    RestoreVideo.hidden.prompt["3"]["inputs"]["lora_name"] = "b.safetensors"
    assert parts()["networks"]["3"]["lora_name"] == "b.safetensors"
    assert known["networks"]["3"] == {"node": "LoraLoaderModelOnly", "model": ["2", 0], "lora_name": "a.safetensors"}
    assert set(known["networks"]) == {"2", "3", "wires"}, "nothing that does not lead to a network"
    trimmed = video.as_trimmed(start_time=0.1, duration=0.2)
    assert parts_of(RestoreVideo, trimmed, NETWORKS, {})["source"] != known["source"]
    RestoreVideo.hidden.unique_id = "10"
    assert parts() is None, "a node that is not in the prompt"


def test_another_weights_file_of_the_same_name_is_another(folder, monkeypatch, tmp_path):
    place = tmp_path / "loras"
    place.mkdir()
    (place / "a.safetensors").write_bytes(b"1")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(place)], {".safetensors"}))
    video = InputImpl.VideoFromFile(str(folder / "in.mkv"))
    known = parts_of(RestoreVideo, video, NETWORKS, {})["files"]
    assert known["loras/a.safetensors"][0] == 1
    (place / "a.safetensors").write_bytes(b"22")
    assert parts_of(RestoreVideo, video, NETWORKS, {})["files"] != known


def test_work_that_nobody_goes_on_with_is_removed_after_a_week(folder, caplog):
    video = InputImpl.VideoFromFile(str(folder / "in.mkv"))
    parts = parts_of(RestoreVideo, video, NETWORKS, {})
    places = {}
    for name, days, known in (("old", 8, parts), ("new", 6, parts), ("of the command line", 8, {"source": "a"})):
        work = WorkFolder(folder / "output" / name, known)
        (folder / "output").mkdir(exist_ok=True)
        work.__enter__().save("stage", 1)
        work.keep()
        work.discard()
        places[name] = work.path
        for file in work.path.rglob("*.json"):
            os.utime(file, (time.time() - days * 86400,) * 2)
    with caplog.at_level(logging.WARNING), work_memory(name_of(RestoreVideo, video), parts):
        pass
    assert [name for name, path in places.items() if path.exists()] == ["new", "of the command line"]
    assert f"{places['old']}: removed; a killed run had left it, and none has gone on with it for 7 days" in caplog.text


def test_where_another_comfyui_is_at_the_same_work_it_is_done_all_the_same(folder):
    parts = {"node": "SVFRRestoreVideo"}
    with work_memory("a", parts) as first, work_memory("a", parts) as second:
        assert first.folder != second.folder
    assert left_in(folder) == []
