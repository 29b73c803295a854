"""Rows of the fault table that need a process of their own: what a system does to a command while it runs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from support.faults import PATIENCE, Fault
from support.hub import CONTENT, Hub

ROOT = Path(__file__).resolve().parents[2]
PARTIAL = f".id_linear.pth.{hashlib.sha256(hashlib.sha256(CONTENT).hexdigest().encode()).hexdigest()[:12]}.partial"
"""What a download of id_linear is called until it is whole."""
_LOOK_SECONDS = 0.05
_APART_SECONDS = 0.3
_CAPABILITIES = "-dac_override,-dac_read_search,-fowner"


@dataclass(frozen=True)
class Process(Fault):
    """A row that runs as `python -m svfr_model ...`.

    shell: what bash is given, {} being the command, for pipes and closed streams. signals: those it gets, one after the
    other, once `when` (a stage of the progress bar, or a pattern of files) is to be seen. disks: folders that are disks
    of their own, with their mount options; what is `readonly` becomes so after its files were made, by its mount or by
    its permissions.
    most: bytes that a file may have. server: how the download server behaves; None for no server. environment: what is
    set besides. then: a command that runs afterwards and must succeed.
    """

    shell: str = "{}"
    signals: tuple[str, ...] = ()
    when: str = ""
    disks: Mapping[str, str] = field(default_factory=dict)
    most: int = 0
    server: Mapping[str, object] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    then: str = ""

    def __post_init__(self) -> None:
        assert bool(self.signals) == bool(self.when)


@contextlib.contextmanager
def disks(row: Process, folder: Path) -> Iterator[None]:
    """The row's disks and files, as they are to be found; the test is skipped where no disk may be mounted."""
    mounted = []
    try:
        for name, options in row.disks.items():
            (folder / name).mkdir()
            _mount("-t", "tmpfs", "-o", options, "tmpfs", str(folder / name))
            mounted.append(folder / name)
        row.prepare(folder)
        for name in row.readonly:
            if name in row.disks:
                _mount("-o", "remount,ro", str(folder / name))
            else:
                (folder / name).chmod(0o555)
        yield
    finally:
        for place in mounted:
            subprocess.run(["umount", str(place)], check=True)
        for name in set(row.readonly) - set(row.disks):
            (folder / name).chmod(0o755)


def _mount(*options: str) -> None:
    done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False) if _may_mount() else None
    if done is None or done.returncode:
        pytest.skip(
            f"no disk can be mounted here{f' ({done.stderr.strip()})' if done else ': that needs root on Linux'}"
        )


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _may_mount() -> bool:
    return _is_root() and sys.platform == "linux" and shutil.which("mount") is not None


@contextlib.contextmanager
def server(row: Process) -> Iterator[dict[str, str]]:
    """The download server of the row, and what the environment must be for the command to go there."""
    if row.server is None:
        yield {}
        return
    hub = Hub()
    for name, value in row.server.items():
        setattr(hub, name, value)
    threading.Thread(target=hub.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_HUB_OFFLINE": "0", "NO_PROXY": "*"}
    finally:
        hub.shutdown()
        hub.server_close()


def run(row: Process, folder: Path, streams: Path, weights: Path) -> tuple[int, str, str]:
    """Exit code, error stream and output stream of the row's command, and of the one after it."""
    if "/dev/full" in row.shell and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with server(row) as address:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **address, **row.environment}
        code, said, printed = _run(row, row.arguments(weights), folder, streams, environment)
        if row.then:
            later = Process(row.id, row.then)
            also, more, further = _run(later, later.arguments(weights), folder, streams, environment)
            assert also == 0, more
            said, printed = said + more, printed + further
    return code, said, printed


def _run(
    row: Process, arguments: list[str], folder: Path, streams: Path, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    out, err = streams / "out", streams / "err"
    with out.open("wb") as printed, err.open("wb") as said:
        process = subprocess.Popen(
            _line(row, arguments),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=said,
            preexec_fn=partial(_settle, row.most),
        )
    try:
        _send(row, process, folder, err)
        process.wait(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    return process.returncode, _text(err), _text(out)


def _line(row: Process, arguments: list[str]) -> list[str]:
    command = [sys.executable, "-m", "svfr_model", *arguments]
    if any(name not in row.disks for name in row.readonly) and _is_root():
        if shutil.which("setpriv") is None:
            pytest.skip("root can write everywhere, and there is no setpriv to give that up")
        command = ["setpriv", f"--bounding-set={_CAPABILITIES}", "--inh-caps=-all", *command]
    return command if row.shell == "{}" else ["bash", "-c", row.shell.replace("{}", shlex.join(command))]


def _settle(most: int) -> None:
    """In the new process: answer signals as from a terminal, even where the tests run in the background, and limits."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def _send(row: Process, process: subprocess.Popen, folder: Path, err: Path) -> None:
    """The row's signals, once the command is so far."""
    if not row.signals:
        return
    give_up = time.monotonic() + PATIENCE
    while row.when not in _text(err) and not any(folder.glob(row.when)):
        assert process.poll() is None, f"it ended before its signal:\n{_text(err)}"
        assert time.monotonic() < give_up, f"{row.when!r} was not to be seen in {PATIENCE} s:\n{_text(err)}"
        time.sleep(_LOOK_SECONDS)
    for number, name in enumerate(row.signals):
        time.sleep(_APART_SECONDS if number else 0)
        process.send_signal(getattr(signal, name))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="backslashreplace").replace("\r", "\n")
