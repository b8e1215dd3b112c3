"""A page and what it posts, for tests."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import kdb
from kdb.execution.engine import Engine
from kdb.ui.page import Page

Content = dict[str, Any]


class Browser:
    """Sends requests to a page as a browser does, and keeps the events that come, in their order."""

    def __init__(self, session: kdb.Session, **options: Any) -> None:
        self._came = threading.Condition()
        self.events: list[tuple[Content, list[Any]]] = []
        self._ids = itertools.count(1)
        self.page = Page(session, self._take, **options)

    def _take(self, content: Content, buffers: list[Any]) -> None:
        with self._came:
            self.events.append((content, buffers))
            self._came.notify_all()

    def send(self, kind: str, *buffers: bytes, **fields: Any) -> int:
        id = next(self._ids)
        self.page.receive({"kind": kind, "id": id, **fields}, buffers)
        return id

    def ask(self, kind: str, *buffers: bytes, until: str | tuple[str, ...], **fields: Any) -> Content:
        """Send a request, and return the first event of a kind that answers it, or the refusal."""
        id = self.send(kind, *buffers, **fields)
        kinds = (until,) if isinstance(until, str) else until
        return self.wait(lambda event: event.get("id") == id and event["kind"] in (*kinds, "refused"))

    def form(self, kind: str, *buffers: bytes, **fields: Any) -> Content:
        """The form that is known completely, or is wrong."""
        id = self.send(kind, *buffers, **fields)

        def done(event: Content) -> bool:
            known = event.get("error") or (event.get("form") or {}).get("size") or event["kind"] == "refused"
            return event.get("id") == id and event["kind"] in ("form", "refused") and bool(known)

        return self.wait(done)

    def wait(self, wanted: Callable[[Content], bool], seconds: float = 60) -> Content:
        deadline = time.monotonic() + seconds
        with self._came:
            while True:
                for content, _ in self.events:
                    if wanted(content):
                        return content
                left = deadline - time.monotonic()
                assert left > 0, f"nothing like it came; there were {[each['kind'] for each, _ in self.events]}"
                self._came.wait(left)

    def all(self, kind: str, id: int | None = None) -> list[Content]:
        return [each for each, _ in self.events if each["kind"] == kind and (id is None or each["id"] == id)]

    def array(self, content: Content, *path: str) -> np.ndarray[Any, Any]:
        """The array that a message describes there."""
        buffers = next(buffers for each, buffers in self.events if each is content)
        packed: Any = content
        for name in path:
            packed = packed[name]
        return np.frombuffer(buffers[packed["buffer"]], packed["dtype"]).reshape(packed["shape"])


@contextmanager
def slow_batches(db: kdb.Session, size: int, seconds: float) -> Iterator[None]:
    """Batches of so few positions, each of which takes so long."""
    execute = Engine.execute

    def slowly(self: Engine, planned: Any, views: Any, occlusion: Any, take: Any, report: Any, *rest: Any) -> Any:
        def tell(done: int, total: int) -> None:
            time.sleep(seconds)
            report(done, total)

        return execute(self, planned, views, occlusion, take, tell, *rest)

    db.execute(f"SET batch_size = {size}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Engine, "execute", slowly)
        yield
    db.execute("RESET batch_size")
