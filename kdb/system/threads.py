"""Threads that compute: which they are, and how many the libraries beneath may use in them."""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from kdb.errors import ExecutionError
from kdb.system.allowance import check_time
from kdb.system.interrupts import deferred

T = TypeVar("T")


def quiet() -> np.errstate:
    """numpy without warnings: an overflow within a network is harmless, as in a sigmoid, or seen in its output."""
    return np.errstate(all="ignore")


class _Pools:
    """The libraries with threads of their own, which are looked for again once modules were imported: it takes 2 ms."""

    def __init__(self) -> None:
        self._modules, self._controller = 0, ThreadpoolController()

    def found(self) -> ThreadpoolController:
        """What limits them."""
        if self._modules != len(sys.modules):
            self._modules, self._controller = len(sys.modules), ThreadpoolController()
        return self._controller


_pools = _Pools()


@contextmanager
def limited_pools(threads: int, computes: bool = True) -> Iterator[None]:
    """Around workers, in the thread that starts them: BLAS on so many threads; afterwards all as it was found.

    No time is spent on BLAS where the host only launches and so ``computes`` nothing.
    """
    before = torch.get_num_threads()
    try:
        with _pools.found().limit(limits=threads, user_api="blas") if computes else nullcontext():
            yield
    finally:
        # Workers also set what threads that are started later begin with.
        torch.set_num_threads(before)


@contextmanager
def all_threads(threads: int) -> Iterator[None]:
    """The libraries on so many threads in the calling thread; afterwards all as it was found."""
    threads = 1 if _process.is_forked else threads
    with limited_pools(threads):
        torch.set_num_threads(threads)
        yield


class _Process:
    """Whether this process was forked off another one."""

    def __init__(self) -> None:
        self.is_forked = False
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self.is_forked = True


_process = _Process()


def after_fork() -> AbstractContextManager[None]:
    """Around all work in a thread: in a forked process the libraries compute on that thread alone.

    The threads that helped it are not in the new process, and OpenMP would wait for them for ever.
    """
    return all_threads(1) if _process.is_forked else nullcontext()


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """In a worker: torch on so many threads, no gradients, numpy quiet.

    All of these belong to a thread, so each worker asks for itself.
    """
    # A thread takes the process's count over at its first use of torch: asked for, or it would undo the next.
    torch.get_num_threads()
    torch.set_num_threads(threads)
    with torch.inference_mode(), quiet():
        yield


# --- where work is done ------------------------------------------------------------------------------------------


class Task(Protocol):
    """Work beside the caller, which looks after its own errors."""

    def start(self) -> None:
        """Begin, or wait for a turn."""

    def end(self) -> None:
        """Wait until it has ended; where it has not begun it never does."""


class Threads(Protocol):
    """Where a backend's work is done."""

    def call(self, work: Callable[[], T]) -> T:
        """The result of ``work``, or its exception, raised; the caller waits."""

    def task(self, work: Callable[[], None], name: str) -> Task:
        """``work``, to be started."""


class NewThreads:
    """The caller's own thread, and a new one, so ``name``d, for each task."""

    def call(self, work: Callable[[], T]) -> T:
        """Here and now."""
        return work()

    def task(self, work: Callable[[], None], name: str) -> Task:
        """A thread."""
        return _Thread(target=work, name=name, daemon=True)


class _Thread(threading.Thread):
    def start(self) -> None:
        try:
            super().start()
        except RuntimeError as error:
            raise ExecutionError(
                f"the system has no thread left for kdb ({error}); SET threads = 1 takes fewest, "
                "and limits of the process or container may be raised"
            ) from error

    def end(self) -> None:
        if self.ident is not None:
            self.join()


def start(tasks: Sequence[Task]) -> int:
    """Start as many of the ``tasks`` as the system has threads for, and return their number.

    Raises ExecutionError where it has none.
    """
    for number, task in enumerate(tasks):
        try:
            task.start()
        except ExecutionError:
            if not number:
                raise
            return number
    return len(tasks)


class Worker:
    """One thread for all work, as long as the process lives: libraries keep what they have learned by thread.

    Whoever comes while it is busy waits for a turn.  ``around`` is entered in the calling thread, around each call.
    The thread is started when it is first needed; a forked process, which inherits no threads, starts one of its own.
    """

    def __init__(self, name: str, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._name, self._around = name, around
        self._queues: dict[int, _Queue] = {}  # by process

    def call(self, work: Callable[[], T]) -> T:
        """In the worker's thread; at once where that is the caller's.

        Ctrl-C and Timeout are raised when the work has ended, which it does at its next :func:`checkpoint`.
        """
        if self._is_current():
            return work()
        turn = _Turn(self, work)
        with self._around():
            try:
                turn.start()
                while not turn.future.done():  # the system may tell another thread of Ctrl-C, which wakes no one
                    wait([turn.future], timeout=0.1)
                    check_time()
                result: T = turn.future.result()
                return result
            except BaseException:
                with deferred():
                    turn.stop.set()
                    turn.end()
                raise
            finally:
                del turn  # as in _Turn.run

    def task(self, work: Callable[[], None], name: str) -> Task:
        """In the worker's thread."""
        return _Turn(self, work)

    def _is_current(self) -> bool:
        return getattr(_current, "worker", None) is self

    def put(self, turn: _Turn) -> None:
        """Let it have its turn."""
        if self._is_current():
            turn.run()
        else:
            process = os.getpid()
            # Set without a lock, which another thread might have held when the process was forked.
            (self._queues.get(process) or self._queues.setdefault(process, _Queue(self._name, self))).put(turn)


class _Turn:
    """Work that waits for its turn, has it, or had it."""

    def __init__(self, worker: Worker, work: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self.stop = threading.Event()
        self._worker, self._work = worker, work

    def start(self) -> None:
        self._worker.put(self)

    def end(self) -> None:
        if not self.future.cancel():
            wait([self.future])

    def run(self) -> None:
        """In the worker's thread."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._work())
        except BaseException as error:  # the caller's
            self.future.set_exception(error)
            del self  # the exception's frames refer to what they have computed, and would to themselves


class _Queue:
    """A process's thread of a worker, and what waits for it."""

    def __init__(self, name: str, worker: Worker) -> None:
        self._turns: queue.SimpleQueue[_Turn] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread = _Thread(target=self._live, args=(worker,), name=name, daemon=True)

    def put(self, turn: _Turn) -> None:
        with self._lock:
            if self._thread.ident is None:
                with deferred():
                    self._thread.start()
        self._turns.put(turn)

    def _live(self, worker: Worker) -> None:
        _current.worker = worker
        while True:
            _current.turn = self._turns.get()
            _current.turn.run()
            del _current.turn  # and with it what the work refers to


_current = threading.local()
"""In a worker's thread: the worker, and whose turn it is."""


def checkpoint() -> None:
    """Where work may stop: raises Timeout if the thread's statement has taken too long.

    In a worker's thread it raises KeyboardInterrupt if whoever called for the work has given up meanwhile.
    """
    check_time()
    turn = getattr(_current, "turn", None)
    if turn is not None and turn.stop.is_set():
        raise KeyboardInterrupt
