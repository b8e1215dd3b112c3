"""The widget in JupyterLab and in marimo, in a browser without a window: what its tests use, and its two pictures.

    python -m benchmarks.notebooks      writes docs/images/jupyter.png and docs/images/marimo.png

Each notebook runs on a port of its own, with settings and files in a temporary folder, and is ended afterwards.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import photos

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
"""The browser; the tests that need one are skipped without."""
OPTIONS = ("--no-sandbox", "--disable-background-networking")
SIZE = (1280, 1100)
"""Of the browser's window, in pixels."""
START_SECONDS = 60
"""How long a notebook may take to be there."""

_IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Host:
    """A kind of notebook.

    write      puts a notebook of some cells into a folder
    command    starts it, on a port
    address    of the notebook, on that port
    run        runs all cells of the notebook that a browser's page shows
    """

    write: Callable[[Path, Sequence[str]], None]
    command: Callable[[Path, int], list[str]]
    address: str
    run: Callable[[Any], None]


def _write_jupyter(folder: Path, cells: Sequence[str]) -> None:
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    notebook = {
        "cells": [{**code, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (folder / "notebook.ipynb").write_text(json.dumps(notebook))


def _run_jupyter(page: Any) -> None:
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=START_SECONDS * 1000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def _write_marimo(folder: Path, cells: Sequence[str]) -> None:
    lines = ["import marimo", 'app = marimo.App(width="full")']
    for source in cells:
        lines += ["@app.cell", "def _():", *(f"    {line}" for line in source.splitlines()), "    return"]
    (folder / "notebook.py").write_text("\n".join(lines) + "\n")


def _run_marimo(page: Any) -> None:
    page.get_by_test_id("cell-editor").first.wait_for(timeout=START_SECONDS * 1000)
    page.keyboard.press("Control+Shift+R")


HOSTS = {
    "jupyter": Host(
        _write_jupyter,
        lambda folder, port: [
            *("jupyter", "lab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"),
            *("--IdentityProvider.token=", "--LabApp.extension_manager=readonly", f"--ServerApp.root_dir={folder}"),
            f"--LabApp.user_settings_dir={folder / 'settings'}",
        ],
        "http://127.0.0.1:{port}/doc/tree/notebook.ipynb?reset",
        _run_jupyter,
    ),
    "marimo": Host(
        _write_marimo,
        lambda folder, port: [
            *("marimo", "edit", str(folder / "notebook.py"), "--headless", "--no-token", "--skip-update-check"),
            *(f"--port={port}", "--host=127.0.0.1"),
        ],
        "http://127.0.0.1:{port}/",
        _run_marimo,
    ),
}  # fmt: skip


@contextmanager
def browser() -> Iterator[Any]:
    """A browser, of playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)


@contextmanager
def opened(
    host: str, cells: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Any]:
    """A browser's page with a notebook of some ``cells`` beside ``cat.png`` in a ``folder``, all of them run.

    The last expression of a cell is shown.  Raises RuntimeError with what the notebook printed if it does not start.
    """
    kind = HOSTS[host]
    kind.write(folder, cells)
    shutil.copyfile(photos.path("chelsea"), folder / "cat.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *arguments = kind.command(folder, port)
    log = folder / "log.txt"
    with log.open("w") as out:
        started = subprocess.Popen(
            [str(_BIN / program), *arguments],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder), **(environment or {})},
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(port):
            if started.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{program} did not start:\n{log.read_text()}")
            time.sleep(0.1)
        with browser() as chromium:
            page = chromium.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
            page.goto(kind.address.format(port=port))
            kind.run(page)
            yield page
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def ask(page: Any, text: str | None = None) -> None:
    """Run the query of the first widget in a notebook, or another ``text``, and wait for its end.

    Raises AssertionError with what the widget says if it fails.
    """
    from playwright.sync_api import expect

    query = page.get_by_test_id("query").first
    expect(query).to_have_value(re.compile("OCCLUDE"), timeout=START_SECONDS * 1000)
    if text is not None:
        query.fill(text)
    page.get_by_test_id("run").first.click()
    ended = page.locator("[data-testid=progress]:is([data-state=done], [data-state=failed])").first
    ended.wait_for(timeout=START_SECONDS * 1000)
    assert ended.get_attribute("data-state") == "done", ended.inner_text()


def main() -> None:
    """Write the two pictures."""
    cell = "import kdb\n\nkdb.widget('cat.png', 'efficientnet_lite0')"
    for host in HOSTS:
        with tempfile.TemporaryDirectory() as folder, opened(host, [cell], Path(folder)) as page:
            ask(page)
            page.mouse.move(0, 0)
            page.get_by_test_id("kdb").evaluate("shown => shown.scrollIntoView()")
            time.sleep(1)  # until the map has faded in
            page.screenshot(path=str(_IMAGES / f"{host}.png"))


if __name__ == "__main__":
    main()
