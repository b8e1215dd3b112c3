"""The one thread that works for a page: short jobs between the maps of a long one, the newest of each kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from kdb.errors import Cancel

Job = Callable[[], object]
LongJob = Callable[[], Iterator[object]]


class Worker:
    """Runs jobs in a thread of its own, until it is closed.

    A long job is a generator; whenever it yields, the short jobs that wait are run.  A newer long job replaces the one
    under way, which learns of it by :meth:`check`.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._short: dict[str, Job] = {}
        self._long: tuple[LongJob, Job] | None = None
        self._stopped, self._closed = False, False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def ask(self, kind: str, job: Job) -> None:
        """Have a short job done, in place of one of its ``kind`` that still waits."""
        with self._changed:
            self._short.pop(kind, None)
            self._short[kind] = job
            self._changed.notify()

    def begin(self, job: LongJob, forgotten: Job) -> None:
        """Have a long job done, in place of the one under way; ``forgotten`` is called where it never begins."""
        self._next((job, forgotten))

    def stop(self) -> None:
        """End the long job under way, and forget the one that waits."""
        self._next()

    def _next(self, job: tuple[LongJob, Job] | None = None) -> None:
        with self._changed:
            waiting, self._long = self._long, job
            self._stopped = True
            self._changed.notify()
        if waiting is not None:
            waiting[1]()

    def check(self) -> None:
        """Within a long job: raise :class:`kdb.Cancel` once it is to end."""
        if self._stopped:
            raise Cancel

    @property
    def stopped(self) -> bool:
        """Within a long job: whether it is to end."""
        return self._stopped

    @property
    def replaced(self) -> bool:
        """Within a long job that is to end: whether for another one, or as the page is closed."""
        return self._long is not None or self._closed

    def close(self) -> None:
        """End what is under way, forget what waits, and wait for the thread, unless it is the one that calls."""
        with self._changed:
            self._closed = self._stopped = True
            self._short.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._short or self._long or self._closed)
                if self._closed:
                    return
                job, long = None, None
                if self._short:
                    job = self._short.pop(next(iter(self._short)))
                elif self._long is not None:
                    (long, _), self._long, self._stopped = self._long, None, False
            if job is not None:
                job()
            elif long is not None:
                self._run(long)

    def _run(self, job: LongJob) -> None:
        for _ in job():
            while True:
                with self._changed:
                    if not self._short or self._stopped:
                        break
                    waiting = self._short.pop(next(iter(self._short)))
                waiting()
