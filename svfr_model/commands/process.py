"""A command as a process: signals that end it, streams that may be closed, and what is said at the end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType

from ..base.errors import SVFRError
from ..files import staging
from . import bar

BROKEN_PIPE = 128 + 13
"""Exit code where whoever read the output has gone, as if SIGPIPE had ended the process."""
_PATIENCE = 1.0
"""Seconds that a signal's exception has to arrive: a long call into a library does not notice signals."""
_ENDING = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_NOT_GIVEN_UP = {getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)}
"""A job queue or a machine that goes down, and a terminal that was lost: unlike by Ctrl-C, no work was given up."""
_SHOWN = 5
_signals_heard: list[int] = []
"""Those of this command. Ray makes a plain KeyboardInterrupt of whatever a signal raises."""


class Ended(KeyboardInterrupt):
    """The process was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def run(command: Callable[[], int], *, goes_on: str = "") -> int:
    """Run a command and return its exit code; whatever goes wrong is told in one message without a traceback.

    goes_on: how interrupted work of this command is taken up again.
    """
    staging.committed.clear()
    staging.left.clear()
    _signals_heard.clear()
    try:
        with _signals(goes_on):
            return command()
    except SVFRError as error:
        kept = _kept()
        say(f"error: {error}{f' Written before that: {kept}.' if kept else ''}")
        return error.exit_code
    except KeyboardInterrupt as error:
        say(interruption(goes_on))
        number = _signals_heard[0] if _signals_heard else signal.SIGINT
        return error.exit_code if isinstance(error, Ended) else 128 + number
    except BrokenPipeError:
        return BROKEN_PIPE
    except OSError as error:
        say(f"error: {error.filename or 'a file'}: {error.strerror or error}. Check permissions and free space.")
        return SVFRError.exit_code
    except MemoryError:
        say("error: there is not enough memory for this. Use a smaller size, batch or window.")
        return SVFRError.exit_code
    finally:
        staging.discard_all()  # a signal may come between a staging's making and whoever would discard it
        _settle_output()


def say(message: str) -> None:
    """One message on the standard error stream, on a line of its own."""
    with contextlib.suppress(OSError):
        bar.close()
        print(message, file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """What a command has found out or done, on the standard output stream. Raises SVFRError where that is full."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SVFRError(
            f"What is printed here cannot be written ({error.strerror or error}). Check permissions and free space."
        ) from error


def interruption(goes_on: str = "") -> str:
    """What is true after an interruption: what was written by then, and how to go on."""
    kept = _kept()
    work = _names(staging.left)
    told = [f"written before that: {kept}"] * bool(kept) + [goes_on] * bool(goes_on)
    told += [f"The work on {work} is kept: the same command goes on with it"] * bool(work)
    return f"interrupted; {'. '.join(told if kept or goes_on else ['nothing was written', *told])}"


def _kept() -> str:
    """The names of what was written whole, "" where nothing was."""
    return _names(staging.committed)


def _names(paths: Iterable[Path]) -> str:
    names = [str(path) for path in dict.fromkeys(paths)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def prepare_streams() -> None:
    """Give closed standard streams a place to go, and make every name printable.

    A closed stream leaves its number to the next file that is opened: what a library prints would end up in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number: this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def prepare_log(quiet: bool) -> None:
    """Warnings and errors on the standard error stream, above a progress bar; other libraries' warnings too."""
    logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, handlers=[bar.LogHandler()], force=True)
    logging.captureWarnings(True)


def _settle_output() -> None:
    """Let what cannot be printed go nowhere, so that the interpreter does not complain when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _signals(goes_on: str) -> Iterator[None]:
    """Inside, signals that end the process raise `Ended`; where it does not arrive, a watcher ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _ENDING]
    # What is ignored, as SIGHUP under nohup, stays so.
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    ended = threading.Event()
    bell, ear = socket.socketpair()
    bell.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(ear, set(before), ended, goes_on), daemon=True)

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if not ended.is_set():  # a second one must not disturb the tidying up; the watcher hears it
            ended.set()
            _settle_work(number)
            _signals_heard.append(number)
            raise Ended(number)

    watcher.start()
    old_bell = signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            # After a signal the process is about to end, and one more may end it at once, without a word.
            signal.signal(number, signal.SIG_DFL if ended.is_set() else handler)
        signal.set_wakeup_fd(old_bell)
        bell.close()
        watcher.join()
        ear.close()


def _settle_work(number: int) -> None:
    """Decide what becomes of work that a later run can go on with."""
    if number in _NOT_GIVEN_UP:
        staging.keep_work()


def _watch(ear: socket.socket, numbers: set[int], ended: threading.Event, goes_on: str) -> None:
    """Wait for a signal's number; where the main thread does not come to handle it, tidy up and end the process.

    So does a second signal: whatever the first one's exception is doing takes too long.
    """
    count = 0
    while heard := ear.recv(1):
        count += heard[0] in numbers
        if heard[0] in numbers and (count > 1 or not ended.wait(_PATIENCE)):
            if count == 1:
                _settle_work(heard[0])
            staging.discard_all()
            with contextlib.suppress(OSError):
                os.write(2, f"\n{interruption(goes_on)}\n".encode(errors="backslashreplace"))
            os._exit(128 + heard[0])
