"""The Comfy Registry's own check of the pack, by its command line, which requirements-dev.txt installs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.comfy import ROOT


@pytest.fixture
def validate(tmp_path):
    """`comfy node validate` in a folder, with settings of its own: its exit code and what it said."""
    comfy = shutil.which("comfy", path=Path(sys.executable).parent)
    if comfy is None:
        pytest.skip("comfy-cli is not installed: pip install -r requirements-dev.txt")

    def run(folder):
        done = subprocess.run(
            [comfy, "--skip-prompt", "--no-enable-telemetry", "node", "validate"],
            cwd=folder,
            env={**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_registry_finds_no_fault(validate):
    code, said = validate(ROOT)
    assert code == 0, said
    assert "All validation checks passed" in said
    assert "warning" not in said.lower()


@pytest.fixture(scope="module")
def stated():
    """pyproject.toml, as comfy-cli reads it."""
    toml = pytest.importorskip("tomlkit", reason="comfy-cli brings it")
    return toml.parse((ROOT / "pyproject.toml").read_text(encoding="utf-8")).unwrap()


@pytest.mark.parametrize(("name", "shape", "most"), [("Icon", 1, 400), ("Banner", 21 / 9, 1680)])
def test_the_pictures_are_ours_and_have_the_registrys_shape(name, shape, most, stated):
    from PIL import Image

    start = stated["project"]["urls"]["Repository"].replace("//github.com", "//raw.githubusercontent.com") + "/main/"
    address = stated["tool"]["comfy"][name]
    assert address.startswith(start)
    with Image.open(ROOT / address.removeprefix(start)) as picture:
        assert picture.format == "PNG"
        assert picture.width / picture.height == pytest.approx(shape, abs=0.01)
        assert picture.width <= most


def test_nobody_is_kept_from_installing(stated):
    """The registry takes systems and cards that are named for the only ones."""
    named = stated["project"]["classifiers"]
    assert "Operating System :: OS Independent" in named
    assert sum(entry.startswith("Operating System ::") for entry in named) == 1
    assert not [entry for entry in named if entry.startswith("Environment ::")]


def test_the_links_lead_into_the_repository(stated):
    links = stated["project"]["urls"]
    repository = links["Repository"]
    assert {"Documentation", "Bug Tracker", "Changelog"} <= set(links)
    for name, link in links.items():
        assert link.startswith(repository), name
        file = link.removeprefix(repository).removeprefix("/blob/main/")
        assert not file or file == "/issues" or (ROOT / file).is_file(), name


def test_it_finds_what_the_registry_forbids(validate, tmp_path):
    """Its check is ruff's, and it takes a ruff that does not start for one that finds nothing."""
    pack = tmp_path / "pack"
    pack.mkdir()
    shutil.copy(ROOT / "pyproject.toml", pack)
    (pack / "nodes.py").write_text("ANSWER = eval('6 * 7')\n")
    code, said = validate(pack)
    assert code == 0, said
    assert "S307" in said
    assert "All validation checks passed" not in said
