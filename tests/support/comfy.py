"""A real ComfyUI for tests: where it is, how a test session runs inside it, and how its server is started.

Runs in the main environment; nothing here imports ComfyUI. Which ComfyUI: the checkout that COMFYUI_PATH names (run by
COMFYUI_PYTHON, or by the virtual environment in or beside it), else the one that make_comfyui.py left in .comfyui.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / ".comfyui"
PACK = "ComfyUI-SVFR"
START_SECONDS = 600
"""How long a server may take to answer before we call it dead; it takes 10 to 30."""


class UnavailableError(Exception):
    """There is no ComfyUI to test in; the message says why and what would make one."""


@dataclass(frozen=True)
class ComfyUI:
    """A checkout and the Python that runs it."""

    path: Path
    python: Path


def find_comfyui() -> ComfyUI:
    """The ComfyUI to test in. Raises UnavailableError."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        return _named(Path(named))
    if (MADE / "stamp").is_file():
        return ComfyUI(MADE / "ComfyUI", _python_of(MADE / "venv"))
    if (MADE / "UNAVAILABLE").is_file():
        raise UnavailableError((MADE / "UNAVAILABLE").read_text().strip())
    raise UnavailableError(
        f"No ComfyUI to test in: run `python tests/support/make_comfyui.py {MADE.name}` (`make test` does), "
        "or set COMFYUI_PATH and COMFYUI_PYTHON."
    )


def _named(path: Path) -> ComfyUI:
    if not (path / "comfy" / "model_management.py").is_file():
        raise UnavailableError(f"COMFYUI_PATH is {path}, which is no ComfyUI checkout.")
    if os.environ.get("COMFYUI_PYTHON"):
        return ComfyUI(path, Path(os.environ["COMFYUI_PYTHON"]))
    for folder in (path / "venv", path / ".venv", path.parent / "venv", path.parent / ".venv"):
        if _python_of(folder).is_file():
            return ComfyUI(path, _python_of(folder))
    raise UnavailableError(f"No virtual environment lies in or beside {path}: set COMFYUI_PYTHON to its Python.")


def _python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def run_tests_inside(
    comfyui: ComfyUI, files: list[Path], report: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest on files in ComfyUI's Python, with the checkout as the folder that modules are imported from.

    The repository's root is kept off the path: its nodes folder would shadow ComfyUI's nodes.py. report receives the
    outcome as JUnit XML. options: further ones, for pytest.
    """
    command = [comfyui.python, "-m", "pytest", *files, f"--junitxml={report}", *options]
    return subprocess.run(
        command, cwd=comfyui.path, env=_environment(), capture_output=True, text=True, check=False
    )


def _environment() -> dict[str, str]:
    """Ours without what would put this repository on the path of the process."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTEST_ADDOPTS")}


@dataclass(frozen=True)
class Server:
    """A running ComfyUI server, listening on this machine only."""

    url: str
    base: Path
    process: subprocess.Popen

    def get(self, path: str) -> bytes:
        """GET a path such as /object_info. Raises urllib.error.HTTPError for a refusal."""
        with urllib.request.urlopen(self.url + path, timeout=300) as answer:
            return answer.read()

    def post(self, path: str, body: object) -> bytes:
        """POST a JSON body."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.read()

    def log(self) -> str:
        """Everything the server has printed."""
        return (self.base / "server.log").read_text()

    def run(self, graph: dict, seconds: float = 600) -> dict:
        """Execute a graph in API form and return its history entry: outputs and status, failed or not."""
        asked = {"prompt": graph, "client_id": uuid.uuid4().hex}
        number = json.loads(self.post("/prompt", asked))["prompt_id"]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = json.loads(self.get(f"/history/{number}"))
            if number in history and history[number]["status"].get("status_str"):
                return history[number]
            time.sleep(0.2)
        raise TimeoutError(f"The prompt did not finish within {seconds} s. The server says:\n{self.log()[-3000:]}")


@contextmanager
def running_server(comfyui: ComfyUI, base: Path, *options: str):
    """A server on the CPU whose models, input, output and custom nodes lie under base, with this pack linked in.

    base is created as needed; put model files into base/models/<folder> beforehand or while it runs. options are
    further arguments of main.py. SVFR_FRONTEND names the files of another frontend than the installed one. Yields a
    Server; ends it afterwards. Raises UnavailableError where it does not start.
    """
    for folder in ("custom_nodes", "input", "models", "output", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    _link(base / "custom_nodes" / PACK)
    port = _free_port()
    command = [comfyui.python, "main.py", "--cpu", "--port", str(port), "--base-directory", base]
    command += ["--disable-api-nodes", *options]
    if os.environ.get("SVFR_FRONTEND"):
        command += ["--front-end-root", os.environ["SVFR_FRONTEND"]]
    with (base / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=comfyui.path, env=_environment(), stdout=log, stderr=subprocess.STDOUT
        )
    server = Server(f"http://127.0.0.1:{port}", base, process)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _link(place: Path) -> None:
    """Let place be the repository; on Windows by a junction, which needs no rights."""
    if place.exists():
        return
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(ROOT), str(place))
    else:
        place.symlink_to(ROOT, target_is_directory=True)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            server.get("/system_stats")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.3)
        else:
            return
    raise UnavailableError(f"ComfyUI's server did not start:\n{server.log()[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
