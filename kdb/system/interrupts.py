"""Ctrl-C: deferred while C++ code runs that would abort the process on an exception, and turned into
``Interrupted``.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from kdb.errors import Interrupted


@contextmanager
def deferred() -> Iterator[None]:
    """Defer Ctrl-C: KeyboardInterrupt is raised when the block ends, or at once for a second Ctrl-C.

    Does nothing in other threads than the main one, which receive no signals, and if SIGINT has a handler already.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is not signal.default_int_handler:
        yield
        return
    received = 0

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received += 1
        if received > 1:
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted, without a partial map, instead of KeyboardInterrupt."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted from error
