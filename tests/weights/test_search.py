"""How weight files are found: the registry, the folders searched, and what ships with the pack."""


from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path

import pytest

from svfr_model.base.errors import InputError, WeightsError
from svfr_model.weights import (
    REGISTRY,
    default_folders,
    embedded,
    embedded_set,
    find,
    weight_file,
)
from svfr_model.weights.search import comfyui_root


def test_every_entry_says_what_a_person_needs_to_decide():
    assert set(REGISTRY) >= {"unet", "id_linear", "insightface_glint360k", "yoloface_v5m", "vae", "yunet"}
    for role, entry in REGISTRY.items():
        assert entry.role == role
        assert entry.licence
        assert entry.purpose
        assert "svfr" in entry.comfyui_folders
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository)
        assert Path(entry.path).suffix == Path(entry.name).suffix
    assert REGISTRY["unet"].url == "https://huggingface.co/fffiloni/SVFR/blob/main/face_restoration/unet.pth"


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize("name", ["unet.safetensors", "unet.pth", "unet.pt", "face_restoration/unet.pth"])
def test_a_state_dict_is_found_in_each_format_and_in_a_copy_of_its_repository(tmp_path, name):
    path = touch(tmp_path / "second" / name)
    assert find("unet", [tmp_path / "first", tmp_path / "second"]) == path


def test_folders_are_searched_in_order_and_comfyui_last(tmp_path):
    last = touch(tmp_path / "ComfyUI/models/diffusion_models/unet.safetensors")
    search = partial(find, "unet", [tmp_path / "a", tmp_path / "b"], comfyui=tmp_path / "ComfyUI")
    assert search() == last
    own = touch(tmp_path / "ComfyUI/models/svfr/unet.pth")
    assert search() == own
    second = touch(tmp_path / "b/unet.pth")
    assert search() == second
    first = touch(tmp_path / "a/unet.pth")
    assert search() == first


def test_a_detector_is_found_under_its_own_name_only(tmp_path):
    touch(tmp_path / "det_10g.pth")
    with pytest.raises(WeightsError):
        find("scrfd", [tmp_path])
    path = touch(tmp_path / "det_10g.onnx")
    assert find("scrfd", [tmp_path]) == path


def test_yunet_ships_and_a_file_of_the_users_replaces_it(tmp_path):
    shipped = find("yunet", [tmp_path])
    assert shipped == embedded("yunet")
    assert hashlib.sha256(shipped.read_bytes()).hexdigest() in (shipped.parent / "README.md").read_text()
    licence = (shipped.parent / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    comfyui = tmp_path / "ComfyUI"
    installed = touch(comfyui / "models/svfr/face_detection_yunet_2023mar.onnx")
    assert find("yunet", [tmp_path], comfyui=comfyui) == installed
    own = touch(tmp_path / "face_detection_yunet_2023mar.onnx")
    assert find("yunet", [tmp_path], comfyui=comfyui) == own


def test_svfr_tiny_is_a_set_that_never_stands_in_for_the_published_networks(tmp_path):
    tiny_set = embedded_set("svfr-tiny")
    assert set(tiny_set) == {"unet", "vae", "insightface_glint360k", "id_linear"}
    assert {path.parent.name for path in tiny_set.values()} == {"svfr-tiny"}
    for role in tiny_set:
        assert embedded(role) is None
        with pytest.raises(WeightsError, match="was not found"):
            find(role, [tmp_path])
    assert embedded_set("no-such-set") == {}


def test_without_folders_the_default_one_is_searched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = touch(tmp_path / "weights" / "unet.pth")
    assert default_folders() == [Path("weights")]
    assert find("unet").resolve() == path


def test_the_comfyui_around_the_pack_is_recognised(tmp_path):
    module = touch(tmp_path / "ComfyUI/custom_nodes/svfr/svfr_model/weights/search.py")
    assert comfyui_root(module) is None
    (tmp_path / "ComfyUI/models").mkdir()
    assert comfyui_root(module) == tmp_path / "ComfyUI"


def test_a_missing_file_is_described_with_its_source_and_the_folders_searched(tmp_path):
    with pytest.raises(WeightsError) as caught:
        find("insightface_glint360k", [tmp_path / "a", tmp_path / "b"])
    entry, message = REGISTRY["insightface_glint360k"], str(caught.value)
    for part in (entry.name, entry.purpose, entry.url, entry.licence, str(tmp_path / "a"), str(tmp_path / "b")):
        assert part in message
    assert "python -m svfr_model weights download --accept-license" in message


@pytest.mark.parametrize("role", ["yoloface_v5m", "scrfd", "landmarks_68", "stc_bfr"])
def test_an_optional_file_comes_with_the_command_that_fetches_it(tmp_path, role):
    with pytest.raises(WeightsError, match=f"`python -m svfr_model weights download {role} --accept-license`"):
        find(role, [tmp_path])


def test_an_unknown_role_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'unett'.*unet, id_linear"):
        weight_file("unett")
