"""Pages in a browser, over a server in a thread of the test's process."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import kdb
from kdb.results.maps import HeatMap
from kdb.ui.page import Page
from kdb.ui.server import command
from kdb.ui.server.access import Access

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
expect.set_options(timeout=20_000)

QUERY = "OCCLUDE photo WITH patch(8, 8) STRIDE 4 USING net"
FINE = QUERY.replace("STRIDE 4", "STRIDE 2")
CELLS = [(6, 6), (24.5, 20.5), (40, 9), (31, 43)]
"""Places all over an image."""
ANY = re.compile(".")
CAPTION, GAP = 26, 16
"""Pixels above each of two maps that are compared, and between them."""


class Server:
    """A server of pages over a session, which can be ended and started again on its port."""

    def __init__(self, session: kdb.Session, text: str) -> None:
        self.session, self.text = session, text
        self.pages: list[Page] = []
        with command.listener(0) as free:
            self.port: int = free.getsockname()[1]
        self.access = Access(self.port)

    def start(self) -> None:
        listening = command.listener(self.port)
        self._server = command.server(self.access, self._open)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _open(self, post: Any) -> Page:
        self.pages.append(Page(self.session, post, text=self.text, browsing=True))
        return self.pages[-1]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def address(self, query: str | None = None, **identity: str) -> str:
        """With the token, and a link to a query if one is given."""
        fields = {} if query is None else {"query": query, **identity}
        rest = "".join(f"&{name}={quote(value)}" for name, value in fields.items())
        return f"http://{self.host}/#token={self.access.token}{rest}"


@contextmanager
def serving(session: kdb.Session, text: str) -> Iterator[Server]:
    """A server until the end of the block."""
    server = Server(session, text)
    server.start()
    try:
        yield server
    finally:
        server.end()


class Shown:
    """A page in a browser's tab, as it is seen and used."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.connected = True
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: said.type == "error" and self._wrote(said.text))
        self.root = page.get_by_test_id("kdb")
        self.stage = page.locator(".kdb-stage")
        self.field = page.locator(".kdb-stage-field")

    def __getitem__(self, testid: str) -> Any:
        return self.page.get_by_test_id(testid)

    def open(self, address: str) -> Shown:
        """Go there, and wait until the page knows its query and shows the image."""
        self.page.goto(address)
        expect(self.stage).to_have_attribute("data-view", ANY)
        expect(self["start"]).to_be_hidden()
        self.settled()
        return self

    def unconnected(self) -> Shown:
        """From now on connections may fail. The browser writes down each, some only after the test's last step."""
        self.connected = False
        return self

    def _wrote(self, text: str) -> None:
        if self.connected or not text.startswith(("WebSocket connection to", "Failed to load resource")):
            self.errors.append(text)

    # ---- the query

    @property
    def query(self) -> str:
        text: str = self["query"].input_value()
        return text

    def settled(self) -> None:
        """Until controls and text say the same."""
        expect(self.root).to_have_attribute("data-settled", "true")

    def type(self, text: str) -> None:
        self["query"].fill(text)
        self.settled()

    def run(self, text: str | None = None) -> None:
        """Have a query run to its end."""
        self.begin(text)
        self.ended()

    def begin(self, text: str | None = None) -> None:
        if text is not None:
            self["query"].fill(text)
        self["run"].click()

    def ended(self, state: str = "done", before: str | None = None) -> None:
        """Until the query has; ``before`` is the number of the map that was shown until now."""
        if before is not None:
            expect(self.root).not_to_have_attribute("data-map", before)
        expect(self.root).to_have_attribute("data-state", state, timeout=60_000)

    @property
    def map(self) -> str:
        return self.data("map")

    def data(self, name: str) -> str:
        """What the page tells of itself."""
        return self.root.get_attribute(f"data-{name}") or ""

    def unfold(self, testid: str) -> Any:
        """A panel, opened."""
        panel = self[testid]
        if panel.get_attribute("open") is None:
            panel.locator("summary").first.click()
        return panel

    # ---- the stage

    def tool(self, name: str) -> None:
        self.page.locator(".kdb-tool", has=self[f"tool-{name}"]).click()
        expect(self.stage).to_have_attribute("data-tool", name)

    def place(self, cell: Sequence[float], size: Sequence[int] = (48, 48), slot: str = "") -> tuple[float, float]:
        """Where on the screen a cell of an image with square pixels is, alone or in one of two slots."""
        bounds = self.field.bounding_box()
        left, top, width, height = (bounds[each] for each in ("x", "y", "width", "height"))
        if slot:
            half, under = (width - GAP) / 2, (height - GAP) / 2
            if min(width, under - CAPTION) > min(half, height - CAPTION):
                top, height = (top + (slot == "b") * (under + GAP), under)
            else:
                left, width = (left + (slot == "b") * (half + GAP), half)
            top, height = top + CAPTION, height - CAPTION
        scale = min(height / size[0], width / size[1])
        starts = top + (height - size[0] * scale) / 2, left + (width - size[1] * scale) / 2
        y, x = (start + at * scale for start, at in zip(starts, cell, strict=True))
        return x, y

    def point(self, cell: Sequence[float], **where: Any) -> dict[str, Any]:
        """Rest on a cell; what the page reads there."""
        self.field.scroll_into_view_if_needed()
        self.page.mouse.move(*self.place(cell, **where))
        return self.reading()

    def reading(self) -> dict[str, Any]:
        expect(self.stage).to_have_attribute("data-reading", ANY)
        found: dict[str, Any] = json.loads(self.stage.get_attribute("data-reading"))
        return found

    def click(self, cell: Sequence[float], **where: Any) -> None:
        self.field.scroll_into_view_if_needed()
        self.page.mouse.click(*self.place(cell, **where))

    def drag(self, first: Sequence[float], last: Sequence[float]) -> None:
        """From cell to cell; a number whose half is at .5 is in the middle of one."""
        self.field.scroll_into_view_if_needed()
        self.page.mouse.move(*self.place(first))
        self.page.mouse.down()
        self.page.mouse.move(*self.place([(a + b) / 2 for a, b in zip(first, last, strict=True)]))
        self.page.mouse.move(*self.place(last))
        self.page.mouse.up()

    @property
    def box(self) -> list[int] | None:
        found = self.stage.get_attribute("data-box")
        return None if found is None else json.loads(found)

    # ---- files

    def exported(self, folder: Path, extension: str = "npz") -> Path:
        """The shown map as a file."""
        with self.page.expect_download() as waiting:
            self[f"export-{extension}"].click()
        path = folder / waiting.value.suggested_filename
        waiting.value.save_as(path)
        return path

    def heat_map(self, folder: Path) -> HeatMap:
        """The shown map, by way of a file."""
        return HeatMap.load(self.exported(folder))


def score_at(found: HeatMap, position: list[int], which: int = 0) -> float:
    """A map's value at a position."""
    at = np.flatnonzero((found.positions.reshape(-1, len(found.axes)) == position).all(axis=1))
    assert len(at) == 1
    return float(found.by_class()[0][which].reshape(-1)[at[0]])


def reads(shown: Shown, found: HeatMap, **where: Any) -> None:
    """What the page reads at places all over its map is the map's."""
    for cell in CELLS:
        reading = shown.point(cell, **where)
        near = np.abs(np.asarray(reading["position"]) + np.divide(found.patch, 2) - cell)
        assert (near <= np.asarray(found.stride) / 2 + np.divide(found.patch, 2)).all()
        assert reading["score"] == pytest.approx(score_at(found, reading["position"]), abs=1e-6)
        assert reading["measured"] and reading["slot"] == (where.get("slot") or "a")


def compare(shown: Shown, by: str, other: str) -> None:
    """Run the page's query beside another that differs by one clause."""
    shown.unfold("compare")
    shown["compare-by"].select_option(by)
    shown["compare-with"].fill(other)
    shown["compare-with"].press("Enter")
    expect(shown["compare-b"]).to_have_value(re.compile(other))
    shown["compare-run"].click()
    expect(shown["comparing-side"]).to_be_checked()
    shown.ended()
