"""Threads before and after the work: order, bounds, reports, what goes wrong, and that none is left behind."""

from __future__ import annotations

import threading
import time

import pytest

from svfr_model.base.background import Ahead, Behind, StoppedError

PATIENCE = 20.0


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert not [thread for thread in threading.enumerate() if thread not in before]


def until(true):
    """Wait for another thread to make this true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


class Source:
    """Counts up to `count`; knows what was made, in which thread, and whether it was closed."""

    def __init__(self, count, error=None):
        self.count, self.error, self.made, self.closed, self.threads = count, error, [], False, set()

    def __call__(self, told):
        try:
            for number in range(self.count):
                self.made.append(number)
                self.threads.add(threading.current_thread())
                told("make", number + 1, self.count)
                yield number
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


@pytest.mark.parametrize("bound", [1, 3, None])
def test_items_come_in_order_from_another_thread(bound):
    source = Source(50)
    with Ahead(source, bound) as items:
        assert list(items) == list(range(50))
        assert list(items) == [], "the end stays the end"
    assert source.threads
    assert threading.current_thread() not in source.threads
    assert source.closed


@pytest.mark.parametrize("bound", [1, 4])
def test_no_more_is_made_ahead_than_allowed(bound):
    source = Source(50)
    with Ahead(source, bound) as items:
        for taken in range(1, 20):
            next(items)
            until(lambda taken=taken: len(source.made) == taken + bound + 1)  # one more is in the making
            time.sleep(0.002)
            assert len(source.made) == taken + bound + 1


def test_without_a_bound_everything_is_made_at_once():
    source = Source(500)
    with Ahead(source, None) as items:
        until(lambda: source.closed)
        assert next(items) == 0


def test_an_error_comes_after_the_items_before_it():
    error = ValueError("broken")
    with Ahead(Source(3, error), None) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="broken") as raised:
            next(items)
    assert raised.value is error


def fail(items):
    next(items)
    raise KeyError


def test_a_consumer_that_fails_or_leaves_ends_the_thread():
    source = Source(10**9)
    with pytest.raises(KeyError), Ahead(source, 2) as items:
        fail(items)
    assert source.closed
    source = Source(10**9)
    with Ahead(source, 2) as items:
        assert next(items) == 0
    assert source.closed


def test_reports_are_told_by_the_consumers_thread_in_order():
    told = []

    def callback(*entry):
        told.append((threading.current_thread(), *entry[:3]))

    with Ahead(Source(30), 2, callback) as items:
        for item in items:
            assert len(told) > item, "what was reported before an item is told before it comes"
    assert told == [(threading.current_thread(), "make", number + 1, 30) for number in range(30)]


def test_a_callback_that_raises_cancels():
    def callback(stage, done, total, preview):
        if done == 5:
            raise KeyboardInterrupt

    source = Source(10**9)
    with pytest.raises(KeyboardInterrupt), Ahead(source, 2, callback) as items:
        list(items)
    assert source.closed
    assert len(source.made) < 12


def test_one_ahead_of_another_hands_everything_on():
    told = []
    source = Source(20)

    def doubled(callback):
        with Ahead(source, 2, callback) as items:
            for item in items:
                callback("double", item + 1, 20)
                yield 2 * item

    with Ahead(doubled, 1, lambda *entry: told.append(entry[:2])) as items:
        assert list(items) == [2 * item for item in range(20)]
    assert [entry for entry in told if entry[0] == "make"] == [("make", item + 1) for item in range(20)]
    assert [entry for entry in told if entry[0] == "double"] == [("double", item + 1) for item in range(20)]


def test_who_waits_for_a_stopped_thread_is_sent_away():
    """As a thread that waits for another must be, before it can be waited for itself."""
    going_on = threading.Event()

    def never(told):
        going_on.wait(PATIENCE)
        return iter(())

    seen = []

    def wait(items):
        try:
            next(items)
        except StoppedError:
            seen.append("stopped")

    with Ahead(never, 1) as items:
        waiter = threading.Thread(target=wait, args=(items,))
        waiter.start()
        items.stop()
        waiter.join(PATIENCE)
        going_on.set()
    assert seen == ["stopped"]


# behind


def test_work_is_done_in_order_in_another_thread_and_finished():
    done, told = [], []

    def work(items, callback):
        for item in items:
            done.append((threading.current_thread(), item))
            callback("work", item + 1, 20)
        done.append((threading.current_thread(), "end"))

    with Behind(work, 3, lambda *entry: told.append((threading.current_thread(), *entry[:3]))) as behind:
        for item in range(20):
            behind.put(item)
        behind.finish()
        assert [item for _, item in done] == [*range(20), "end"]
    assert {thread for thread, _ in done}.isdisjoint({threading.current_thread()})
    assert told == [(threading.current_thread(), "work", item + 1, 20) for item in range(20)]


def test_no_more_waits_than_allowed():
    going_on, put = threading.Event(), []

    def work(items, callback):
        going_on.wait(PATIENCE)
        for _ in items:
            pass

    def fill(behind):
        for item in range(6):
            behind.put(item)
            put.append(item)

    with Behind(work, 2) as behind:
        filler = threading.Thread(target=fill, args=(behind,))
        filler.start()
        until(lambda: len(put) == 2)
        time.sleep(0.02)
        assert len(put) == 2
        going_on.set()
        filler.join(PATIENCE)
        assert len(put) == 6
        behind.finish()


@pytest.mark.parametrize("how", ["put", "check", "finish"])
def test_what_goes_wrong_behind_is_raised_in_front(how):
    def work(items, callback):
        next(items)
        raise OSError("disk full")

    with Behind(work, 1) as behind:
        behind.put(0)
        if how != "finish":
            until(lambda: behind._ended)
        calls = {"put": lambda: behind.put(1), "check": behind.check, "finish": behind.finish}
        with pytest.raises(OSError, match="disk full"):
            calls[how]()


def test_a_run_that_fails_ends_the_work_behind_it():
    done = []

    def work(items, callback):
        for item in items:
            for number in range(10**9):
                callback("work", number, 10**9)
                done.append(item)

    def cancelled(behind):
        for item in range(3):
            behind.put(item)
        until(lambda: done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Behind(work, 5) as behind:
        cancelled(behind)
    assert set(done) == {0}
