"""Work in threads beside the work: what can be made ahead of it, and what follows behind it, with bounded queues.

An `Ahead` makes items before they are asked for; a `Behind` works on items after they were handed over. Both are used
in a `with` statement by one thread, to which they hand on what goes wrong in theirs, and what is reported there: the
callback is only ever called by that thread, while it waits. When the block ends, for whatever reason, theirs has ended.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from .progress import Callback, report

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

T = TypeVar("T")
Told: TypeAlias = "tuple[str, int, int, torch.Tensor | None]"

_POLL = 0.2
"""Seconds after which a wait looks around: on Windows nothing interrupts it before."""


class StoppedError(Exception):
    """Raised in a thread of this module, or by what waits for one, when nobody wants the result any more."""


class _Beside(ABC):
    """A thread, what it has reported, and how it ended. All of that changes under one condition."""

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback
        self._changed = threading.Condition()
        self._told: deque[Told] = deque()
        self._stopping = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread and wait until it has ended: at its next item or report, or at once where it waits."""
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    @abstractmethod
    def _work(self) -> None:
        """What the thread does."""

    def _run(self) -> None:
        try:
            self._work()
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _report(self, stage: str, done: int, total: int, preview: torch.Tensor | None = None) -> None:
        """The thread's callback: keeps what is told until somebody waits; raises StoppedError when it is to end."""
        with self._changed:
            self._raise_if_stopping()
            self._told.append((stage, done, total, preview))
            self._changed.notify_all()

    def _raise_if_stopping(self) -> None:
        if self._stopping:
            raise StoppedError

    def _until(self, ready: Callable[[], bool]) -> None:
        """In the thread, under the condition: wait until this is so; raises StoppedError when it is to end."""
        while not ready() and not self._stopping:
            self._changed.wait()
        self._raise_if_stopping()

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait, outside of the thread, until this is so or the thread has ended or is to end; tell its reports."""
        done = False
        while not done:
            with self._changed:
                self._changed.wait_for(lambda: self._told or ready() or self._ended or self._stopping, _POLL)
                told, done = list(self._told), ready() or self._ended or self._stopping
                self._told.clear()
            for entry in told:
                report(self.callback, *entry)

    def check(self) -> None:
        """Raise what has gone wrong in the thread, if anything has."""
        if self._error is not None:
            raise self._error


class Ahead(_Beside, Generic[T]):
    """An iterator over items that are made in a thread, at most `bound` ahead of what was taken, in their order.

    make: called in the thread with a callback for its progress; gives the items. bound: None for any number. What make
    raises is raised after the items before it were taken.
    """

    def __init__(
        self, make: Callable[[Callback], Iterable[T]], bound: int | None, callback: Callback | None = None
    ) -> None:
        """callback: told by whoever takes the items; it may be set (`callback`) before the first is taken."""
        super().__init__(callback)
        self._make, self._bound = make, bound
        self._items: deque[T] = deque()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        """The next item; raises StoppedError after `stop`."""
        self._wait(lambda: bool(self._items))
        with self._changed:
            self._raise_if_stopping()
            if self._items:
                self._changed.notify_all()
                return self._items.popleft()
        self.check()
        raise StopIteration

    def wait_until_made(self) -> None:
        """In any thread: wait until all items are made; raises StoppedError where they never will be."""
        with self._changed:
            while not self._ended and not self._stopping:
                self._changed.wait()
            if self._stopping or self._error is not None:
                raise StoppedError

    def _work(self) -> None:
        items = iter(self._make(self._report))
        try:
            for item in items:
                self._offer(item)
                del item  # it belongs to whoever takes it
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _offer(self, item: T) -> None:
        with self._changed:
            self._until(lambda: self._bound is None or len(self._items) < self._bound)
            self._items.append(item)
            self._changed.notify_all()


class Behind(_Beside, Generic[T]):
    """Work on items in a thread, in the order in which they were put, while at most `bound` wait.

    work: called in the thread with an iterator over the items and a callback for its progress.
    """

    def __init__(
        self, work: Callable[[Iterator[T], Callback], None], bound: int, callback: Callback | None = None
    ) -> None:
        super().__init__(callback)
        self._do, self._bound = work, bound
        self._items: deque[T] = deque()
        self._complete = False

    def put(self, item: T) -> None:
        """Hand an item over, when there is room. Raises what has gone wrong in the thread."""
        self._wait(lambda: len(self._items) < self._bound)
        self.check()
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all work is done. Raises what has gone wrong in the thread."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()
        self._wait(lambda: False)
        self.check()

    def _work(self) -> None:
        self._do(self._taken(), self._report)

    def _taken(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._until(lambda: bool(self._items) or self._complete)
                if not self._items:
                    return
                self._changed.notify_all()
                item = self._items.popleft()
            yield item
            del item
