"""Driving a run: who works on which image next, and what becomes of an image whose worker dies."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from kdb.errors import Error, ExecutionError
from kdb.runs import rows
from kdb.runs.folder import RunFolder
from kdb.runs.images import Item
from kdb.runs.journal import Journal
from kdb.runs.state import DEATHS, FAILED, State
from kdb.runs.watch import Watch
from kdb.runs.worker import CHANGED, Worker

QUARANTINED = "Quarantined"
"""The error_kind of an image that has killed too many workers."""

FAILED_STARTS = 3
"""Workers in a row that die before they are ready, after which the run stops."""


@dataclass
class Work:
    """What is to be done of a run: the ``numbers`` of images in their order, how far it was, and who watches.

    ``deaths`` are how many workers an image kills before it is put into quarantine.
    """

    folder: RunFolder
    numbers: npt.NDArray[np.int64]
    state: State
    watch: Watch
    deaths: int = DEATHS
    _killed: dict[int, int] = field(init=False)
    _queue: deque[int] = field(init=False)
    _repaired: set[int] = field(init=False)

    def __post_init__(self) -> None:
        self._killed = {int(n): int(self.state.cut_off[n]) for n in self.numbers if self.state.cut_off[n] > 0}
        self._queue = deque(self.numbers.tolist())
        self._repaired = self._failed_otherwise()

    def _failed_otherwise(self) -> set[int]:
        """Failed images whose file may be another now: it was repaired, and nothing was made of what it was."""
        failed = self.numbers[self.state.status[self.numbers] == FAILED]
        return {n for n, row in self.state.rows(failed).items() if row.get("error_kind") != CHANGED}

    def __len__(self) -> int:
        return len(self._queue)

    def next(self, journal: Journal) -> tuple[Item, bool] | None:
        """The next image, and whether its file may have changed; None where there is none left.

        Images in quarantine get their rows on the way.
        """
        while self._queue:
            number = self._queue.popleft()
            item = self.folder.images[number]
            if self._killed.get(number, 0) < self.deaths:
                return item, number in self._repaired
            self._quarantine(item, journal)
        return None

    def again(self, item: Item, journal: Journal) -> None:
        """Its worker died: it comes last, or into quarantine."""
        self._killed[item.number] = self._killed.get(item.number, 0) + 1
        if self._killed[item.number] >= self.deaths:
            self._quarantine(item, journal)
        else:
            self._queue.append(item.number)

    def _quarantine(self, item: Item, journal: Journal) -> None:
        count = self._killed.pop(item.number)
        error = ExecutionError(f"{count} workers were killed while they computed it")
        row = rows.failed(item, error, None, "", kind=QUARANTINED)
        journal.row(row, ends=count)
        self.watch.tell(row)


def alone(work: Work, worker: Worker, journal: Journal) -> None:
    """Do the work here, one image after another; raises what :meth:`Worker.work` raises."""
    while not work.watch.cancelled and (found := work.next(journal)) is not None:
        work.watch.running(1)
        row = worker.work(*found)
        work.watch.tell(row)


# ---- a crew of workers elsewhere


@dataclass(frozen=True)
class Event:
    """What a ``worker`` says, or what is said of it.

    kind    'ready' for work; 'row': ``row`` is that of its image; 'died': ``text`` says how; 'broken': it cannot go on,
            nor could any other, because of ``error``
    """

    worker: int
    kind: str
    row: dict[str, Any] | None = None
    text: str = ""
    error: Error | None = None


class Crew(Protocol):
    """Workers elsewhere, each known by a number."""

    size: int

    def start(self) -> int:
        """Start one more; it says when it is ready."""

    def give(self, worker: int, item: Item, accept_changed: bool) -> None:
        """Give an image to one that is ready."""

    def next(self, seconds: float) -> Event | None:
        """The next event; None if there is none for so long."""

    def close(self) -> None:
        """End all workers at once."""


def by_crew(work: Work, crew: Crew, journal: Journal) -> None:
    """Have a crew do the work: a worker that dies is replaced.

    Raises the error of a worker that no other could do without, and ExecutionError where none can be started.
    """
    busy: dict[int, Item] = {}
    starting: set[int] = set()
    ready: list[int] = []
    failed_starts = 0
    try:
        for _ in range(min(crew.size, len(work))):
            starting.add(crew.start())
        while not work.watch.cancelled:
            while ready and (found := work.next(journal)) is not None:
                worker = ready.pop()
                busy[worker] = found[0]
                crew.give(worker, *found)
            work.watch.running(len(busy))
            if not busy and not len(work):
                return
            event = crew.next(0.2)
            if event is None:
                continue
            if event.kind == "broken":
                assert event.error is not None
                raise event.error
            if event.kind == "died":
                failed_starts = failed_starts + 1 if event.worker in starting else failed_starts
                if failed_starts >= FAILED_STARTS:
                    raise ExecutionError(f"workers die before they are ready for work: {event.text}")
                starting.discard(event.worker)
                if event.worker in ready:
                    ready.remove(event.worker)
                if (item := busy.pop(event.worker, None)) is not None:
                    work.again(item, journal)
                if len(work) > len(ready) + len(starting):
                    starting.add(crew.start())
                continue
            if event.kind == "row":
                assert event.row is not None
                busy.pop(event.worker, None)
                work.watch.tell(event.row)
            else:
                starting.discard(event.worker)
                failed_starts = 0
            ready.append(event.worker)
    finally:
        crew.close()
        for item in busy.values():
            journal.stopped(item.number)
