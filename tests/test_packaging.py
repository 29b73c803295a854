"""The pack as others see it: requirements, imports, and the two sides that must not touch."""

import ast
import json
import re
import subprocess
import sys

import pytest

CARD = {
    "torch",
    "diffusers",
    "insightface",
    "onnxruntime-gpu",
    "opencv-python",
    "kornia",
    "safetensors",
    "huggingface-hub",
    "numpy",
    "einops",
}


def requirement_lines(root):
    lines = (root / "requirements.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def name_of(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower()


def pyproject_dependencies(root):
    text = (root / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = (\[.*?^\])", text, re.S | re.M).group(1)
    return ast.literal_eval(block)


def test_requirements_are_the_design_cards_packages_and_pyav(root):
    """And what else is imported: Pillow for pictures, tqdm for the bar, and what ComfyUI itself requires.

    That is scipy, for the banded equations of `faces.smooth`, pydantic with typing_extensions, to check options, and
    psutil, for the CPU's free memory.
    """
    others = {"av", "pillow", "tqdm", "scipy", "pydantic", "typing_extensions", "psutil"}
    assert {name_of(line) for line in requirement_lines(root)} == CARD | others


def test_what_is_imported_is_declared(root):
    paths = [path for side in ("svfr_model", "nodes") for path in (root / side).rglob("*.py")]
    found = {name for path in paths for name in imported(path)} - sys.stdlib_module_names
    found -= {"comfy", "comfy_api", "folder_paths", "latent_preview", "server", "nodes", "aiohttp"}  # ComfyUI's own
    distributions = {"PIL": "pillow", "cv2": "opencv-python", "onnxruntime": "onnxruntime-gpu"}
    texts = [(root / f"requirements-{extra}.txt").read_text() for extra in ("train", "batch")]
    extra = [line for text in texts for line in text.splitlines() if line[:1].isalpha()]
    declared = {name_of(line).replace("_", "-") for line in [*requirement_lines(root), *extra]}
    assert {distributions.get(name, name.replace("_", "-")) for name in found} - declared == set()


def test_requirements_and_pyproject_agree(root):
    assert requirement_lines(root) == pyproject_dependencies(root)


def test_torch_and_numpy_carry_no_version(root):
    assert {"torch", "numpy"} <= set(requirement_lines(root))


def own_versions(value):
    """The `ver` of every node of this pack anywhere in a workflow; the frontend writes it, and the Manager reads it."""
    if isinstance(value, dict):
        if value.get("cnr_id") == "svfr" or "ComfyUI-SVFR" in str(value.get("aux_id")):
            yield value.get("ver")
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from own_versions(entry)


def test_workflows_ask_for_the_version_that_they_come_with(root):
    version = re.search(r'^version = "(.*)"', (root / "pyproject.toml").read_text(), re.M).group(1)
    for path in [*(root / "workflows").glob("*.json"), *(root / "subgraphs").glob("*.json")]:
        found = list(own_versions(json.loads(path.read_text(encoding="utf-8"))))
        assert found, path.name
        assert set(found) == {version}, path.name


def imported(path):
    """Absolute imports of a file anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def test_the_library_never_imports_comfyui_or_itself_by_name(root):
    forbidden = {
        "comfy",
        "comfy_api",
        "comfy_extras",
        "folder_paths",
        "nodes",
        "latent_preview",
        "server",
        "svfr_model",
    }
    for path in (root / "svfr_model").rglob("*.py"):
        assert not forbidden & set(imported(path)), path


def test_nodes_never_import_the_training_side(root):
    for path in (root / "nodes").rglob("*.py"):
        assert not {"diffusers", "transformers", "peft"} & set(imported(path)), path


def run_python(code, cwd):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_is_light(root):
    heavy = "torch", "cv2", "diffusers", "av", "kornia", "onnxruntime", "insightface", "huggingface_hub", "numpy"
    code = f"import sys, svfr_model, svfr_model.commands; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code, root).strip() == "[]"


def test_the_pack_is_importable_without_comfyui_and_without_optional_packages(root):
    code = f"""
import importlib.util, sys
for name in ("diffusers", "insightface", "onnxruntime", "transformers", "peft", "kornia", "cv2"):
    sys.modules[name] = None
spec = importlib.util.spec_from_file_location("pack", r"{root / "__init__.py"}", submodule_search_locations=[r"{root}"])
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
print(module.WEB_DIRECTORY)
"""
    assert run_python(code, root.parent).strip() == "./web"


def test_no_module_is_longer_than_500_lines(root):
    for folder in ("svfr_model", "nodes"):
        for path in (root / folder).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 500, path


@pytest.mark.parametrize(
    "name", ["README.md", "LICENSE", "requirements.txt", "pyproject.toml", ".comfyignore", ".ci/run"]
)
def test_the_files_of_the_top_level_are_there(root, name):
    assert (root / name).is_file()
