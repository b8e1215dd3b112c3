"""What the answers of one page share: its session, thread, history and query, and the way to the browser."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdb.errors import Error, ExecutionError, ParseError, printable
from kdb.language import syntax
from kdb.language.parser import parse
from kdb.language.places import query_in
from kdb.queries import clauses
from kdb.results.maps import HeatMap
from kdb.session.session import Session
from kdb.session.subject import Subject
from kdb.ui import maps, pictures, samples
from kdb.ui.history import History, Kept
from kdb.ui.refusals import refusal
from kdb.ui.wire import Buffer, Content, Packing
from kdb.ui.worker import Worker

log = logging.getLogger(__name__)

Post = Callable[[Content, list[Buffer]], None]
"""Sends an event to the browser: its content and buffers."""


class Desk:
    """The state of one page.

    session     where queries are run; other pages may share it
    worker      the page's own thread
    history     the maps that were shown
    text        the query as it now stands
    parameters  of the query, by name; replaced as a whole, so that a query under way keeps its own
    heat_map    the map that was shown last
    uploads     a folder for images that are dropped on the page
    browsing    whether folders under the session's root are listed
    models      names that models were listed by last
    """

    def __init__(
        self,
        session: Session,
        post: Post,
        text: str,
        parameters: Mapping[str, Any],
        uploads: Path,
        browsing: bool,
    ) -> None:
        self.session, self.post, self.text, self.browsing = session, post, text, browsing
        self.parameters: Mapping[str, Any] = dict(parameters)
        self.uploads = uploads
        self.worker, self.history = Worker("kdb page"), History()
        self.heat_map: HeatMap | None = None
        self.models: frozenset[str] = frozenset()
        self._told: set[str] = set()
        self._subject: tuple[syntax.Source, syntax.ModelRef, Mapping[str, Any], Subject] | None = None

    def begin(self) -> None:
        """A browser has just opened the page, and knows nothing of it."""
        self._told.clear()

    def once(self, key: str) -> bool:
        """Whether this is the first time since then that something is told, a picture for one."""
        fresh = key not in self._told
        self._told.add(key)
        return fresh

    # ---- work

    def ask(self, kind: str, id: int, job: Callable[[], object], text: str = "") -> None:
        """Have a request's work done by the page's thread, in place of such of the ``kind`` as still waits."""
        self.worker.ask(kind, lambda: self.guarded(id, job, text))

    def guarded(self, id: int, job: Callable[[], object], text: str = "", slot: str | None = None) -> bool:
        """Do a request's work, and return True; what stops it is told, with its place in the query's ``text``."""
        try:
            job()
        except Error as error:
            self.refuse(id, error, text, slot)
        except Exception as error:  # a request that no page sends, or a fault of kdb's: the page must live on
            log.exception("a request of the page failed")
            self.refuse(id, ExecutionError(f"this failed: {type(error).__name__}: {error}"), slot=slot)
        else:
            return True
        return False

    # ---- events

    def refuse(self, id: int, error: Error, text: str = "", slot: str | None = None) -> None:
        """Tell why a request cannot be answered, and where in its ``text`` it is wrong; of two, that of a ``slot``."""
        self.post({"kind": "refused", "id": id, "error": refusal(error, text, self.session), "slot": slot}, [])

    def send(self, message: tuple[Content, Packing], **more: Any) -> None:
        """Post an event that was made with its arrays."""
        content, packing = message
        self.post({**content, **more}, packing.buffers)

    def show(self, kept: Kept, slot: str, id: int) -> None:
        """Post a map, after its picture where that is new, and keep it."""
        heat_map = kept.heat_map
        key = pictures.key_of(heat_map.image, heat_map.source_box, heat_map.axes)
        if self.once(key):
            self.send(pictures.of_map(heat_map, key))
        self.history.keep(kept)
        self.heat_map = heat_map
        self.send(maps.of_map(heat_map, kept.number, key, kept.region), id=id, slot=slot)

    def list_history(self) -> None:
        """Post which maps there are."""
        packing = Packing()
        entries = [
            {
                "map": kept.number,
                "text": kept.heat_map.query,
                "label": printable(kept.heat_map.by_class()[2][0]),
                "seconds": kept.heat_map.stats.seconds["total"],
                "exact": kept.heat_map.exact,
                "complete": kept.heat_map.complete,
                "thumbnail": packing(kept.thumbnail),
            }
            for kept in self.history
            if kept.thumbnail is not None
        ]
        self.post({"kind": "history", "entries": entries}, packing.buffers)

    # ---- queries

    def subject(self, query: syntax.Occlude) -> Subject:
        """Model and image of a query; the image is read again where the query names another one, or another model."""
        known, given = self._subject, (query.source, query.model)
        if known is not None and known[:2] == given and known[2] is self.parameters:
            return replace(known[3], query=clauses.on_axes(query, known[3].prepared.pixels.shape[:-1]))
        found = self.session.subject(str(query), self.parameters)
        self._subject = (*given, self.parameters, found)
        return found

    def list_models(self) -> list[tuple[str, str, str]]:
        """(name, origin, input) of every model that a bare name finds; for the page's thread, as it takes a turn."""
        listed = self.session.models()
        self.models = frozenset(name for name, *_ in listed)
        return listed

    def register_sample(self, query: syntax.Occlude) -> None:
        """Give the image of a query its name, if it is a sample that was not used before.

        Like all that waits for its turn in the session it is for the page's thread.
        """
        source = query.source
        if isinstance(source, syntax.Name) and source.text in samples.SAMPLES:
            name = source.text
            if name not in self.parameters and name not in self.session.images and samples.path(name).is_file():
                self.session.register_image(name, samples.path(name))


def query_of(text: str) -> syntax.Occlude | None:
    """The OCCLUDE that a text is; None for other statements, and for several.  Raises ParseError."""
    statement = _one(text)
    return statement if isinstance(statement, syntax.Occlude) else None


def shown_query_of(text: str) -> syntax.Occlude | None:
    """The query that controls and stage show of a text: also the one that it explains or verifies."""
    statement = _one(text)
    return None if statement is None else query_in(statement)


def _one(text: str) -> syntax.Statement | None:
    statements = parse(text)
    if not statements:
        raise ParseError("there is no query yet: it begins with OCCLUDE and an image", text=text)
    return statements[0] if len(statements) == 1 else None
