"""Ctrl-C: held back in stretches of foreign C++ code, which abort the process when an exception passes through, and
made one of kdb's own errors.
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
    """Hold Ctrl-C back until the block ends, and raise KeyboardInterrupt then; a second one is not held back.

    Does nothing outside the main thread, where no signal arrives, and where somebody else handles SIGINT.
    """
    held = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or held is not signal.default_int_handler:
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
        signal.signal(signal.SIGINT, held)
    if received:
        raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C outside a map's execution becomes Interrupted too, without a partial map."""
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted from error
