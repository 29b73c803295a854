"""What would go wrong on Windows and macOS, found here: the workflows that test there cannot run where this is written.

That no open file is replaced is seen in every test, by a fixture in conftest.py.
"""

import ast
import subprocess

import pytest
import torch
from support.random_networks import write_random_stc_weights, write_random_weights
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from svfr_model.base.tasks import Task
from svfr_model.engine.options import RestoreOptions
from svfr_model.engine.restore import Known, Networks, restore
from svfr_model.networks.identity import load_identity_encoder
from svfr_model.networks.unet import load_unet
from svfr_model.networks.vae import load_vae
from svfr_model.stc.load import load_stc
from svfr_model.weights import find

POSIX_MODULES = {"fcntl", "grp", "posix", "pwd", "resource", "termios"}
POSIX_NAMES = {"SIGHUP", "SIGKILL", "SIGPIPE", "SIGUSR1", "fork", "geteuid", "getuid", "killpg", "mkfifo", "setsid"}
POSIX_NAMES |= {"sched_getaffinity", "statvfs", "sync", "SIGALRM", "waitstatus_to_exitcode"}
TEXT = {"read_text": 0, "write_text": 1}
"""Methods of text files, and which of their positional arguments is the encoding."""


def shipped(root):
    """The Python files that users run, with their syntax trees."""
    paths = [*root.glob("*.py"), *(root / "svfr_model").rglob("*.py"), *(root / "nodes").rglob("*.py")]
    return [(path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            yield name, node


def opens_text(name, call):
    """Whether a call opens a text file, as far as its mode is written out; av.open's are no text."""
    if name in TEXT:
        return len(call.args) <= TEXT[name]
    modes = [value.value for value in call.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    of_av = isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "av"
    return name == "open" and not of_av and any(set(mode) <= set("rwaxt+") for mode in modes)


def test_text_files_name_their_encoding(root):
    """Windows' own is another in every country."""
    found = [
        f"{path}:{call.lineno}"
        for path, tree in shipped(root)
        for name, call in calls(tree)
        if opens_text(name, call) and not any(word.arg == "encoding" for word in call.keywords)
    ]
    assert found == []


def test_modules_of_posix_are_imported_where_they_are_used(root):
    found = [
        f"{path}: {alias.name}"
        for path, tree in shipped(root)
        for node in tree.body
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in POSIX_MODULES
    ]
    assert found == []


def unguarded(tree):
    """Names that Windows lacks and that are used without asking for them by getattr or hasattr in the same file.

    Functions under a decorator that names win32 are left out.
    """
    skipped = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("win32" in ast.unparse(mark) for mark in node.decorator_list)
        for inner in ast.walk(node)
    }
    asked = {
        argument.value
        for name, call in calls(tree)
        if name in ("getattr", "hasattr")
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node not in skipped}
    return (used & POSIX_NAMES) - asked


def test_names_that_windows_lacks_are_asked_for_first(root):
    assert {path: found for path, tree in shipped(root) if (found := unguarded(tree))} == {}


def test_tests_ask_for_them_too_or_are_skipped(root):
    """But for those that only systems with fork can run."""
    paths = [path for path in (root / "tests").rglob("*.py") if path.parent.name != "mutations"]
    trees = {path.relative_to(root): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    assert len(trees) > 100
    assert {path: found for path, tree in trees.items() if (found := unguarded(tree))} == {}


def test_names_of_files_suit_every_file_system(root):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout: which files belong to the pack is not known")
    names = [name for name in listed.stdout.split("\0") if name]
    assert len({name.lower() for name in names}) == len(names) > 100
    assert not [name for name in names if set(name) & set('<>:"|?*\\') or name != name.rstrip(". ")]
    assert max(map(len, names)) < 110  # of 260, beside the folder of ComfyUI's custom nodes


def test_the_workflows_run_make_test_on_three_systems_and_publish_tags(root):
    test, publish = (
        (root / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8") for name in ("test", "publish")
    )
    assert "[ubuntu-latest, windows-latest, macos-latest]" in test
    assert "make test" in test
    assert 'tags: ["v*"]' in publish
    assert "Comfy-Org/publish-node-action" in publish
    assert "secrets.REGISTRY_ACCESS_TOKEN" in publish


class NoFloat64(TorchDispatchMode):
    """As on Apple's GPUs: no operation may give a float64 tensor."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            assert not isinstance(value, torch.Tensor) or value.dtype != torch.float64, f"{function} gives float64"
        return result


def test_the_watch_sees_float64():
    with NoFloat64(), pytest.raises(AssertionError, match="float64"):
        torch.ones(2).double()


def test_networks_and_sampling_need_no_float64(tmp_path):
    write_random_weights(tmp_path)
    unet, vae, recognizer, projection = (
        find(role, [tmp_path]) for role in ("unet", "vae", "insightface_glint360k", "id_linear")
    )
    networks = Networks(load_unet(unet), load_vae(vae))
    encoder = load_identity_encoder(recognizer, projection)
    frames = torch.randint(0, 256, (6, 3, 64, 64), dtype=torch.uint8)
    options = RestoreOptions(steps=2, passes=1)
    with NoFloat64():
        identity = encoder.encode(torch.zeros(1, 3, 112, 112))
        restored = restore(networks, frames, frozenset({Task.BFR}), options, known=Known(identity=identity))
        assert len(torch.cat(list(restored.decode(networks.vae, options)))) == 6


@pytest.mark.parametrize("task", ["bfr", "deflicker"])
def test_stc_needs_no_float64(tmp_path, task):
    write_random_stc_weights(tmp_path)
    network = load_stc(find(f"stc_{task}", [tmp_path]), task)
    with NoFloat64(), torch.no_grad():
        network(torch.zeros(1, 3, 5, 64, 64))
