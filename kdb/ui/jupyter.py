"""The widget that shows a page in Jupyter, marimo and the like; :mod:`kdb.ui.widget` makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anywidget

from kdb.errors import ExecutionError, printable
from kdb.language.parser import parse
from kdb.ui.page import Page

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap
    from kdb.session.session import Session
    from kdb.ui.wire import Buffer, Content

STATIC = Path(__file__).with_name("static")


class Widget(anywidget.AnyWidget):
    """A page in the output of a cell.

    Shown in several cells it is one page all the same: all views are sent what it has to say.
    """

    _esm = (STATIC / "kdb.js").read_text(encoding="utf-8")
    _css = (STATIC / "kdb.css").read_text(encoding="utf-8")

    def __init__(self, text: str, parameters: Mapping[str, Any], session: Session, is_own: bool) -> None:
        super().__init__()
        _close_those_left()
        self._session, self._is_own = session, is_own
        self._shown = Page(self._session, self._post, text=text, parameters=parameters)
        self._page: Page | None = self._shown
        self.on_msg(self._receive)
        _open.add(self)

    @property
    def query(self) -> str:
        """The query as the page shows it."""
        return self._shown.text

    @query.setter
    def query(self, text: str) -> None:
        parse(text)  # a mistake is an error of the cell
        if self._page is None:
            raise ExecutionError("this widget was closed: kdb.widget(..) makes another")
        self._page.write(text)

    def __repr__(self) -> str:
        found = self.heat_map
        shows = "no map yet" if found is None else f"the map of {found.model} on {found.source or 'an image'}"
        closed = ", closed" if self._page is None else ""
        return f"<kdb.widget of {printable(self.query)!r}: {printable(shows)}{closed}>"

    @property
    def heat_map(self) -> HeatMap | None:
        """The map that the page shows, or None before the first."""
        return self._shown.heat_map

    def close(self) -> None:
        """End the page, its thread, and the session if it is the widget's own; query and map can still be read."""
        page, self._page = self._page, None
        if page is not None:
            page.close()
            _open.discard(self)
            if self._is_own:
                self._session.close()
        super().close()

    def _post(self, content: Content, buffers: list[Buffer]) -> None:
        """Send an event to the browser, from whatever thread.

        Jupyter's kernel hands what is sent to a thread of its own that does nothing else, and marimo's comm keeps the
        stream of the session that it was opened in, which locks itself.  So neither needs the kernel's main thread, and
        maps arrive while a cell runs there.
        """
        self.send(content, buffers=buffers)

    def _receive(self, widget: object, content: object, buffers: Sequence[memoryview | bytes]) -> None:
        if self._page is not None and isinstance(content, dict):
            self._page.receive(content, buffers)


_open: WeakSet[Widget] = WeakSet()


def _close_those_left() -> None:
    """Close the widgets whose cell was run again.

    marimo closes the connection of such a widget, and tells nobody: ipywidgets would keep the widget, and with it its
    thread and its session, until the kernel ends.
    """
    for each in list(_open):
        if getattr(each.comm, "_closed", False):
            each.close()
