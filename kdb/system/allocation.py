"""The C library's allocator while a query computes: freed memory stays with the process until the query ends."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# From malloc.h of glibc.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

KEEP = 1 << 30
"""Bytes: no array of a batch is as large."""
USUAL = 32 << 20
"""Where glibc's thresholds come to lie by themselves once a process has freed an array of that size or a larger one."""


class _Allocator:
    """glibc's thresholds are the process's: the first query that computes raises them, the last puts them back."""

    def __init__(self) -> None:
        # Elsewhere (musl, macOS, Windows) the allocator is left as it is.
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._library = library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
        self._lock = threading.Lock()
        self._users = 0

    def enter(self) -> None:
        """One more user."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._thresholds(KEEP)

    def leave(self) -> None:
        """One less."""
        with self._lock:
            self._users -= 1
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
    """Within, arrays take memory that others gave back; outside, glibc maps large ones anew, a fault for every page.

    A query makes and frees arrays of megabytes thousands of times.  On Inception3 the faults took a tenth of its time,
    so they take a third of that; afterwards less memory stays with the process, not more, since it is trimmed.
    """
    _allocator.enter()
    try:
        yield
    finally:
        _allocator.leave()
