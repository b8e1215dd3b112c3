"""Queries that are run: their maps as they grow, or the tables of other statements."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from kdb.errors import BindError, Cancel, printable
from kdb.language import syntax
from kdb.language.parser import parse
from kdb.results.maps import HeatMap
from kdb.results.tables import Headed, Table
from kdb.ui import maps
from kdb.ui.desk import Desk, query_of
from kdb.ui.history import Kept
from kdb.ui.wire import Buffer, Content

TELLING = 0.1
"""Seconds between two events of progress."""

Query = tuple[str, str]
"""A slot, a or b, and the text of its query."""


def run(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Run the text, in place of the query under way."""
    id, text = content["id"], str(content["text"])
    query = query_of(text)
    desk.text = text
    if query is not None:
        _begin(desk, id, [("a", text)])
        return
    statement, *others = parse(text)
    if others:
        raise BindError("the page runs one statement at a time; a script is for `kdb -f`")
    if isinstance(statement, syntax.ResumeRun):
        raise BindError("runs over data sets are for `kdb`; the page shows them, by Browse")
    if isinstance(statement, syntax.Explain | syntax.VerifyQuery):
        _check_writes_nothing(statement.query)
    desk.ask(f"statement {id}", id, lambda: _tell(desk, id, text), text)


def compare(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Run two queries, one after another, in place of the query under way."""
    _begin(desk, content["id"], [*zip(("a", "b"), map(str, content["texts"]), strict=True)])


def stop(desk: Desk, content: Content, buffers: Sequence[Buffer]) -> None:
    """Stop the query under way; what it has found is kept."""
    desk.worker.stop()


def _begin(desk: Desk, id: int, queries: Sequence[Query]) -> None:
    for slot, text in queries:
        if not desk.guarded(id, partial(_check_is_query, text), text, slot):
            return
    parameters = desk.parameters

    def job() -> Iterator[object]:
        for slot, text in queries:
            found = yield from _Growing(desk, id, slot, text, parameters).rounds()
            # Beside a query that failed there is nothing to compare.
            if not found or desk.worker.stopped:
                return

    def forgotten() -> None:
        for slot, _ in queries:
            _finished(desk, id, slot, None, True, 0.0)

    desk.worker.begin(job, forgotten)


def _check_is_query(text: str) -> None:
    query = query_of(text)
    if query is None:
        raise BindError("two OCCLUDE queries are compared")
    _check_writes_nothing(query)


def _check_writes_nothing(query: syntax.Occlude) -> None:
    if query.into is not None or query.run is not None:
        raise BindError("INTO writes files, which the page does by Export; leave INTO out")


def _finished(desk: Desk, id: int, slot: str, number: int | None, stopped: bool, seconds: float) -> None:
    fields = {"map": number, "stopped": stopped, "seconds": seconds}
    desk.post({"kind": "finished", "id": id, "slot": slot, **fields}, [])


class _Growing:
    """One query that is run, for the ``slot`` of the page where its map is shown."""

    def __init__(self, desk: Desk, id: int, slot: str, text: str, parameters: Mapping[str, Any]) -> None:
        self._desk, self._id, self._slot, self._text, self._parameters = desk, id, slot, text, parameters
        self._number, self._begun = desk.history.number(), time.perf_counter()
        self._told, self._first = 0.0, (0.0, 0)
        self._found: HeatMap | None = None

    def rounds(self) -> Generator[object, None, bool]:
        """Post what happens; yields between two maps, and returns whether the query did not fail."""
        self._post("started", text=self._text)
        maps_of_query = self._shown()
        # What is wrong is told, and the end too, unless it was refused.
        while (more := self._next(maps_of_query)) is True:
            yield None
        if more is None:
            return False
        if self._found is not None:
            self._desk.guarded(self._id, self._list)
        last = None if self._found is None else self._number
        seconds = time.perf_counter() - self._begun
        _finished(self._desk, self._id, self._slot, last, self._desk.worker.stopped, seconds)
        return True

    def _list(self) -> None:
        assert self._found is not None, "it was shown"
        with suppress(BindError):  # so many maps since that it is forgotten
            self._desk.history.done(self._number, maps.thumbnail(self._found))
        self._desk.list_history()

    def _next(self, growing: Iterator[object]) -> bool | None:
        """Show the next map: True, or False if there is none; None where the query failed, which has been told."""
        shown = False

        def show() -> None:
            nonlocal shown
            with suppress(Cancel):
                shown = next(growing, None) is not None

        return shown if self._desk.guarded(self._id, show, self._text, self._slot) else None

    def _shown(self) -> Iterator[HeatMap]:
        """The maps of the query, each after it was posted; not the partial one of a query that a newer one replaces."""
        session, worker = self._desk.session, self._desk.worker
        if (query := query_of(self._text)) is not None:
            self._desk.register_sample(query)
        region = session.region(self._text, self._parameters)
        worker.check()  # the model may have been loaded for a while
        for found in session.stream(self._text, self._parameters, progress=self._tell):
            if not found.complete and worker.replaced:
                return
            self._found = found
            self._desk.show(Kept(self._number, found, self._parameters, region), self._slot, self._id)
            yield found
            worker.check()

    def _tell(self, done: int, total: int) -> None:
        """Called while the query runs: tells the page, not too often, and ends the query if it must."""
        self._desk.worker.check()
        now = time.perf_counter()
        if not self._first[0] or done < self._first[1]:
            self._first = now, done
        if now - self._told < TELLING and done < total:
            return
        self._told = now
        begun, before = self._first
        left = None if done <= before else (now - begun) * (total - done) / (done - before)
        self._post("progress", done=done, total=total, seconds=now - self._begun, left=left)

    def _post(self, kind: str, **fields: Any) -> None:
        self._desk.post({"kind": kind, "id": self._id, "slot": self._slot, **fields}, [])


def _tell(desk: Desk, id: int, text: str) -> None:
    """Post the last result of statements that make no map."""
    result = desk.session.execute(text, desk.parameters)
    if not isinstance(result, Table):
        raise BindError("this makes no table to show")
    rows = [[_cell(each) for each in row] for row in result.rows]
    lines = [*result.lines] if isinstance(result, Headed) else []
    desk.post({"kind": "table", "id": id, "columns": [*result.columns], "rows": rows, "lines": lines}, [])


def _cell(value: object) -> str | int | float | bool | None:
    """A cell of a table as JSON has it."""
    if isinstance(value, float | np.floating):
        return maps.finite(float(value))
    if isinstance(value, int | None):
        return value
    return printable(str(value))
