"""A command as a process: signals, closed and broken streams, and messages that keep off the progress bar."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from svfr_model.base.errors import InputError
from svfr_model.commands import bar, main, process
from svfr_model.files import staging

ROOT = Path(__file__).resolve().parents[2]

WORK = """
import sys, time; sys.path.insert(0, {root!r})
from pathlib import Path
from svfr_model.commands import process
from svfr_model.files.staging import Staging

def work():
    staging = Staging(Path({folder!r}) / "out.bin")
    print("staged", flush=True)
    try:
        {wait}
    except BaseException:
        staging.discard()
        raise

sys.exit(process.run(work))
"""
WAITS = {
    "in Python": "time.sleep(60)",
    "in a network call": "import socket; a, b = socket.socketpair(); a.recv(1)",
    "where no signal is noticed": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
}


@pytest.fixture
def worker(tmp_path):
    """Starts a process that stages an output and then waits."""
    started = []

    def start(wait: str) -> subprocess.Popen:
        code = WORK.format(root=str(ROOT), folder=str(tmp_path), wait=wait)
        started.append(
            subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        assert started[-1].stdout.readline() == "staged\n"
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_tidily(worker, tmp_path, name):
    running = worker(WAITS["in Python"])
    assert list(tmp_path.iterdir())
    running.send_signal(getattr(signal, name))
    _, said = running.communicate(timeout=30)
    assert running.returncode == 128 + getattr(signal, name)
    assert said == "interrupted; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("place", ["in a network call", "where no signal is noticed"])
def test_a_signal_is_heeded_wherever_the_process_is(worker, tmp_path, place):
    running = worker(WAITS[place])
    time.sleep(0.5)
    begun = time.monotonic()
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=30)
    assert time.monotonic() - begun < 10  # about one second on an idle machine; the call would take twenty
    assert running.returncode == 143
    assert said.strip() == "interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


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
    assert process.run(work, goes_on="The same command goes on") == 130
    said = capsys.readouterr().err
    assert said == f"interrupted; written before that: {tmp_path / 'checkpoint.pt'}. The same command goes on\n"


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


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "svfr_model", *arguments], cwd=ROOT, check=False, **options)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell with pipes")
def test_a_reader_that_goes_away_and_streams_that_are_closed(tmp_path):
    line = f"{sys.executable} -m svfr_model weights list"
    shell = ["bash", "-c"]
    piped = f"{line} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run([*shell, piped], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 141)  # 0 where all was in the pipe before its reader went
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    for closed, code in (("restore absent.mp4 o.mp4 2>&-", 2), ("weights list >&-", 0), ("weights list 0<&-", 0)):
        done = subprocess.run(
            [*shell, f"{sys.executable} -m svfr_model {closed}"], cwd=ROOT, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (code, "")


def test_a_closed_stream_does_not_lend_its_number_to_a_file(tmp_path):
    code = (
        f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); os.close(2)\n"
        "from svfr_model.commands import process; process.prepare_streams()\n"
        f"file = open({str(tmp_path / 'out.bin')!r}, 'w'); os.write(2, b'a complaint of some library'); file.close()"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (tmp_path / "out.bin").read_text() == ""


def test_names_that_no_terminal_knows_are_printed_somehow():
    done = command("restore", "\udcff.mp4", "o.mp4", capture_output=True)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("restore a.mp4 o.mp4 --seed -1", "--seed: -1 is no whole number between 0 and 9223372036854775807"),
        ("degrade a.mp4 o.mp4 --seed -1", "--seed: -1 is no whole number"),
        ("degrade a.mp4 o.mp4 --brightness-flicker nan", "nan is no number between 0 and 1"),
        ("degrade a.mp4 o.mp4 --pixel-flicker inf", "inf is no number between 0 and 255"),
        ("demo --seed x", "--seed: x is no whole number"),
        ("train --evaluate-tiny --clips 0", "0 is no whole number between 1 and 100000"),
        ("restore a.mp4 o.mp4 --steps 1000000000", "between 1 and 1000"),
        ("restore a.mp4 o.mp4 --first-steps 0", "between 1 and 1000"),
        ("restore a.mp4 o.mp4 --steps 1 --strength 0.1", "leaves none of 1 steps"),
        ("restore a.mp4 o.mp4 --first-steps 1 --strength 0.5", "leaves none of 1 steps"),
        ("restore a.mp4 o.mp4 --size 100000", "between 8 and 2048 pixels"),
        ("restore a.mp4 o.mp4 --guidance inf", "guidance"),
        ("restore a.mp4 o.mp4 --augmentation nan", "augmentation"),
        ("restore a.mp4 o.mp4 --batch 1000000000", "batch"),
        ("restore a.mp4 o.mp4 --window 1000000000", "at most 256"),
        ("restore a.mp4 o.mp4 --decode-chunk 1000000000", "at most 256"),
        ("restore a.mp4 o.mp4 --detect-size 1000000000", "between 32 and 8192"),
        ("restore a.mp4 o.mp4 --feather nan", "feather"),
        ("restore a.mp4 o.mp4 --pre-downscale nan", "pre_downscale"),
        ("stc a.mp4 o.mp4 --window 1000000000", "at most 256"),
        ("stc a.mp4 o.mp4 --overlap -1", "0 or more"),
        ("stc a.mp4 o.mp4 --faces larges", "Unknown choice of faces"),
        ("restore a.mp4 o.mp4 --steps many", "invalid int value"),
        ("restore a.mp4", "OUT"),
        ("weights download --weights=", "the path is empty"),
    ],
)
def test_numbers_and_paths_out_of_bounds_are_refused_before_anything_is_read(arguments, words, capsys):
    assert main(arguments.split()) == 2  # a.mp4 is not there, and that is not what is said
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_an_empty_path_is_refused(capsys):
    assert main(["restore", "c.mp4", ""]) == 2
    assert "OUT: the path is empty" in capsys.readouterr().err
