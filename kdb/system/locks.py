"""Locks that a forked process finds free, whatever other threads were doing when it was forked."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from weakref import WeakSet


class ProcessLock:
    """An ``RLock`` of its own in each process.

    A fork copies locks as they are, but not the threads that would open them.  What such a thread left half done is
    the business of whoever is ``renewed``, called in the new process.
    """

    def __init__(self, renewed: Callable[[], object] | None = None) -> None:
        self._lock, self._renewed = threading.RLock(), renewed
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RuntimeError):  # in a process that was forked within: there it is open
            self._lock.release()

    def renew(self) -> None:
        """In a process that was just forked."""
        self._lock = threading.RLock()
        if self._renewed is not None:
            self._renewed()


_locks: WeakSet[ProcessLock] = WeakSet()

WARNINGS = ProcessLock()
"""Held in ``warnings.catch_warnings``, which swaps a list of the whole process: two threads must not interleave."""

MODULES = ProcessLock()
"""Held while a module that others hold is looked at, traced or run, so that threads take turns.

It is one for all modules: two may share parts, and PyTorch's exporter, warning filters and loggers, which a trace
changes, are those of the whole process.
"""


def _renew() -> None:
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
