"""What others see of a run while it goes on, and how they stop it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RECENT = 200
"""Images that the present rate is measured over."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    total               images of the run; of a shard those of its part
    done, failed        images with a map, and with an error
    running             images that are being computed
    images_per_second   of late; None before the second image
    seconds_left        for those that are left, at that rate; None where it is not known
    finished            whether nothing is going on any more: all is done, or it was stopped
    """

    total: int
    done: int
    failed: int
    running: int = 0
    images_per_second: float | None = None
    seconds_left: float | None = None
    finished: bool = False

    @property
    def left(self) -> int:
        """Images without a row."""
        return self.total - self.done - self.failed

    def __str__(self) -> str:
        rate = "" if self.images_per_second is None else f", {self.images_per_second:.3g} images/s"
        return f"{self.done:,} of {self.total:,} images done, {self.failed:,} failed{rate}"


class Watch:
    """Between whoever drives a run and whoever watches it.

    ``on_progress`` is called with the progress in the driver's thread after each image; what it raises stops the run.
    """

    def __init__(self, total: int, on_progress: Callable[[Progress], None] | None = None) -> None:
        self._total, self._done, self._failed, self._running = total, 0, 0, 0
        self._on_progress = on_progress
        self._times: deque[float] = deque([time.monotonic()], maxlen=RECENT)
        self._lock = threading.Lock()
        self._cancelled, self._finished = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        with self._lock:
            rate = None
            if len(self._times) > 1:
                rate = (len(self._times) - 1) / max(self._times[-1] - self._times[0], 1e-9)
            left = self._total - self._done - self._failed
            seconds = None if rate is None else left / rate
            finished = self._finished.is_set()
            return Progress(self._total, self._done, self._failed, self._running, rate, seconds, finished)

    def begin(self, done: int) -> None:
        """So many images were done before."""
        with self._lock:
            self._done = done
            self._times = deque([time.monotonic()], maxlen=RECENT)

    def tell(self, row: dict[str, Any]) -> None:
        """An image has a row."""
        with self._lock:
            if row["status"] == "done":
                self._done += 1
            else:
                self._failed += 1
            self._times.append(time.monotonic())
        if self._on_progress is not None:
            self._on_progress(self.progress)

    def running(self, count: int) -> None:
        """So many images are being computed."""
        with self._lock:
            self._running = count

    def cancel(self) -> None:
        """Ask the driver to stop."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether the driver is to stop."""
        return self._cancelled.is_set()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing is going on any more, because of an ``error`` if it is one."""
        self.error = error
        self.running(0)
        self._finished.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until nothing is going on, or so long; whether it is so."""
        return self._finished.wait(seconds)
