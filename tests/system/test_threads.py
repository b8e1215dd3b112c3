"""A worker: one thread for all work, turns, Ctrl-C, and processes that are forked."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from kdb.errors import ExecutionError
from kdb.system.locks import ProcessLock
from kdb.system.threads import NewThreads, Worker, checkpoint, start


def here() -> int:
    return threading.get_ident()


def test_all_work_is_done_in_one_thread_that_is_not_the_callers() -> None:
    worker, seen = Worker("worker"), set[int]()
    for _ in range(3):
        seen.add(worker.call(here))
        task = worker.task(lambda: seen.add(here()), "task")
        task.start()
        task.end()
    assert len(seen) == 1 and here() not in seen
    assert worker.call(lambda: worker.call(here)) in seen, "from the worker itself, at once"
    assert Worker("other").call(here) not in seen
    assert NewThreads().call(here) == here()


def test_an_exception_reaches_the_caller_and_the_worker_goes_on() -> None:
    worker = Worker("worker")
    for error in (ValueError("wrong"), KeyboardInterrupt("wrong"), SystemExit("wrong")):

        def work(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error), match="wrong") as caught:
            worker.call(work)
        assert caught.traceback[-1].name == "work"
    assert worker.call(lambda: 3) == 3


def test_nothing_is_kept_of_what_was_done() -> None:
    class Large:
        pass

    worker, large = Worker("worker"), Large()
    gone = weakref.ref(large)
    worker.call(lambda large=large: None)

    def fail(large: Large = large) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        worker.call(fail)
    worker.call(here)  # the turn before has been let go
    del large, fail
    assert gone() is None


def test_a_task_that_has_not_begun_never_does() -> None:
    worker, begun, gate, done = Worker("worker"), threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        gate.wait(10)
        done.append("first")

    running, waiting = worker.task(first, ""), worker.task(lambda: done.append("second"), "")
    never, thread = worker.task(lambda: done.append("third"), ""), NewThreads().task(lambda: done.append("fourth"), "")
    running.start()
    waiting.start()
    waiting.end()
    never.end()
    thread.end()
    begun.wait(10)
    gate.set()
    running.end()
    worker.call(here)
    assert done == ["first"]


def test_callers_wait_for_their_turns() -> None:
    events, busy = list[str](), threading.Lock()

    @contextmanager
    def around() -> Iterator[None]:
        events.append(f"begin {threading.current_thread().name}")
        yield
        events.append(f"end {threading.current_thread().name}")

    worker = Worker("worker", around)

    def work() -> int:
        assert busy.acquire(blocking=False), "two at a time"
        time.sleep(0.002)
        busy.release()
        return here()

    found: list[int] = []
    callers = [threading.Thread(target=lambda: found.append(worker.call(work)), name=str(i)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(10)
    assert len(found) == 8 and len(set(found)) == 1
    assert sorted(events) == sorted(f"{which} {i}" for which in ("begin", "end") for i in range(8))


def interrupted(call: Callable[[], object], count: int = 1) -> None:
    """Ctrl-C soon after the call has begun, and again."""

    def press() -> None:
        for _ in range(count):
            time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        presser.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_is_raised_once_the_work_has_stopped() -> None:
    worker, ended = Worker("worker"), list[str]()

    def patient() -> None:
        try:
            for _ in range(1000):
                time.sleep(0.01)
                checkpoint()
        finally:
            ended.append("patient")

    def deaf() -> None:
        time.sleep(0.5)
        ended.append("deaf")

    start = time.perf_counter()
    interrupted(lambda: worker.call(patient))
    assert ended == ["patient"] and time.perf_counter() - start < 5
    interrupted(lambda: worker.call(deaf), 2)  # a second one waits
    assert ended == ["patient", "deaf"]
    checkpoint()  # nobody interrupts this thread
    assert worker.call(lambda: [checkpoint(), 3][1]) == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
def test_ctrl_c_takes_a_call_off_the_queue() -> None:
    worker, gate, done = Worker("worker"), threading.Event(), list[str]()
    task = worker.task(lambda: gate.wait(10) and None, "")
    task.start()
    interrupted(lambda: worker.call(lambda: done.append("late")))
    gate.set()
    task.end()
    worker.call(here)
    assert not done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_starts_a_thread_of_its_own() -> None:
    worker = Worker("worker")
    worker.call(here)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        signal.alarm(10)  # rather than wait for ever
        os._exit(7 if worker.call(lambda: 7) == 7 else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert worker.call(lambda: 3) == 3


class NoThreads:
    """A system that has threads for the first ``there`` only."""

    def __init__(self, there: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self._there, self._start = there, threading.Thread.start
        monkeypatch.setattr(threading.Thread, "start", lambda thread: self.start(thread))

    def start(self, thread: threading.Thread) -> None:
        if self._there <= 0:
            raise RuntimeError("can't start new thread")
        self._there -= 1
        self._start(thread)


def test_fewer_threads_do_where_the_system_has_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    tasks = [NewThreads().task(lambda i=i: done.append(i), "") for i in range(4)]  # type: ignore[misc]
    NoThreads(2, monkeypatch)
    assert start(tasks) == 2
    for task in tasks:
        task.end()
    assert sorted(done) == [0, 1]
    with pytest.raises(ExecutionError, match=r"no thread left .*SET threads = 1"):
        start(tasks[2:])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_finds_locks_free() -> None:
    renewed: list[int] = []
    lock, held, over = ProcessLock(lambda: renewed.append(1)), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            over.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        signal.alarm(10)
        with lock, lock:
            os._exit(7 if renewed == [1] else 1)
    _, status = os.waitpid(child, 0)
    over.set()
    holder.join()
    assert os.waitstatus_to_exitcode(status) == 7 and renewed == []
