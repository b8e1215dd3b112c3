"""Part: what queries with much to return hold in memory, each in a process of its own.

``python -m benchmarks.robustness.memory CASE`` is such a process; it prints a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks.memory import peak_bytes
from benchmarks.robustness.part import ROOT, Part, Row
from benchmarks.robustness.soaking import resident
from benchmarks.timing import markdown_table
from kdb.results.maps import HeatMap
from kdb.results.several import HeatMaps
from kdb.session.session import Session

CLASSES, SIDE = 1000, 203
"""With patches of 4 x 4 at stride 1: 40,000 positions."""
IMAGES, FIRST, SMALL = 2000, 200, 64
"""A glob, the images after which memory is looked at first, and their side."""
ONE, ALL, MANY = "class 0", "all classes", "many images"
MOST_RESULTS = 2
"""What all classes may take beyond one class, in sizes of the result."""
MOST_KEPT = 0.1
"""By how much memory may grow between the first images and the last, as a share of all their maps."""


def _session(classes: int, side: int) -> Session:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))
    db = kdb.connect()
    db.register_model("net", nn.Sequential(*layers).eval(), input_size=(side, side))
    db.execute("SET threads = 2")
    return db


def of_classes(clause: str, classes: int, side: int) -> dict[str, Any]:
    """One map of many positions; a small one comes before, so that imports and the trace do not count."""
    db = _session(classes, side)
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    db.execute("OCCLUDE $image WITH patch(4, 4) STRIDE 20 USING net", {"image": image})
    before = resident()
    query = f"OCCLUDE $image WITH patch(4, 4) STRIDE 1 USING net {clause} SCORE logit"
    found = db.execute(query, {"image": image})
    assert isinstance(found, HeatMap)
    return {"before": before, "after": peak_bytes(), "result": found.values.nbytes}


def of_images(count: int, first: int, side: int) -> dict[str, Any]:
    """The maps of a glob, one after another, none of which is kept; the views are those of a few images."""
    db = _session(5, side)
    db.execute("SET view_budget = 4")
    draw = np.random.default_rng(0)
    before = result = 0
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        for i in range(count):
            pixels = draw.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path(folder) / f"{i:05}.bmp")
        maps = db.execute(f"OCCLUDE '{folder}/*.bmp' WITH patch(4, 4) STRIDE 2 USING net")
        assert isinstance(maps, HeatMaps)
        for number, found in enumerate(maps, start=1):
            if number == first:
                before = resident()
            if number > first:
                result += found.values.nbytes + found.positions.nbytes + found.image.nbytes
        return {"before": before, "after": resident(), "result": result}


CASES: Mapping[str, Callable[[], dict[str, Any]]] = {
    ONE: lambda: of_classes("FOR CLASS 0", CLASSES, SIDE),
    ALL: lambda: of_classes("FOR ALL CLASSES", CLASSES, SIDE),
    MANY: lambda: of_images(IMAGES, FIRST, SMALL),
}


def examined(case: str) -> dict[str, Any]:
    """The memory before and after, or at its peak, and the size of the result, in bytes."""
    command = [sys.executable, "-m", "benchmarks.robustness.memory", case]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _growth(row: Row) -> int:
    return int(row["after"] - row["before"])


def failures(rows: Sequence[Row]) -> list[str]:
    """What takes more than it may."""
    by_case, said = {row["case"]: row for row in rows}, []
    if {ONE, ALL} <= by_case.keys():
        result, beyond = by_case[ALL]["result"], _growth(by_case[ALL]) - _growth(by_case[ONE])
        if beyond > MOST_RESULTS * result:
            said.append(
                f"all classes take {_megabytes(beyond)} more than one, {beyond / result:.1f} times the result of "
                f"{_megabytes(result)}, more than {MOST_RESULTS}"
            )
    if MANY in by_case:
        result, growth = by_case[MANY]["result"], _growth(by_case[MANY])
        if growth > MOST_KEPT * result:
            said.append(f"memory grows by {_megabytes(growth)} with maps of {_megabytes(result)} that nobody keeps")
    return said


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """What each case takes."""
    return {row["case"]: _megabytes(_growth(row)) for row in rows}


def report(rows: Sequence[Row]) -> str:
    """A row for each case."""
    lines = [[row["case"], *(_megabytes(n) for n in (row["before"], _growth(row), row["result"]))] for row in rows]
    return f"{DESCRIPTION}\n\n{markdown_table(['case', 'before', 'more', 'result'], lines)}"


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.0f} MB"


DESCRIPTION = f"""\
One map of 40,000 positions for one of {CLASSES:,} classes and for all of them: the peak of memory beyond what was held
before the query; for all, at most {MOST_RESULTS} results more than for one. And a glob of {IMAGES:,} images, whose maps
are thrown away one by one: what is held after the last beyond what was held after the first {FIRST}; at most
{MOST_KEPT:.0%} of the maps in between."""

PART = Part("memory", "Memory", lambda: list(CASES), examined, report, failures, totals)

if __name__ == "__main__":
    print(json.dumps(CASES[sys.argv[1]]()))
