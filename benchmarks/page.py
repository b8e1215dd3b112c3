"""How fast the page of ``kdb ui`` answers, and what it costs the browser, with a trained network and a photograph.

    python -m benchmarks.page [--only click drag growing idle control whole] [--clicks N] [--out DIR]

The server is a process of its own, the browser Chromium without a window.  Times of what a hand does are taken within
the page, by the same clock: from the event that the browser makes of the hand's move to the end of the frame that shows
what became of it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kdb
from benchmarks import notebooks, photos
from benchmarks.timing import Estimate, Seconds, interleave, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS

Result = dict[str, Any]

QUERY = "OCCLUDE chelsea WITH patch(16, 16) STRIDE 4 USING efficientnet_lite0"
COARSE = QUERY.replace("STRIDE 4", "STRIDE 32")
SIDE = 224
WINDOW = {"width": 1280, "height": 900}
CLICKS = 20
"""Positions that are clicked; half as many boxes are drawn, and controls moved."""
IDLE = 20
"""Seconds for which nothing happens."""
ROUNDS = 5
"""Whole maps by each."""
PATIENCE = 300_000
"""Milliseconds that anything may take."""

_ADDRESS = re.compile(r"http://\S+")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="How fast the page answers.")
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--clicks", type=int, default=CLICKS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    with opened() as opening:
        found = {name: PARTS[name](opening, options.clicks) for name in options.only or PARTS}
    print(json.dumps(found, indent=2, default=str))
    out = options.out or (DOCS if options.only is None and options.clicks == CLICKS else None)
    if out is not None:
        report(out, found)
    return 0


# ---- a page


@dataclass(frozen=True)
class Opening:
    """A page with the map of a coarse query, its browser, the server's process, and Chromium's counters of the page."""

    page: Any
    browser: Any
    server: int
    counters: Any

    def query(self, text: str) -> None:
        """Have a query run to its end."""
        self.page.get_by_test_id("query").fill(text)
        self.page.get_by_test_id("run").click()
        self.page.wait_for_selector("[data-testid=kdb][data-state=running]", timeout=PATIENCE)
        self.ended()

    def ended(self) -> None:
        """Until nothing runs."""
        self.page.wait_for_selector("[data-testid=kdb][data-state=done]", timeout=PATIENCE)

    def place(self, y: float, x: float) -> tuple[float, float]:
        """Where on the screen a cell is, whose pixels are square."""
        field = self.page.locator(".kdb-stage-field").bounding_box()
        scale = min(field["width"], field["height"]) / SIDE
        left = field["x"] + (field["width"] - SIDE * scale) / 2
        top = field["y"] + (field["height"] - SIDE * scale) / 2
        return left + x * scale, top + y * scale

    def timed(
        self, begins: str, watched: str, attribute: str, hand: Callable[[], None], until: str | None = None
    ) -> float:
        """Milliseconds from an event that the hand causes to the frame that shows what became of an attribute.

        The attribute is of the element that the selector ``watched`` finds; ``text`` is what stands there.  It is
        waited for until it changes, or becomes ``until``.
        """
        self.page.evaluate(WATCH, [begins, watched, attribute, until])
        hand()
        return float(self.page.evaluate("window.watched"))


WATCH = """([begins, selector, attribute, until]) => {
  const element = document.querySelector(selector);
  const value = () => attribute === "text" ? element.textContent : element.getAttribute(attribute);
  window.watched = new Promise((resolve) => {
    addEventListener(begins, ({ timeStamp }) => {
      const before = value();
      const observer = new MutationObserver(() => {
        const now = value();
        if (until === null ? now === before || now === null : now !== until) return;
        observer.disconnect();
        // A message that is posted within a frame arrives when the frame is done.
        requestAnimationFrame(() => {
          const { port1, port2 } = new MessageChannel();
          port1.onmessage = () => resolve(performance.now() - timeStamp);
          port2.postMessage(null);
        });
      });
      observer.observe(element, { attributes: true, childList: true, characterData: true, subtree: true });
    }, { capture: true, once: true });
  });
}"""


@contextmanager
def opened() -> Iterator[Opening]:
    """A page as one opens it, with the map of a coarse query; pixels are shown as the model sees them, and square."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "kdb", "ui", "--no-browser", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = next(match[0] for line in server.stdout if (match := _ADDRESS.search(line)))
            with notebooks.browser() as browser:
                page = browser.new_page(viewport=WINDOW)
                page.goto(address)
                page.wait_for_selector(".kdb-stage[data-view=flat]", timeout=PATIENCE)
                counters = page.context.new_cdp_session(page)
                counters.send("Performance.enable")
                opening = Opening(page, browser, server.pid, counters)
                opening.query(COARSE)
                page.get_by_test_id("look-grid").click()
                yield opening
        finally:
            server.terminate()
            server.wait()


# ---- what is measured


def click(opening: Opening, clicks: int) -> Result:
    """From a click to the score of the position, each another one."""
    opening.query(QUERY)
    page, places = opening.page, np.random.default_rng(0).integers(16, SIDE - 16, (clicks, 2))

    def at(y: int, x: int) -> float:
        return opening.timed("pointerup", "[data-testid=probe]", "data-score", lambda: _click(opening, y, x))

    _click(opening, 4, 4)
    page.wait_for_selector("[data-testid=probe][data-score]", timeout=PATIENCE)
    return _spread([at(int(y), int(x)) for y, x in places])


def _click(opening: Opening, y: float, x: float) -> None:
    opening.page.mouse.click(*opening.place(y, x))


def drag(opening: Opening, clicks: int) -> Result:
    """From the end of a drag to the first map of the positions within."""
    page, rng = opening.page, np.random.default_rng(1)
    opening.query(QUERY)
    page.locator(".kdb-tool", has=page.get_by_test_id("tool-box")).click()

    def draw(first: Sequence[float], last: Sequence[float]) -> None:
        page.keyboard.down("Shift")  # another box, and not the one before moved
        page.mouse.move(*opening.place(*first))
        page.mouse.down()
        page.mouse.move(*opening.place(*last), steps=5)
        page.mouse.up()
        page.keyboard.up("Shift")

    milliseconds = []
    for _ in range(max(clicks // 2, 1)):
        height, width = rng.integers(SIDE // 4, SIDE // 2, 2)
        y, x = rng.integers(2, SIDE - 2 - height), rng.integers(2, SIDE - 2 - width)
        ends = [(float(y), float(x)), (float(y + height), float(x + width))]
        milliseconds.append(
            opening.timed("pointerup", "[data-testid=kdb]", "data-map", lambda ends=ends: draw(*ends))  # type: ignore[misc]
        )
        opening.ended()
    page.locator(".kdb-tool", has=page.get_by_test_id("tool-probe")).click()
    return _spread(milliseconds)


CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "devtools.timeline.frame", "v8"]


def growing(opening: Opening, clicks: int) -> Result:
    """The page's main thread while a whole map grows: script of each frame, and its longest task."""
    page, browser = opening.page, opening.browser
    before = _seconds(opening, "ScriptDuration")
    browser.start_tracing(page=page, categories=CATEGORIES)
    opening.query(QUERY)
    trace = json.loads(browser.stop_tracing())["traceEvents"]
    script = 1000 * (_seconds(opening, "ScriptDuration") - before)
    maps = int(page.get_by_test_id("kdb").get_attribute("data-maps") or 0)
    return {"maps": maps, "script ms in all": script, **of_trace(trace)}


def of_trace(events: Sequence[Mapping[str, Any]]) -> Result:
    """Script by frame and tasks, in milliseconds, from a trace of Chromium.

    The thread is the renderer's busiest main thread.  Script that runs between two frames, as a message's, is of the
    frame that follows; script within script counts once.
    """
    names = {_thread(e) for e in events if e["name"] == "thread_name" and "RendererMain" in str(e["args"])}
    threads: dict[tuple[int, int], list[Mapping[str, Any]]] = {name: [] for name in names}
    for event in events:
        if event.get("ph") == "X" and _thread(event) in threads:
            threads[_thread(event)].append(event)
    thread = max(threads.values(), key=lambda found: sum(event.get("dur", 0) for event in found))
    main = (thread[0]["pid"], thread[0]["tid"])
    frames = sorted(float(event["ts"]) for event in events if _ends_frame(event) and _thread(event) == main)
    tasks = [event["dur"] / 1000 for event in thread if event["name"] == "RunTask"]
    script = [0.0] * (len(frames) + 1)
    ended = 0.0
    for event in sorted(thread, key=lambda each: float(each["ts"])):
        if event["name"] in _SCRIPT and event["ts"] >= ended:
            ended = _end(event)
            script[bisect_left(frames, ended)] += event["dur"] / 1000
    drawn = script[: len(frames)]
    return {
        "frames": len(frames),
        "script ms a frame, median": statistics.median(drawn),
        "script ms a frame, worst": max(drawn),
        "longest task ms": max(tasks),
        "tasks over 50 ms": sum(task > 50 for task in tasks),
    }


_SCRIPT = ("EvaluateScript", "FunctionCall", "RunMicrotasks", "v8.callFunction")
"""Events of a trace within which script runs."""


def _thread(event: Mapping[str, Any]) -> tuple[int, int]:
    return int(event["pid"]), int(event["tid"])


def _ends_frame(event: Mapping[str, Any]) -> bool:
    return event["name"] == "AnimationFrame" and event.get("ph") == "e"


def _end(event: Mapping[str, Any]) -> float:
    return float(event["ts"]) + float(event.get("dur", 0))


def idle(opening: Opening, clicks: int) -> Result:
    """Seconds of processor that server and browser take while nothing happens."""
    opening.page.mouse.move(2, 2)
    time.sleep(2)  # for what still fades

    def now() -> dict[str, float]:
        return {
            "server": cpu_seconds(opening.server),
            "browser": sum(_processes(opening.browser).values()),
            "renderer": _processes(opening.browser).get("renderer", 0.0),
            "script": _seconds(opening, "ScriptDuration"),
            "main thread": _seconds(opening, "TaskDuration"),
        }

    before = now()
    time.sleep(IDLE)
    return {"seconds": IDLE, **{name: value - before[name] for name, value in now().items()}}


def cpu_seconds(process: int) -> float:
    """Of a process since it began, by Linux."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processes(browser: Any) -> dict[str, float]:
    """Seconds of processor by kind of the browser's processes."""
    session = browser.new_browser_cdp_session()
    found: dict[str, float] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        found[process["type"]] = found.get(process["type"], 0.0) + float(process["cpuTime"])
    session.detach()
    return found


def _seconds(opening: Opening, name: str) -> float:
    """What Chromium counts of the page: ScriptDuration, TaskDuration."""
    found = {each["name"]: float(each["value"]) for each in opening.counters.send("Performance.getMetrics")["metrics"]}
    return found[name]


def control(opening: Opening, clicks: int) -> Result:
    """From a control's move to the new text, and to the new plan."""
    page = opening.page
    page.get_by_test_id("plan").locator("summary").first.click()
    page.wait_for_selector("[data-testid=plan-words]:not(:empty)", timeout=PATIENCE)
    positions = {(SIDE - 16) // stride: stride for stride in range(60, 4, -1)}  # a plan that is the same is not seen
    strides = [*positions.values()][: max(clicks // 2, 1)]
    found: dict[str, list[float]] = {}
    for name, watched in {"text": ".kdb-layer", "plan": "[data-testid=plan-words]"}.items():
        found[name] = [
            opening.timed("change", watched, "text", lambda stride=stride: _stride(page, stride))  # type: ignore[misc]
            for stride in strides
        ]
    page.get_by_test_id("plan").locator("summary").first.click()
    return {name: _spread(milliseconds) for name, milliseconds in found.items()}


def _stride(page: Any, stride: int) -> None:
    page.get_by_test_id("stride-number").fill(str(stride))
    page.get_by_test_id("stride-number").press("Enter")
    page.wait_for_selector("[data-testid=kdb][data-settled=true]")


def whole(opening: Opening, clicks: int) -> Result:
    """A whole exact map in the page, from the click to its end, and by ``db.execute``, in turns."""
    page = opening.page
    with kdb.connect() as db:
        db.register_image("chelsea", photos.path("chelsea"))

        def execute() -> None:
            db.execute(QUERY)

        def shown() -> Seconds:
            page.get_by_test_id("query").fill(QUERY)
            run = page.get_by_test_id("run")
            milliseconds = opening.timed("click", "[data-testid=kdb]", "data-state", run.click, "done")
            return Seconds(milliseconds / 1000)

        found = interleave({"page": shown, "execute": execute}, rounds=ROUNDS if clicks == CLICKS else 1)
    return {"page": found["page"], "db.execute": found["execute"], "page over db.execute": _share(found)}


def _share(found: Mapping[str, Any]) -> Estimate:
    share: Estimate = found["execute"].over(found["page"])
    return share


def _spread(milliseconds: Sequence[float]) -> Result:
    return {
        "times": len(milliseconds),
        "median ms": statistics.median(milliseconds),
        "worst ms": max(milliseconds),
    }


PARTS: dict[str, Callable[[Opening, int], Result]] = {
    "click": click,
    "drag": drag,
    "growing": growing,
    "idle": idle,
    "control": control,
    "whole": whole,
}


# ---- the report


def report(folder: Path, found: Mapping[str, Result]) -> None:
    """Write page.json and page.md."""
    write_json(folder / "page.json", found)
    sections = {heading: _section(text, lines, found[name]) for name, heading, text, lines in SECTIONS if name in found}
    write_markdown(folder / "page.md", "The page", {"What is measured": ABOUT, **sections})


Lines = Callable[[Result], list[tuple[str, object, str]]]
"""What was measured, the figure, and the goal."""


def _section(text: str, lines: Lines, found: Result) -> str:
    table = markdown_table(["", "found", "goal"], [list(line) for line in lines(found)])
    return f"{text}\n\n{table}"


def _latency(goal: str) -> Lines:
    return lambda found: [
        (f"median of {found['times']}, ms", found["median ms"], goal),
        ("worst, ms", found["worst ms"], ""),
    ]


def _of_growth(found: Result) -> list[tuple[str, object, str]]:
    return [
        ("maps", found["maps"], ""),
        ("frames", found["frames"], ""),
        ("script in a frame, median, ms", found["script ms a frame, median"], "< 8"),
        ("script in a frame, worst, ms", found["script ms a frame, worst"], "< 8"),
        ("longest task, ms", found["longest task ms"], "< 50"),
        ("tasks over 50 ms", found["tasks over 50 ms"], "0"),
        ("script in all, ms", found["script ms in all"], ""),
    ]


def _of_idleness(found: Result) -> list[tuple[str, object, str]]:
    names = {
        "server": "the server's process",
        "browser": "all of the browser's processes",
        "renderer": "of these the page's",
        "main thread": "tasks of its main thread",
        "script": "of these script",
    }
    return [(f"{name}, s", found[key], "0") for key, name in names.items()]


def _of_control(found: Result) -> list[tuple[str, object, str]]:
    return [
        (f"to the {what}, {kind} of {found[what]['times']}, ms", found[what][f"{kind} ms"], "")
        for what in ("text", "plan")
        for kind in ("median", "worst")
    ]


def _of_whole(found: Result) -> list[tuple[str, object, str]]:
    return [
        ("in the page, s", f"{found['page'].estimate}", ""),
        ("db.execute, s", f"{found['db.execute'].estimate}", ""),
        ("page over db.execute", f"{found['page over db.execute']}", ""),
    ]


ABOUT = f"""\
`kdb ui` as a process of its own, and the page in Chromium without a window, on the same cores. The query is
`{QUERY}`.

Times of what a hand does begin with the browser's own time stamp of the event, and end after the frame that shows what
became of it. Script and tasks are those of Chromium's trace of the page's main thread, which costs some time itself: a
frame's script is what runs from the end of the frame before to its own end, messages and timers included; drawing on
canvases is script. Script in all is what `Performance.getMetrics` counts. Processor time is that of `/proc` for the
server and of `SystemInfo.getProcessInfo` for the browser."""

SECTIONS: list[tuple[str, str, str, Lines]] = [
    ("click", "From a click to the score of a position", "Each another one, after a whole map.", _latency("< 150")),
    ("drag", "From the end of a drag to the first map", "Boxes of a quarter to half a side.", _latency("< 1000")),
    ("growing", "While a whole map grows", "All 2,809 positions.", _of_growth),
    ("idle", "While nothing happens", f"{IDLE} seconds with a map on the page.", _of_idleness),
    (
        "control",
        "From a control's move to text and plan",
        "Another stride, with the plan open. A plan is asked for once the text has rested for 200 ms.",
        _of_control,
    ),
    (
        "whole",
        "A whole exact map, in the page and by `db.execute`",
        "In turns, each in its process: the page's rounds, checks and messages cost what it takes longer. Means with "
        "their 95 % intervals.",
        _of_whole,
    ),
]


if __name__ == "__main__":
    sys.exit(main())
