"""The contents of the Comfy Registry's archive. That it works is in comfy/server/test_from_archive.py."""

from __future__ import annotations

import shutil

import pytest
from support.archive import ROOT, packed


@pytest.fixture(scope="module")
def archive():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout: nothing says which files are tracked")
    return packed()


def test_what_comes_with_the_pack_is_in_it(archive):
    networks = ("unet", "svd_vae", "insightface_glint360k", "id_linear")
    tiny = {f"svfr_model/models/svfr-tiny/{name}.safetensors" for name in networks}
    stc = {f"svfr_model/models/stc-tiny/ckpt-{name}.safetensors" for name in ("bfvr", "defilcker", "deflickersd")}
    yunet = {f"svfr_model/models/yunet/{name}" for name in ("face_detection_yunet_n_640.onnx", "LICENSE")}
    portrait = {f"svfr_model/models/portrait/{name}" for name in ("eileen_collins.jpg", "README.md")}
    assert tiny | stc | yunet | portrait <= archive
    assert {"__init__.py", "pyproject.toml", "requirements.txt"} <= archive
    scripts = {f"web/js/{path.name}" for path in (ROOT / "web" / "js").glob("*.js")}
    assert len(scripts) > 8
    assert scripts <= archive
    assert {f"locales/{language}/main.json" for language in ("en", "zh", "ja", "ko")} <= archive
    assert "locales/zh/nodeDefs.json" in archive
    assert any(path.endswith("/SVFRRestore/zh.md") for path in archive)
    assert {"nodes/__init__.py", "svfr_model/__main__.py", "workflows/01 Restore faces in a video.json"} <= archive


def test_what_nobody_runs_is_not(archive):
    assert not [path for path in archive if path.startswith(("tests/", "benchmarks/", ".ci/"))]
    assert sum((ROOT / path).stat().st_size for path in archive) < 40 * 2**20
