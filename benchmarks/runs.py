"""What a run costs beside the loop that one would write: throughput, overhead, memory; and 84,000 scans on paper.

    python -m benchmarks.runs [--only overhead workers memory manifest batches] [--out DIR]

A and B are interleaved.  A bare loop executes a query for each image and saves its map as .npz; a run does that and
keeps its journals.  Times are from the first image to the last, without the start of processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks.photos import photo
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS
from kdb.queries.sources import Listed
from kdb.runs import rows
from kdb.runs.driving import Event, Work, by_crew
from kdb.runs.folder import RunFolder
from kdb.runs.images import Images, Item
from kdb.runs.journal import Journal
from kdb.runs.watch import Watch

SCANS = 84_000
"""Images of the largest data set of the KRYPTON paper."""
PRICE = 0.045
"""Dollars for an hour of one virtual core: an assumption, of the order of what clouds ask on demand."""
ROUNDS = 3

Result = dict[str, Any]

LOOP = """
import json, sys, time
import kdb
paths, query, out = json.loads(sys.stdin.read())
db = kdb.connect()
db.execute("SET threads = 1")
for text in sys.argv[1:]:
    db.execute(text)
db.execute(query.format(paths[0])).save(f"{out}/warm.npz")
begun = time.time()
for i, path in enumerate(paths):
    db.execute(query.format(path)).save(f"{out}/{i}.npz")
print(json.dumps([begun, time.time()]))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runs", description="What a run costs.")
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    found: Result = {}
    for name in options.only or list(PARTS):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = PARTS[name](Path(folder))
        print(name, json.dumps(found[name]), flush=True)
    out = options.out or (DOCS if options.only is None else None)
    if out is not None:
        report(out, found)
    return 0


# ---- data sets


def photographs(folder: Path, count: int) -> list[str]:
    """Crops of photographs, 224 x 224."""
    (folder / "photos").mkdir()
    image = photo("astronaut", (512, 512))
    paths = []
    for i in range(count):
        y, x = (37 * i) % 288, (61 * i) % 288
        paths.append(str(folder / "photos" / f"{i:04}.png"))
        Image.fromarray(image[y : y + 224, x : x + 224]).save(paths[-1])
    return paths


def noise(folder: Path, count: int, side: int = 32) -> list[str]:
    """Small images of noise."""
    (folder / "noise").mkdir()
    rng = np.random.default_rng(0)
    paths = []
    for i in range(count):
        paths.append(str(folder / "noise" / f"{i:04}.png"))
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def small_model(folder: Path, side: int = 32) -> str:
    """The statement that makes the model ``small`` of a file."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)]
    program = torch.onnx.export(nn.Sequential(*layers).eval(), (torch.zeros(1, 3, side, side),), dynamo=True)
    assert program is not None
    program.save(str(folder / "small.onnx"))
    return f"CREATE MODEL small FROM '{folder / 'small.onnx'}' (mean = 0, std = 1)"


CASES: dict[str, tuple[Callable[[Path, int], list[str]], int, str]] = {
    "EfficientNet-lite0, 224 x 224, stride 16": (
        photographs,
        24,
        "OCCLUDE {} WITH patch(16, 16) STRIDE 16 USING efficientnet_lite0",
    ),
    "small network, 32 x 32, stride 2": (noise, 200, "OCCLUDE {} WITH patch(8, 8) STRIDE 2 USING small"),
}


def mapped(db: kdb.Session, query: str) -> kdb.HeatMap:
    """The map of a query of one image."""
    found = db.execute(query)
    assert isinstance(found, kdb.HeatMap)
    return found


# ---- what is measured


def overhead(folder: Path) -> list[Result]:
    """In one process: a bare loop and a run, in turns."""
    found = []
    for name, (make, count, query) in CASES.items():
        paths = make(folder, count)
        db = kdb.connect()
        db.execute("SET threads = 1")
        if "small" in query:
            db.execute(small_model(folder))
        images = {"i": paths}
        mapped(db, query.format(f"'{paths[0]}'")).save(folder / "warm.npz")
        pairs = []
        for k in range(ROUNDS):
            begun = time.perf_counter()
            for i, path in enumerate(paths):
                mapped(db, query.format(f"'{path}'")).save(folder / f"{i}.npz")
            between = time.perf_counter()
            db.execute(query.format("$i") + f" INTO RUN '{folder / f'{make.__name__}-{k}'}'", images)
            pairs.append((between - begun, time.perf_counter() - between))
        ratio = statistics.median(run / bare for bare, run in pairs)
        bare = statistics.median(bare for bare, _ in pairs)
        found.append({"case": name, "images": count, "bare s": bare, "run over bare": ratio})
    return found


def workers(folder: Path) -> list[Result]:
    """One and two workers beside as many bare loops, each with one thread, in turns."""
    found = []
    for name, (make, count, query) in CASES.items():
        paths = make(folder, count)
        statements = [small_model(folder)] if "small" in query else []
        for number in (1, 2):
            ratios, rates = [], []
            for k in range(ROUNDS):
                bare = count / loops(folder, paths, query, statements, number)
                where = folder / f"{make.__name__}-{number}-{k}"
                rate = count / run_of(where, paths, query, statements, number)
                ratios.append(rate / bare)
                rates.append(rate)
            hour = round(3600 * statistics.median(rates))
            found.append({"case": name, "workers": number, "images/h": hour, "of loops": statistics.median(ratios)})
    return found


def loops(folder: Path, paths: list[str], query: str, statements: list[str], number: int) -> float:
    """Seconds that so many bare loops take, each in a process of its own, from the first image to the last."""
    started = []
    for k in range(number):
        out = folder / f"loop{k}"
        out.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, *statements], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps([paths[k::number], query.replace("{}", "'{}'"), str(out)]))
        process.stdin.close()
        started.append(process)
    times = []
    for process in started:
        assert process.stdout is not None
        times.append(json.loads(process.stdout.read()))
        process.wait()
    return float(max(end for _, end in times) - min(begin for begin, _ in times))


def run_of(folder: Path, paths: list[str], query: str, statements: list[str], number: int) -> float:
    """Seconds that a run takes by so many processes of one thread each, from the first image to the last."""
    db = kdb.connect()
    for text in (f"SET threads = {number}", *statements):
        db.execute(text)
    db.execute(query.format("$i") + f" INTO RUN '{folder}' VIA processes({number})", {"i": paths})
    between = RunFolder(folder).state().between()
    assert between is not None
    return between[1] - between[0]


def memory(folder: Path) -> Result:
    """The resident memory of a process while it runs 2,000 small images."""
    paths = noise(folder, 2000)
    statement = small_model(folder)
    program = f"""
import json, kdb
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * {os.sysconf("SC_PAGE_SIZE")}
db, seen = kdb.connect(), []
db.execute("SET threads = 1"); db.execute({statement!r})
def look(done, total):
    if done % 100 == 0: seen.append(resident())
paths = json.load(open({str(folder / "paths.json")!r}))
query = "OCCLUDE $i WITH patch(8, 8) STRIDE 4 USING small INTO RUN '{folder / "run"}'"
db.execute(query, {{"i": paths}}, progress=look)
print(json.dumps(seen))
"""
    (folder / "paths.json").write_text(json.dumps(paths))
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    seen = [each / 2**20 for each in json.loads(said)]
    return {"images": 2000, "MB after 200": seen[1], "MB after 1000": seen[9], "MB after 2000": seen[-1]}


def manifest(folder: Path) -> Result:
    """The driver of a million images, whose work is simulated: its memory, and images a second that it can hand out."""
    count = int(os.environ.get("KDB_BENCH_ROWS", "1000000"))
    program = f"from benchmarks.runs import driver; driver({str(folder)!r}, {count})"
    said = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    found: Result = json.loads(said.splitlines()[-1])
    return found


class Simulated:
    """A crew of eight whose images are done when they are given, and whose maps are empty files."""

    size = 8

    def __init__(self, folder: RunFolder) -> None:
        self._folder, self._events, self._number = folder, deque[Event](), 0
        self._out = (folder.journals / "simulated.jsonl").open("w")
        self._folders: set[str] = set()

    def start(self) -> int:
        """One more, ready at once."""
        self._number += 1
        self._events.append(Event(self._number, "ready"))
        return self._number

    def give(self, worker: int, item: Item, accept_changed: bool) -> None:
        """The image's row, as a worker's journal has it, and an empty file for its map."""
        file = self._folder.map_file(item.id)
        parent = file.rpartition("/")[0]
        if parent not in self._folders:
            self._folders.add(parent)
            os.makedirs(self._folder.path / parent, exist_ok=True)
        os.close(os.open(self._folder.path / file, os.O_CREAT | os.O_WRONLY))
        row = {**ROW, "number": item.number, "map": file}
        self._out.write(json.dumps({"start": item.number, "at": time.time()}) + "\n")
        self._out.write(json.dumps({"row": row, "ends": 1, "at": time.time()}) + "\n")
        self._events.append(Event(worker, "row", row=row))

    def next(self, seconds: float) -> Event | None:
        """The next event."""
        return self._events.popleft() if self._events else None

    def close(self) -> None:
        """Nothing is left."""
        self._out.close()


ROW: Result = {
    **{"sha256": "0" * 64, "status": "done", "node": "simulated", "device": "cpu", "seconds": 1.0, "class_index": 3},
    **{"label": "class 3", "baseline": 0.5, "min": 0.1, "max": 0.6, "peak": [16, 32], "ssim_estimate": None},
    **{"exact": True, "checked_error": 0.01},
}


def driver(where: str, count: int) -> None:
    """Drive ``count`` images that are simulated, and print what that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    folder, begun = RunFolder(Path(where) / "run"), time.perf_counter()
    paths = [f"/data/scans/patient{i // 100:05}/scan{i % 100:02}.png" for i in range(count)]
    images = Images.of(Listed(paths, "/data/scans"))
    del paths
    facts = {"formats": ["npz"], "class_axis": False, "query": "", "created": "", "versions": {"kdb": ""}}
    folder.create(facts, images, {})
    del images
    listed = time.perf_counter()
    state = folder.state()
    journal, watch = Journal(folder.journals, "driver"), Watch(count)
    by_crew(Work(folder, state.pending(), state, watch), Simulated(folder), journal)
    driven = time.perf_counter()
    assert watch.progress.done == count
    written = folder.looked_at()
    assert len(written.done()) == count and rows.schema(folder.images, False) is not None
    ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "images": count,
                "peak MB": round(peak),
                "MB of an idle process": round(before),
                "s to list": round(listed - begun, 1),
                "images/s driven": round(count / (driven - listed)),
                "s to write results": round(ended - driven, 1),
                "results MB": round(folder.results.stat().st_size / 2**20, 1),
            }
        )
    )


def batches(folder: Path) -> Result:
    """What images would save if they shared batches: the time of one batch of one position, beside that of a map."""
    (path,) = noise(folder, 1)
    db = kdb.connect()
    for text in ("SET threads = 1", "SET verify = off", small_model(folder), "SET view_budget = 0"):
        db.execute(text)
    seconds: dict[str, list[float]] = {"map": [], "execute": [], "one": []}
    for _ in range(30):
        begun = time.perf_counter()
        whole = mapped(db, f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 2 USING small")
        whole.save(folder / "map.npz")
        seconds["map"].append(time.perf_counter() - begun)
        seconds["execute"].append(whole.stats.seconds["execute"])
        one = mapped(db, f"OCCLUDE '{path}' WITH patch(8, 8) STRIDE 2 WITHIN box(8, 8, 8, 8) USING small")
        seconds["one"].append(one.stats.seconds["execute"])
    found = {f"ms {name}": 1000 * statistics.median(each) for name, each in seconds.items()}
    return {**found, "positions": whole.values.size, "share of one": found["ms one"] / found["ms map"]}


PARTS: dict[str, Callable[[Path], Any]] = {
    "overhead": overhead,
    "workers": workers,
    "memory": memory,
    "manifest": manifest,
    "batches": batches,
}


# ---- the report


def report(folder: Path, found: Result) -> None:
    """Write runs.json and runs.md."""
    write_json(folder / "runs.json", found)
    tables = {}
    if "overhead" in found:
        tables["A run beside a bare loop, in one process"] = _table(found["overhead"])
    if "workers" in found:
        text = "Images an hour, and that over what as many independent bare loops do, each with one thread."
        tables["Workers beside bare loops"] = f"{text}\n\n{_table(found['workers'])}"
    if "memory" in found:
        tables["Memory over 2,000 images"] = _table([found["memory"]])
    if "manifest" in found:
        text = (
            "A driver whose workers are simulated: what it takes to list, hand out, and put together a million images."
        )
        tables["A manifest of a million rows"] = f"{text}\n\n{_table([found['manifest']])}"
    if "batches" in found:
        text = (
            "A small image, one thread: milliseconds of a whole map, of its positions, and of a query of one position, "
            "whose time is all that images which share batches could save."
        )
        tables["Sharing batches"] = f"{text}\n\n{_table([found['batches']])}"
    tables["84,000 scans"] = on_paper(json.loads((DOCS / "cpu.json").read_text()), found.get("manifest"))
    write_markdown(folder / "runs.md", "Runs over data sets", tables)


def _table(found: Sequence[Result]) -> str:
    return markdown_table(list(found[0]), [list(each.values()) for each in found])


def on_paper(cpu: Result, driven: Result | None) -> str:
    """Hours and cost for the largest data set of the paper, by measured seconds of a map."""
    lines = []
    for name, seconds in seconds_of_maps(cpu).items():
        hours = SCANS * seconds / 3600
        cost = hours * 2 * PRICE
        lines.append([name, seconds, *(hours / workers for workers in (1, 8, 60, 240)), round(cost)])
    table = markdown_table(
        ["network", "s a map", "h, 1 worker", "h, 8", "h, 60", "h, 240", "$ in all"],
        lines,
    )
    most = "" if driven is None else f" ({driven['images/s driven']:,} images a second here)"
    return f"""\
Exact maps, 16 x 16 at stride 4, 224 x 224 (Inception3 299 x 299), by the seconds of [cpu.md](cpu.md): a worker has two
cores as fast as the machine there. {SCANS:,} images; ${PRICE} for an hour of a virtual core, an assumption. Hours are
those of the work: workers share nothing but the folder, and the last of them end within one map of one another.

{table}

What saturates first, as workers are added: an image costs the shared folder one read of a file, one map of some
150 kB, two renames and three `fsync`. By 240 workers on ResNet18 that is about 20 images a second: 3 MB a second and 60
`fsync`, which a file server of any kind bears. From some thousands of workers on its metadata are the limit; copies of
the images on the nodes, and a run for each part of the data set, help. The driver hands out far more than that{most},
and its journals grow by half a kilobyte an image. A map a file makes {SCANS:,} files; names with folders in them keep
folders small."""


def seconds_of_maps(cpu: Result) -> dict[str, float]:
    """Seconds of a whole exact map by kdb, by network."""
    return {each["network"]: each["kdb"]["mean"] for each in cpu["results"] if each["what"] == "STRIDE 4"}


if __name__ == "__main__":
    sys.exit(main())
