"""How far a run is, as its journals and the maps that are there say."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdb.runs import journal

NONE, FAILED, DONE = range(3)
"""What an image's best row says."""

DEATHS = 3
"""Workers that an image kills before it is put into quarantine."""

RECENT = 1000
"""Starts that the present rate is measured over."""


@dataclass
class State:
    """Of each image of a run, by its number.

    status      int8 [n]: DONE, FAILED or NONE
    starts      int32 [n]: how often work on it began
    cut_off     int32 [n]: starts that nothing ended: of workers that were killed, or are at work
    """

    count: int
    journals: list[Path] = field(default_factory=list)
    status: npt.NDArray[np.int8] = None  # type: ignore[assignment]  # empty
    starts: npt.NDArray[np.int32] = None  # type: ignore[assignment]
    cut_off: npt.NDArray[np.int32] = None  # type: ignore[assignment]
    # Where the last row of each kind is: which journal, and the bytes in it; -1 for none.
    _failed: npt.NDArray[np.int64] = None  # type: ignore[assignment]
    _done: npt.NDArray[np.int64] = None  # type: ignore[assignment]
    _first: float = float("inf")
    _last: float = float("-inf")
    _starts_at: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def __post_init__(self) -> None:
        self.status = np.zeros(self.count, np.int8)
        self.starts, self.cut_off = np.zeros(self.count, np.int32), np.zeros(self.count, np.int32)
        self._failed, self._done = (np.full((self.count, 3), -1, np.int64) for _ in range(2))

    @classmethod
    def of(cls, folder: Path, count: int) -> State:
        """Of a run of so many images, whose journals are in ``folder``."""
        state = cls(count)
        paths = sorted(folder.glob(f"*{journal.SUFFIX}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
        for path in paths:
            state._take(path)
        return state

    def _take(self, path: Path) -> None:
        self.journals.append(path)
        for offset, length, event in journal.lines(path):
            row = event.get("row")
            number = event.get("start", event.get("stopped", row.get("number") if isinstance(row, dict) else None))
            if not isinstance(number, int) or not 0 <= number < self.count:
                continue  # of no version of kdb
            at = event.get("at")
            if isinstance(at, int | float):
                self._first, self._last = min(self._first, at), max(self._last, at)
            if isinstance(row, dict):
                self._row(number, row, offset, length)
                self.cut_off[number] -= int(event.get("ends", 1))
            elif "start" in event:
                self.starts[number] += 1
                self.cut_off[number] += 1
                self._starts_at.append(float(event.get("at", 0)))
            else:
                self.cut_off[number] -= 1

    def _row(self, number: int, row: dict[str, Any], offset: int, length: int) -> None:
        """A row in the journal taken last: a failure counts until the image is done, or where its map is gone."""
        place = len(self.journals) - 1, offset, length
        if row.get("status") == "done":
            self._done[number], self._failed[number], self.status[number] = place, -1, DONE
        else:
            self._failed[number] = place
            self.status[number] = max(self.status[number], FAILED)

    def without(self, missing: npt.NDArray[np.int64]) -> None:
        """Take images whose maps are missing for such as were never done."""
        self.status[missing] = np.where(self._failed[missing, 0] < 0, NONE, FAILED)

    def between(self) -> tuple[float, float] | None:
        """When the first image began and the last ended, in seconds since 1970; None before the first."""
        return (self._first, self._last) if self._last >= self._first else None

    def rate(self) -> float | None:
        """Images a second of late, by when work on them began; None where there are too few."""
        times = sorted(self._starts_at)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else None

    def done(self) -> npt.NDArray[np.int64]:
        """The numbers of the images that are done."""
        return np.flatnonzero(self.status == DONE)

    def pending(self) -> npt.NDArray[np.int64]:
        """The numbers of those that are not: first those that no worker was killed at."""
        left = np.flatnonzero(self.status != DONE)
        return left[np.lexsort((left, self.status[left], np.maximum(self.cut_off[left], 0)))]

    def rows(self, numbers: npt.NDArray[np.int64]) -> dict[int, dict[str, Any]]:
        """The rows of those images that have one, in memory."""
        found: dict[int, dict[str, Any]] = {}
        there = numbers[self.status[numbers] != NONE]
        places = np.where((self.status[there] == DONE)[:, None], self._done[there], self._failed[there])
        for which in np.unique(places[:, 0]):
            of_it = places[:, 0] == which
            with open(self.journals[which], "rb") as file:
                for number, (_, offset, length) in zip(there[of_it].tolist(), places[of_it].tolist(), strict=True):
                    file.seek(offset)
                    event = journal.event_of(file.read(length))
                    if event is not None:
                        found[number] = event["row"]
        return found
