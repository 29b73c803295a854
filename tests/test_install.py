"""What ComfyUI Manager runs after the requirements: it repairs onnxruntime-gpu, and nothing else."""

import importlib.util
import os
import shutil
import subprocess
import sys
import venv

import pytest

BOTH = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
CPU, CUDA = ["AzureExecutionProvider", "CPUExecutionProvider"], ["CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def install(root, monkeypatch):
    """The script, on a Linux machine with an NVIDIA driver whose onnxruntime-gpu was overwritten; commands are kept."""
    spec = importlib.util.spec_from_file_location("pack_install", root / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(module, "installed", BOTH.get)
    monkeypatch.setattr(module, "providers", lambda: CUDA if module.commands else CPU)

    def run(command, **_):
        module.commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(module.subprocess, "run", run)
    return module


def test_an_overwritten_one_is_installed_again_in_its_version_and_alone(install, capsys):
    assert install.main() == 0
    arguments = ["install", "--force-reinstall", "--no-deps", "onnxruntime-gpu==1.31.1"]
    assert install.commands == [[sys.executable, "-m", "pip", *arguments]]
    said = capsys.readouterr().out
    assert "Repairing" in said
    assert "offers CUDAExecutionProvider again" in said


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("installed", {"onnxruntime": "1.31.1"}.get, "not both installed"),
        ("installed", {"onnxruntime-gpu": "1.31.1"}.get, "not both installed"),
        ("providers", lambda: CUDA, "offers CUDA"),
        ("shutil.which", lambda name: None, "no NVIDIA driver"),
        ("sys.platform", "darwin", "not both installed"),
    ],
)
def test_nothing_is_done_where_nothing_is_wrong(install, monkeypatch, capsys, name, value, reason):
    place, _, attribute = name.rpartition(".")
    monkeypatch.setattr(getattr(install, place) if place else install, attribute, value)
    assert install.main() == 0
    assert install.commands == []
    assert reason in capsys.readouterr().out


def test_a_repair_that_fails_says_so(install, monkeypatch, capsys):
    monkeypatch.setattr(install, "providers", lambda: CPU)
    assert install.main() == 1
    assert "The repair failed" in capsys.readouterr().out


def test_importing_it_runs_nothing(root):
    code = "import subprocess; subprocess.run = None; import install"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
def test_in_a_real_environment(root, tmp_path):
    """pip leaves the CPU's providers only, and the script brings CUDA back."""
    if sys.platform == "darwin":
        pytest.skip("there is no onnxruntime-gpu for macOS")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", "onnxruntime-gpu", "insightface"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip could not install onnxruntime-gpu and insightface: {done.stderr.strip().splitlines()[-1]}")
    ask = [str(python), "-c", "import onnxruntime; print(onnxruntime.get_available_providers())"]
    if "CUDA" in subprocess.run(ask, capture_output=True, text=True, check=True).stdout:
        pytest.skip("pip has installed them in the order that leaves CUDA")
    driver = tmp_path / "bin" / ("nvidia-smi.exe" if sys.platform == "win32" else "nvidia-smi")
    driver.parent.mkdir()
    shutil.copy(sys.executable, driver)
    path = {**os.environ, "PATH": f"{driver.parent}{os.pathsep}{os.environ['PATH']}"}
    for expected in ("Repaired", "left as it is: onnxruntime offers CUDA"):
        run = [str(python), "install.py"]
        done = subprocess.run(run, cwd=root, env=path, capture_output=True, text=True, check=True)
        assert expected in done.stdout
    assert "CUDA" in subprocess.run(ask, capture_output=True, text=True, check=True).stdout
