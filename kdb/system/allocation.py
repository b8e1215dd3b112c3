"""Tunes glibc's allocator while a query computes, so that what it frees serves its next arrays, and the next query."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kdb.system.locks import ProcessLock

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

KEEP = 1 << 30
"""The thresholds in a query, in bytes: larger than any array of a batch."""
IDLE = 1.0
"""Seconds after a query until free memory is returned to the system, unless another query begins."""
USUAL = 32 << 20
"""The thresholds outside of queries, in bytes: those to which glibc raises its own after a large array is freed."""


class _Allocator:
    """Counts the queries that compute: the first one raises the process's thresholds, the last one restores them."""

    def __init__(self) -> None:
        # On other systems (musl, macOS, Windows) nothing is changed.
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._library = library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
        self._lock = ProcessLock(self._renew)
        self._users = 0
        self._left = 0.0
        self._waiting: threading.Thread | None = None

    def _renew(self) -> None:
        """In a forked process: its other threads, and their queries, are not in it."""
        self._users, self._waiting = 0, None

    def enter(self) -> None:
        """Begin a query."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._thresholds(KEEP)

    def leave(self) -> None:
        """End a query."""
        with self._lock:
            self._users = max(self._users - 1, 0)
            if self._users == 0:
                self._thresholds(USUAL)
                self._left = time.monotonic()
                if self._library is not None and self._waiting is None:
                    waiting = threading.Thread(target=self._trim_when_idle, daemon=True)
                    with suppress(RuntimeError):  # no thread can start, as when the interpreter ends
                        waiting.start()
                        self._waiting = waiting

    def _trim_when_idle(self) -> None:
        """Return what is free to the system IDLE seconds after the last query, unless another one computes then."""
        left = IDLE
        while True:
            time.sleep(left)
            with self._lock:
                left = self._left + IDLE - time.monotonic()
                if self._users == 0 and left > 0:
                    continue
                self._waiting = None
                if self._users == 0 and self._library is not None:
                    self._library.malloc_trim(0)
                return

    def _thresholds(self, size: int) -> None:
        if self._library is not None:
            self._library.mallopt(M_MMAP_THRESHOLD, size)
            self._library.mallopt(M_TRIM_THRESHOLD, 2 * size - 1)


_allocator = _Allocator()


@contextmanager
def retained() -> Iterator[None]:
    """Within this context large arrays reuse freed memory; otherwise glibc maps each anew, with a fault for every page.

    A query makes and frees arrays of megabytes thousands of times.  On Inception3 page faults took a tenth of the time;
    with this they take a third of that.  IDLE seconds after the last query free memory is returned to the system:
    queries, and rounds of one, that follow one another would fault for it anew.  To ask first how much is free takes as
    long as to return it, up to 10 ms where memory is in many pieces.
    """
    _allocator.enter()
    try:
        yield
    finally:
        _allocator.leave()
