"""A crew of processes of this machine."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

from kdb import errors
from kdb.errors import Error, ExecutionError
from kdb.runs.driving import Event
from kdb.runs.images import Item
from kdb.runs.starts.opening import Opening

SILENCE = 120.0
"""Seconds without a sign of life after which a worker is taken for dead."""


class Processes:
    """So many workers, each a process that :mod:`kdb.runs.starts.child` runs in."""

    def __init__(self, size: int, opening: Opening) -> None:
        self.size = size
        self._opening = opening
        # The kdb of this process, however it was found, and no module that lies about in the current folder.
        found = os.pathsep.join(filter(None, [str(Path(errors.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        self._environment = {**os.environ, "PYTHONPATH": found}
        self._events: queue.SimpleQueue[tuple[int, dict[str, Any] | None]] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._heard: dict[int, float] = {}
        self._numbers = count()

    def start(self) -> int:
        """Start a process; raises ExecutionError where the system refuses."""
        number = next(self._numbers)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "kdb.runs.starts.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=self._environment,
                start_new_session=True,  # Ctrl-C is the driver's business
            )
        except OSError as error:
            raise ExecutionError(f"cannot start a worker process: {errors.reason(error)}") from error
        self._processes[number] = process
        self._heard[number] = time.monotonic()
        self._write(number, self._opening.plain())
        threading.Thread(target=self._read, args=(number, process), daemon=True).start()
        return number

    def give(self, worker: int, item: Item, accept_changed: bool) -> None:
        """Send it the image; if it is dead, that is heard of soon."""
        self._write(worker, {"item": asdict(item), "accept_changed": accept_changed})

    def next(self, seconds: float) -> Event | None:
        """The next event of any process."""
        try:
            worker, message = self._events.get(timeout=seconds)
        except queue.Empty:
            return self._silent()
        self._heard[worker] = time.monotonic()
        if worker not in self._processes:
            return None
        if message is None:
            return self._ended(worker)
        if message["kind"] == "alive":
            return None
        if message["kind"] == "broken":
            kind = getattr(errors, message["error"], ExecutionError)
            kind = kind if isinstance(kind, type) and issubclass(kind, Error) else ExecutionError
            return Event(worker, "broken", error=kind(message["text"]))
        return Event(worker, message["kind"], row=message.get("row"))

    def close(self) -> None:
        """Kill all that are left."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
        self._processes.clear()

    def _write(self, number: int, message: Mapping[str, Any]) -> None:
        pipe = self._processes[number].stdin
        assert pipe is not None
        with suppress(OSError):
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        """In a thread of its own: what the process says, then None."""
        assert process.stdout is not None
        with suppress(OSError, ValueError):  # killed in the middle of a line; closed
            for line in process.stdout:
                self._events.put((number, json.loads(line)))
        self._events.put((number, None))

    def _ended(self, number: int) -> Event:
        process = self._processes.pop(number)
        process.kill()
        code = process.wait()
        how = f"killed by signal {-code}" if code < 0 else f"exit status {code}"
        return Event(number, "died", text=f"a worker process ended, {how}")

    def _silent(self) -> Event | None:
        now = time.monotonic()
        for number in list(self._processes):
            if now - self._heard[number] > SILENCE:
                return self._ended(number)
        return None
