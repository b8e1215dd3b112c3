"""Tunes glibc's allocator while a query computes, so that freed memory stays in the process until the query ends."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kdb.system.locks import ProcessLock

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

KEEP = 1 << 30
"""The thresholds in a query, in bytes: larger than any array of a batch."""
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

    def _renew(self) -> None:
        """In a forked process: its other threads' queries are not in it."""
        self._users = 0

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
                if self._library is not None:
                    self._library.malloc_trim(0)

    def _thresholds(self, size: int) -> None:
        if self._library is not None:
            self._library.mallopt(M_MMAP_THRESHOLD, size)
            self._library.mallopt(M_TRIM_THRESHOLD, 2 * size - 1)


_allocator = _Allocator()


@contextmanager
def retained() -> Iterator[None]:
    """Within this context large arrays reuse freed memory; otherwise glibc maps each anew, with a fault for every page.

    A query makes and frees arrays of megabytes thousands of times.  On Inception3 page faults took a tenth of the time;
    with this they take a third of that.  Free memory is returned to the system at the end.
    """
    _allocator.enter()
    try:
        yield
    finally:
        _allocator.leave()
