"""A worker in a process of its own: images come in on its standard input, rows go out on its standard output.

Both are lines of JSON.  The first line that comes in names the function that opens the run, and what it is given.  When
the input ends, whoever drove the run is gone, and so is this process.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from kdb.errors import Error
from kdb.runs.images import Item
from kdb.runs.starts.opening import Opening
from kdb.runs.worker import Worker

BEAT = 5.0
"""Seconds between two signs of life."""


def main() -> None:
    """Serve until the input ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not be taken for a row
    lock = threading.Lock()

    def say(**message: Any) -> None:
        with lock, suppress(OSError):  # nobody listens any more: the input ends, too
            out.write(json.dumps(message) + "\n")
            out.flush()

    def beat() -> None:
        while True:
            time.sleep(BEAT)
            say(kind="alive")

    given = _Given()
    threading.Thread(target=beat, daemon=True).start()
    try:
        first = given.next()
        given.worker = worker = Opening(**first).worker()
        say(kind="ready")
        while True:
            message = given.next()
            item = {**message["item"], "files": message["item"]["files"] and tuple(message["item"]["files"])}
            row = worker.work(Item(**item), message["accept_changed"])
            given.current = None
            say(kind="row", row=row)
    except Error as error:
        say(kind="broken", error=type(error).__name__, text=str(error))


class _Given:
    """The lines of the standard input; a thread reads them, so that its end is noticed during work."""

    def __init__(self) -> None:
        self.worker: Worker | None = None
        self.current: int | None = None
        self._lines: list[dict[str, Any]] = []
        self._there = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next line, waited for."""
        with self._there:
            while not self._lines:
                self._there.wait()
            message = self._lines.pop(0)
            if "item" in message:
                self.current = message["item"]["number"]
            return message

    def _read(self) -> None:
        for line in sys.stdin:
            with self._there:
                self._lines.append(json.loads(line))
                self._there.notify()
        if self.worker is not None and self.current is not None:
            self.worker.given_up(self.current)
        os._exit(0)


if __name__ == "__main__":
    main()
