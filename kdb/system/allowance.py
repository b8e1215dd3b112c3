"""How long a statement may take: looked at between two pieces of its work, in the thread that runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kdb.errors import Timeout


class Allowance:
    """The seconds that one statement may take, None for any number; they pass only while it is ``running``.

    A statement may go on after it has returned: maps of several images are computed when they are asked for.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds, self._left = seconds, seconds
        self._until = float("inf")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around work on the statement, one thread at a time; within itself it does nothing."""
        before = getattr(_current, "allowance", None)
        if self._left is None or before is self:
            yield
            return
        start = time.monotonic()
        self._until = start + self._left
        _current.allowance = self
        try:
            yield
        finally:
            _current.allowance = before
            self._left -= time.monotonic() - start

    def check(self) -> None:
        """Raise Timeout if the seconds are over."""
        if time.monotonic() > self._until:
            raise Timeout(f"the statement took longer than statement_timeout, {self._seconds:g} s; it was stopped")


_current = threading.local()
"""In a thread that runs a statement: its allowance."""


def check_time() -> None:
    """Raise Timeout if the statement that this thread runs has taken longer than it may."""
    allowance: Allowance | None = getattr(_current, "allowance", None)
    if allowance is not None:
        allowance.check()
