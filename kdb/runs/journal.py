"""Journals: what each worker of a run did, a line of JSON for each event, on the disk before anything builds on it.

    {"start": 17, "at": 1764500000.0}                             work on image 17 begins
    {"row": {"number": 17, "status": "done", ...}, "ends": 1, "at": ..}     its row; a failed one names the error
    {"stopped": 17}                                               work was given up, and is nobody's fault

A start that none of the others ends was cut off: its worker was killed.  A worker's journal is its own, so that nobody
writes to a file whose last line was torn.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdb.system.files import sync_folder

SUFFIX = ".jsonl"


class Journal:
    """The journal of one worker, made with its first line.  All methods raise OSError."""

    def __init__(self, folder: Path, part: str = "") -> None:
        part = f"{part}-" if part else ""
        host = "".join(each if each.isalnum() or each in "-_." else "-" for each in socket.gethostname())[:60]
        self.path = folder / f"{part}{host}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self._descriptor: int | None = None

    def start(self, number: int) -> None:
        """Work on an image begins.  A machine that loses power may lose this line, a killed process does not."""
        self._write({"start": number, "at": time.time()})

    def row(self, row: dict[str, Any], ends: int = 1) -> None:
        """An image's row, which ends so many starts; on the disk when this returns."""
        self._write({"row": row, "ends": ends, "at": time.time()})
        assert self._descriptor is not None
        os.fsync(self._descriptor)

    def stopped(self, number: int) -> None:
        """Work on an image was given up by whoever ran it."""
        self._write({"stopped": number})

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, event: dict[str, Any]) -> None:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            sync_folder(self.path.parent)
        line = json.dumps(event).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):  # as on a disk that is full: the next write says so
            os.write(self._descriptor, line[written:])


def lines(path: Path, start: int = 0) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(offset, length, event) of each line of a journal from an offset on; those that are torn are passed over."""
    with open(path, "rb") as file:
        file.seek(start)
        for line in file:
            if line.endswith(b"\n") and (event := event_of(line)) is not None:
                yield start, len(line), event
            start += len(line)


def event_of(line: bytes) -> dict[str, Any] | None:
    """The event in a line; None for one that is torn."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
