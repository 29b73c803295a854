"""Run pytest again and again, each time in a fork of this process, which has imported the heavy packages already.

    python worker.py SECONDS MODULE ...

Each line of standard input is a JSON list of pytest's arguments; each line of the answer is the exit code, null where
the tests were still running after so many seconds, and what was printed. Only systems with fork can do this.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import tempfile

import pytest


def serve(seconds: int, modules: list[str]) -> None:
    """Import the modules, then answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what imports and tests print must not get between the answers
    sys.path.insert(0, os.getcwd())  # as `python -m pytest` has it
    for name in modules:
        module = importlib.import_module(name)
        if name == "comfy.cli_args":
            module.args.cpu = True  # before anything else of ComfyUI is imported
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line), seconds)) + "\n")
        answers.flush()


def run(arguments: list[str], seconds: int) -> tuple[int | None, str]:
    """pytest's exit code and what it printed."""
    with tempfile.TemporaryFile() as printed:
        child = os.fork()
        if child == 0:
            code = pytest.ExitCode.INTERNAL_ERROR
            try:
                signal.alarm(seconds)
                os.dup2(printed.fileno(), 1)
                os.dup2(printed.fileno(), 2)
                code = pytest.main(arguments)
            finally:
                sys.stdout.flush()
                os._exit(code)  # nothing of the parent's is cleaned up here
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        printed.seek(0)
        return (None if status == -signal.SIGALRM else status), printed.read().decode(errors="replace")


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2:])
