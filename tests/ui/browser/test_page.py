"""The page around query and map: its window, its accessibility, its connection."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

import kdb
from benchmarks.notebooks import CHROMIUM
from kdb.ui.server.access import Access
from tests.ui.browser.browsing import FINE, QUERY, Server, Shown, compare, expect, serving

pytestmark = [
    pytest.mark.ui,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
    pytest.mark.xdist_group("browser 2"),
]


class TestWindow:
    def test_no_request_goes_elsewhere(self, tab: Callable[..., Shown], server: Server, tmp_path: Path) -> None:
        shown = tab()
        asked: list[str] = []
        shown.page.on("request", lambda request: asked.append(request.url))
        shown.page.on("websocket", lambda socket: asked.append(socket.url))
        shown.page.context.on("page", lambda page: asked.append(page.url))
        shown.open(server.address(QUERY))
        shown.ended()
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")
        shown.unfold("plan")
        expect(shown["plan-words"]).to_contain_text("positions")
        compare(shown, "fill", "mean")
        shown.exported(tmp_path, "png")
        shown.unfold("history")
        shown["theme"].click()
        elsewhere = [url for url in asked if not re.match(rf"(http|ws)://{server.host}/|(blob|data):", url)]
        assert elsewhere == [] and any(url.startswith("ws:") for url in asked)
        assert not any(server.access.token in url.partition("#")[0] for url in asked)

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_colours_of_the_system(self, tab: Callable[..., Shown], server: Server, scheme: str) -> None:
        shown = tab(color_scheme=scheme).open(server.address())
        expect(shown.root).to_have_attribute("data-theme", scheme)
        red, green, blue = brightness(shown)
        assert (red + green + blue > 382) == (scheme == "light")
        other = "dark" if scheme == "light" else "light"
        for _ in range(2 if other == "dark" else 1):
            shown["theme"].click()
        expect(shown.root).to_have_attribute("data-theme", other)
        assert (sum(brightness(shown)) > 382) == (scheme == "dark")

    def test_a_window_has_image_query_and_result_at_once(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab(viewport={"width": 1400, "height": 900}).open(server.address(QUERY))
        shown.ended()
        assert shown.field.bounding_box()["height"] > 500
        for part in ("query", "status", "quality-a", "export-png"):
            bounds = shown[part].bounding_box()
            assert bounds["y"] + bounds["height"] <= 900, part
        compare(shown, "fill", "mean")
        shown.page.wait_for_timeout(500)  # it is scrolled to
        maps, ways = shown.field.bounding_box(), shown["comparing-difference"].bounding_box()
        assert 0 <= maps["y"] - ways["y"] < 60, "what governs the maps stands right above them"
        results = [shown[f"result-{slot}"].bounding_box()["y"] for slot in "ab"]
        qualities = [shown[f"quality-{slot}"].bounding_box()["y"] for slot in "ab"]
        shown["compare-b"].fill(QUERY.replace("STRIDE 4", "STRIDE 8"))
        expect(shown["earlier-b"]).to_be_visible()
        assert results[0] == results[1] and qualities[0] == qualities[1]
        after = [shown[f"quality-{slot}"].bounding_box()["y"] for slot in "ab"]
        assert after[0] == after[1], "a notice about one map leaves both in line"

    def test_what_appears_while_a_query_runs_moves_no_control(self, shown: Shown, slow: None) -> None:
        before = shown["run-on-change"].bounding_box()
        shown.begin(FINE)
        expect(shown["stop"]).to_be_visible()
        assert shown["run-on-change"].bounding_box() == before
        shown["stop"].click()
        shown.ended("stopped")

    def test_a_narrow_window(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab(viewport={"width": 380, "height": 700}).open(server.address(QUERY))
        shown.ended()
        for panel in ("probe", "plan", "compare", "history"):
            shown.unfold(panel)
        expect(shown["plan-words"]).to_contain_text("positions")
        assert shown.page.evaluate("document.scrollingElement.scrollWidth") <= 380
        beyond = shown.page.evaluate(BEYOND)
        assert beyond == []
        shown.click((20, 20))
        expect(shown["probed"]).to_contain_text("from the unmodified image")


BEYOND = """() => {
  const controls = [...document.querySelectorAll(".kdb :is(button, input, select, textarea, summary)")];
  const shown = controls.filter((each) => each.checkVisibility() && !each.classList.contains("kdb-unseen"));
  return shown.filter((each) => {
    const { left, right, width, height } = each.getBoundingClientRect();
    return left < 0 || right > innerWidth || width < 8 || height < 8;
  }).map((each) => each.outerHTML.slice(0, 200));
}"""


def brightness(shown: Shown) -> tuple[int, int, int]:
    """The colour of the page's own ground, from its picture: a style may be written in any way."""
    data = shown.page.screenshot(clip={"x": 4, "y": 4, "width": 2, "height": 2})
    with Image.open(io.BytesIO(data)) as picture:
        red, green, blue = picture.convert("RGB").getpixel((0, 0))
    return red, green, blue


AXE = Path(__file__).resolve().parents[3] / "ui" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci in ui/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_rules(tab: Callable[..., Shown], server: Server, scheme: str) -> None:
    """By axe-core, which the page's own policy would not let in."""
    shown = tab(bypass_csp=True, color_scheme=scheme).open(server.address())
    shown.page.add_script_tag(path=AXE)

    def violations() -> list[tuple[str, list[str]]]:
        found = shown.page.evaluate("axe.run(document)")
        assert len(found["passes"]) > 10
        grave = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in grave]

    assert violations() == [], "at the start"
    shown.run(f"{QUERY} FOR TOP 2")
    shown.click((20, 20))
    expect(shown["probed"]).to_contain_text("from the unmodified image")
    for panel in ("plan", "history"):
        shown.unfold(panel)
    expect(shown["plan-words"]).to_contain_text("positions")
    assert violations() == [], "with a map"
    shown.type(QUERY)
    compare(shown, "fill", "mean")
    assert violations() == [], "comparing"
    shown["query"].fill(QUERY.replace("STRIDE", "STRIDR"))
    expect(shown["suggestion"]).to_be_visible()
    shown["browse"].click()
    expect(shown["browser"].locator(".kdb-entry")).not_to_have_count(0)
    assert violations() == [], "with a mistake, and a dialog"


class TestConnection:
    def test_the_server_dies_and_returns(self, tab: Callable[..., Shown], db: kdb.Session) -> None:
        with serving(db, QUERY) as server:
            shown = tab().open(server.address(QUERY))
            shown.ended()
            before = shown.point((20, 20))
            shown.unconnected()
            server.end()
            expect(shown["connection"]).to_contain_text("The connection to kdb is lost.")
            assert shown.point((24, 20)) != before and shown.query == QUERY, "what is on the page stays"
            shown["run"].click()
            expect(shown["message"]).to_contain_text("There is no connection to kdb.")
            server.start()
            shown["reconnect"].dispatch_event("click")  # it may have come back by itself
            expect(shown.root).to_have_attribute("data-connection", "open")
            expect(shown["connection"]).to_be_hidden()
            expect(shown["message"].locator(".kdb-message")).to_be_hidden()
            assert shown.query == QUERY
            expect(shown["earlier-a"]).to_contain_text("From before the connection was lost")
            expect(shown["export-png"]).to_be_disabled()
            expect(shown["history"]).to_have_attribute("data-entries", "0")
            shown.click((20, 20))
            expect(shown["message"]).to_contain_text("Run its query again")
            shown.run(QUERY.replace("STRIDE 4", "STRIDE 8"))
            assert shown.data("total") == "36"
            expect(shown["export-png"]).to_be_enabled()
            server.end()
            server.access = Access(server.port)  # of another process
            server.start()
            shown["reconnect"].dispatch_event("click")
            expect(shown["connection"]).to_contain_text("kdb ui was started again: open the address that it printed")

    def test_without_the_token_nothing_opens(self, tab: Callable[..., Shown], server: Server) -> None:
        shown = tab().unconnected()
        shown.page.goto(f"http://{server.host}/")
        expect(shown["locked"]).to_contain_text("This browser has no key to this page")
        expect(shown["locked-query"]).to_have_count(0)
        expect(shown["query"]).to_be_hidden()
        opened = len(server.pages)
        shown.page.goto(f"http://{server.host}/?#token=wrong")
        expect(shown["locked"]).to_contain_text("Open the address that kdb ui printed")
        assert len(server.pages) == opened

    def test_a_link_waits_for_the_key(self, tab: Callable[..., Shown], server: Server) -> None:
        """Its query can be read and copied meanwhile; with the key in the browser the page goes on by itself."""
        shown = tab().unconnected()
        shown.page.goto(server.address(QUERY).replace(server.access.token, "of-a-server-that-ended"))
        expect(shown["locked-query"]).to_have_text(QUERY)
        expect(shown["connection"]).to_be_hidden()
        other = shown.page.context.new_page()
        other.goto(server.address())
        expect(other.get_by_test_id("query")).to_be_visible()
        other.close()
        shown["locked-reconnect"].dispatch_event("click")  # it may have tried by itself as it was seen again
        shown.ended()
        expect(shown["locked"]).to_be_hidden()
        assert shown.query == QUERY

    @pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
    def test_a_page_of_another_origin_is_refused(self, mapped: Shown, server: Server, name: str) -> None:
        """Whoever has the page open, and so the cookie, has another page open too."""
        assert [each["name"] for each in mapped.page.context.cookies()] == [server.access.cookie_name]
        opened = len(server.pages)
        with elsewhere(STRANGER.format(host=server.host)) as port:
            page = mapped.page.context.new_page()
            page.goto(f"http://{name}:{port}/")
            expect(page.locator("#socket")).to_have_text("refused")
            expect(page.locator("#session")).to_have_text("refused")
            expect(page.locator("#frame")).to_have_text("empty")
        assert len(server.pages) == opened


STRANGER = """<!doctype html>
<p id="socket"></p><p id="session"></p><p id="frame"></p>
<iframe src="http://{host}/"></iframe>
<script>
  const say = (id, text) => document.getElementById(id).textContent = text;
  const socket = new WebSocket("ws://{host}/socket");
  socket.onopen = () => say("socket", "opened");
  socket.onerror = () => say("socket", "refused");
  fetch("http://{host}/session", {{ method: "POST", credentials: "include", body: "{{}}" }})
    .then(() => say("session", "answered"), () => say("session", "refused"));
  document.querySelector("iframe").onload = () => say("frame", frames.length && length === 1 ? "empty" : "shown");
</script>"""


@contextmanager
def elsewhere(page: str) -> Iterator[int]:
    """The port of a server of somebody else's page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        yield other.server_port
        other.shutdown()
        thread.join()
