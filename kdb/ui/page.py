"""One open page: takes its requests and posts events, as ui/src/protocol.ts has them.

What the text alone decides is answered at once, in the thread that brings the request; all else is work for the page's
own thread.  It alone takes turns in the session: whoever brings requests does not wait for another page's query.
While a map grows other requests are answered between two of its maps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdb.results.maps import HeatMap
from kdb.session.session import Session
from kdb.ui.answers import ANSWERS
from kdb.ui.desk import Desk, Post
from kdb.ui.wire import Buffer, Content

FIRST = "OCCLUDE chelsea WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0"
"""The query of a page that nothing else is known of."""


class Page:
    """The engine of one page over a ``session``, which other pages may share.

    ``post`` is called from the page's own thread and from those that call :meth:`receive`.  The page begins with the
    query ``text``, whose ``parameters`` are by name.  With ``browsing`` it lists folders under the session's root.
    """

    def __init__(
        self,
        session: Session,
        post: Post,
        *,
        text: str = "",
        parameters: Mapping[str, Any] | None = None,
        browsing: bool = False,
    ) -> None:
        self._uploads = tempfile.TemporaryDirectory(prefix="kdb-")
        self._desk = Desk(session, post, text or FIRST, parameters or {}, Path(self._uploads.name), browsing)

    @property
    def text(self) -> str:
        """The query as it now stands."""
        return self._desk.text

    def write(self, text: str) -> None:
        """Have the page show another query, and not run it."""
        self._desk.text = text
        self._desk.post({"kind": "query", "text": text}, [])

    @property
    def heat_map(self) -> HeatMap | None:
        """The map that was shown last."""
        return self._desk.heat_map

    def receive(self, content: Content, buffers: Sequence[Buffer] = ()) -> None:
        """Take a request; returns at once, and answers whatever is wrong with it by an event."""
        kind, id = content.get("kind"), content.get("id")
        answer = ANSWERS.get(kind) if isinstance(kind, str) else None
        if answer is not None and isinstance(id, int):
            self._desk.guarded(id, lambda: answer(self._desk, content, buffers))

    def close(self) -> None:
        """End what is under way, and the page's thread; further requests do nothing."""
        self._desk.worker.close()
        self._uploads.cleanup()
