"""How a command ends, and what it says then. What a whole command does as a process is in tests/faults."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from svfr_model.base.errors import InputError, SVFRError
from svfr_model.commands import bar, process
from svfr_model.files import staging

ROOT = Path(__file__).resolve().parents[2]

WORK = """
import hashlib, sys; sys.path.insert(0, {root!r})
from pathlib import Path
from svfr_model.commands import process
from svfr_model.files.staging import Staging

def work():
    staging = Staging(Path({folder!r}) / "out.bin")
    print("staged", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)

sys.exit(process.run(work))
"""
"""A command in a call that notices no signal and takes many minutes."""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_is_heeded_where_no_python_runs(tmp_path):
    code = WORK.format(root=str(ROOT), folder=str(tmp_path))
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "staged\n"
        time.sleep(0.5)
        running.send_signal(signal.SIGTERM)
        _, said = running.communicate(timeout=60)  # the call would take far longer
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 143
    assert said.strip() == "interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


MUDDLED = """
import os, signal, sys, time; sys.path.insert(0, {root!r})
from svfr_model.commands import process

def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    except KeyboardInterrupt:
        pass
    raise KeyboardInterrupt

sys.exit(process.run(work))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_the_exit_code_is_that_of_the_signal_where_a_library_makes_another_interrupt_of_it():
    """As Ray does while it waits."""
    done = subprocess.run([sys.executable, "-c", MUDDLED.format(root=str(ROOT))], capture_output=True, check=False)
    assert done.returncode == 143, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert process.run(lambda: os.kill(os.getpid(), signal.SIGHUP) or 7) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert process.run(lambda: 0) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def interrupt():
    raise KeyboardInterrupt


def test_an_interruption_says_what_is_true(tmp_path, capsys):
    def work():
        with staging.staged(tmp_path / "checkpoint.pt") as path:
            path.write_text("")
        interrupt()

    assert process.run(interrupt) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    assert process.run(work, goes_on="The same command continues") == 130
    said = capsys.readouterr().err
    assert said == f"interrupted; written before that: {tmp_path / 'checkpoint.pt'}. The same command continues\n"


def test_an_error_says_what_was_written_before_it(tmp_path, capsys):
    def work():
        with staging.staged(tmp_path / "out.bin") as path:
            path.write_text("")
        raise InputError("d.mp4: the disk is full.")

    assert process.run(work) == 2
    said = capsys.readouterr().err
    assert said == f"error: d.mp4: the disk is full. Written before that: {tmp_path / 'out.bin'}.\n"


def full(text, file=None, flush=False):
    raise OSError(28, "No space left on device")


def test_a_bar_that_cannot_be_shown_is_done_without(capsys, monkeypatch):
    show = bar.progress(False)
    show("denoise", 1, 4)
    monkeypatch.setattr("sys.stderr.flush", lambda: full(""))
    show("denoise", 4, 4)
    show("decode", 1, 4)
    monkeypatch.undo()
    show("decode", 2, 4)
    bar.close()
    assert "decode" not in capsys.readouterr().err


def test_results_that_cannot_be_printed_are_an_error_of_ours(capsys, monkeypatch):
    monkeypatch.setattr("builtins.print", full)
    with pytest.raises(SVFRError, match="printed here cannot be written \\(No space left"):
        process.tell("a table")


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("a.mp4: empty"), 2, "error: a.mp4: empty"),
        (OSError(28, "No space left on device", "x.bin"), 1, "No space left on device"),
        (MemoryError(), 1, "not enough memory"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_whatever_goes_wrong_is_one_message(capsys, error, code, words):
    def fail():
        raise error

    assert process.run(fail) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == bool(words)


def test_a_closed_stream_does_not_lend_its_number_to_a_file(tmp_path):
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.close(2)\n"
        "from svfr_model.commands import process; process.prepare_streams()\n"
        f"file = open({str(tmp_path / 'out.bin')!r}, 'w'); os.write(2, b'a complaint of some library'); file.close()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "out.bin").read_text() == ""


def test_messages_keep_off_the_bar(capsys):
    def work():
        show = bar.progress(False)
        show("denoise", 1, 4)
        logging.getLogger("svfr_model").warning("a warning")
        show("denoise", 2, 4)
        raise InputError("a.mp4: broken")

    process.prepare_log(quiet=False)
    assert process.run(work) == 2
    lines = capsys.readouterr().err.replace("\r", "\n").splitlines()
    assert "WARNING: a warning" in lines
    assert lines[-1] == "error: a.mp4: broken"
    assert not [line for line in lines if "denoise" in line and ("WARNING" in line or "error" in line)]
