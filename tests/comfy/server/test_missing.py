"""Missing weights as the artist meets them: one error for each, a command that works where it is read, any ending."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import urllib.error

import pytest
from support.comfy import PACK, ROOT, running_server
from support.random_networks import write_random_weights

from svfr_model.weights import embedded_set

BUNDLED = "svfr-tiny (bundled, drawn faces only)"


@pytest.fixture(scope="module")
def bare(comfyui, tmp_path_factory):
    """A server as it is after the installation: no weights at all."""
    base = tmp_path_factory.mktemp("bare")
    with running_server(comfyui, base) as running:
        (base / "input" / "input.mp4").touch()
        yield running


@pytest.fixture(scope="module")
def bare_info(bare):
    return json.loads(bare.get("/object_info"))


def errors(server, graph):
    """What the server says of each node of a graph that it refuses: (class, error) pairs."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.run(graph)
    told = json.loads(refused.value.read())["node_errors"]
    return [(node["class_type"], error) for node in told.values() for error in node["errors"]]


def restore_graph(info):
    """The loaders of the single networks, each with the published file's name."""
    kinds = ("SVFRLoadModel", "SVFRLoadVAE", "SVFRLoadIdentityEncoder")
    graph = {str(number): {"class_type": kind, "inputs": defaults(info[kind])} for number, kind in enumerate(kinds)}
    for number in range(len(kinds)):
        graph[f"shown {number}"] = {"class_type": "PreviewAny", "inputs": {"source": [str(number), 0]}}
    return graph


def test_each_missing_file_is_told_once(bare, bare_info):
    told = errors(bare, restore_graph(bare_info))
    assert sorted(kind for kind, _ in told) == ["SVFRLoadIdentityEncoder", "SVFRLoadModel", "SVFRLoadVAE"]
    text = {kind: error["details"] for kind, error in told}
    files = ("unet.pth", "svd_vae.safetensors", "insightface_glint360k.pth", "id_linear.pth")
    for file in files:
        assert sum(f"{file} " in details.split(" missing;")[0] + " " for details in text.values()) == 1, file
    for details in text.values():
        assert str(bare.base / "models" / "svfr") in details
        assert "licence: " in details


def test_one_missing_file_of_two_is_one_error(bare):
    graph = {
        "1": {
            "class_type": "SVFRLoadIdentityEncoder",
            "inputs": {"recognizer_name": BUNDLED, "projection_name": "id_linear.pth"},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    ((kind, error),) = errors(bare, graph)
    assert kind == "SVFRLoadIdentityEncoder"
    assert error["details"].startswith("id_linear.pth is missing; ")
    assert "insightface" not in error["details"]


def test_the_quoted_command_works_in_comfyuis_folder(bare, bare_info, comfyui):
    """Without the consent that it ends with nothing is fetched: it then tells the licence and ends with 2."""
    details = dict(errors(bare, restore_graph(bare_info)))["SVFRLoadIdentityEncoder"]["details"]
    (line,) = [line for line in details.splitlines() if "--accept-license" in line]
    words = shlex.split(line)
    assert words[2:6] == ["weights", "download", "insightface_glint360k", "id_linear"]
    assert words[-2:] == ["--weights", str(bare.base / "models" / "svfr")]
    words.remove("--accept-license")
    done = subprocess.run(words, cwd=comfyui.path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Nothing was downloaded" in done.stderr
    assert "id_linear.pth" in done.stderr


@pytest.mark.parametrize("place", ["elsewhere", "the pack"])
def test_the_command_line_starts_by_its_path(place, tmp_path):
    import sys

    folder = tmp_path if place == "elsewhere" else ROOT
    command = [sys.executable, str(ROOT / "svfr_model"), "weights", "list", "--weights", str(tmp_path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unet: not found" in done.stdout


@pytest.mark.parametrize(("there", "named"), [(".safetensors", ".pth"), (".pth", ".safetensors")])
def test_either_ending_will_do(there, named, server, tmp_path):
    """Both are in the list, or the frontend would call the file missing; and the file is found."""
    write_random_weights(tmp_path)
    folder = server.base / "models" / "diffusion_models"
    folder.mkdir(exist_ok=True)
    if there == ".pth":
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(embedded_set("svfr-tiny")["unet"]), folder / "other.pth")
    else:
        shutil.copy(tmp_path / "unet.safetensors", folder / "other.safetensors")
    graph = {
        "1": {"class_type": "SVFRLoadModel", "inputs": {"model_name": f"other{named}", "dtype": "fp32"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    history = server.run(graph)
    if there == ".pth":  # a pickle says nothing of its architecture, so that the published one is demanded
        (failed,) = [data for kind, data in history["status"]["messages"] if kind == "execution_error"]
        assert f"other{there} cannot be used as SVFR's denoising UNet" in failed["exception_message"]
        assert failed["exception_type"] == "WeightsError"
    else:
        assert history["status"]["status_str"] == "success"
    (folder / f"other{there}").unlink()


def test_both_endings_of_a_published_file_are_listed(object_info, server):
    (kind, options) = object_info["SVFRLoadIdentityEncoder"]["input"]["required"]["projection_name"]
    assert kind == "COMBO"
    assert {"id_linear.safetensors", "id_linear.pth", BUNDLED} <= set(options["options"])


def test_svfr_tiny_restores_without_any_file(bare, bare_info):
    """The newcomer's way: bundled networks, and the node says that they only know drawn faces."""
    graph = {
        "1": {"class_type": "SVFRLoadModel", "inputs": {"model_name": BUNDLED, "dtype": "auto"}},
        "2": {"class_type": "SVFRLoadVAE", "inputs": {"vae_name": BUNDLED, "dtype": "auto"}},
        "3": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": 0x6E6E6E}},
        "4": {
            "class_type": "SVFRTaskVector",
            "inputs": {"preset": "restore + inpaint", "restore": True, "colorize": True, "inpaint": False},
        },
        "5": {
            "class_type": "SVFRSampler",
            "inputs": {
                **{"model": ["1", 0], "vae": ["2", 0], "crops": ["3", 0], "task": ["4", 0]},
                **defaults(bare_info["SVFRSampler"]),
                "steps": 2,
            },
        },
        "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "tiny"}},
    }
    history = bare.run(graph)
    assert history["status"]["status_str"] == "success", history["status"]
    texts = {number: output["text"] for number, output in history["outputs"].items() if "text" in output}
    assert len(history["outputs"]["6"]["images"]) == 4
    assert "drawn faces" in texts["1"][0]
    assert "ignored" in texts["4"][0]
    assert "Convert Image to Mask" in texts["5"][0]  # inpaint without a mask
    assert re.search(rf"{PACK}", bare.log())


def defaults(info):
    from support.workflows import widgets

    return {name: options["default"] for name, options in widgets(info)}
