"""Runs under fire: workers and drivers killed at random moments, a node taken away, a full disk, poisonous images.

    python -m benchmarks.chaos [--kills N] [--images N] [--only local processes ray node disk]

Each run is driven by the command kdb, in processes of its own, over generated images of which one is broken and one
poisonous: whoever opens it is killed.  At the end each image has one row and each row that is done its map; every map
equals that of an undisturbed run by the same start, bit for bit; and nothing was computed twice but what was under way.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

import kdb
from benchmarks.timing import markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS
from kdb.runs import journal

ROOT = Path(__file__).resolve().parents[1]
SIDE = 48
QUERY = "OCCLUDE 'images/*.png' WITH patch(8, 8) STRIDE 2 USING net INTO RUN '{run}' VIA {via}"
BROKEN, POISON = "broken.png", "poison.png"
VIA = {"local": "local", "processes": "processes(2)"}

# A process that opens the poisonous image dies at once, as of an error in a library's C code.
POISONER = f"""
import os, signal, sys
def audit(event, arguments):
    if event == "open" and str(arguments[0]).endswith("{POISON}"):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0 if nothing was lost, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description="Runs under fire.")
    parser.add_argument("--kills", type=int, default=100, help="of local, processes and ray together")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for all parts")
    options = parser.parse_args(arguments)
    chosen = options.only or list(PARTS)
    rows = []
    with tempfile.TemporaryDirectory() as folder, poisoned(Path(folder) / "poison"):
        made = make(Path(folder), options.images)
        for name in chosen:
            begun = time.time()
            kills = options.kills // 3 + (options.kills % 3 if name == "local" else 0)
            row = {"part": name, **PARTS[name](made, name, kills), "seconds": round(time.time() - begun)}
            print(row, flush=True)
            rows.append(row)
    out = options.out or (DOCS if options.only is None else None)
    if out is not None:
        report(out, rows)
    return 1 if any(row["problems"] for row in rows) else 0


def report(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write chaos.json and chaos.md."""
    write_json(folder / "chaos.json", {"parts": rows})
    columns = ("part", "images", "kills", "of drivers", "attempts", "more than images", "under way", "done", "failed")
    table = markdown_table(
        [*columns, "maps equal", "problems", "s"],
        (
            [*(row.get(name) for name in columns), row.get("equal"), len(row["problems"]), row["seconds"]]
            for row in rows
        ),
    )
    text = """\
Runs of the command kdb, killed with SIGKILL at random moments and begun again by the same command. One image is broken,
and one kills whoever opens it: both are failed rows. *attempts* is how often work on any other image began; *more than
images* what was begun again; *under way* how many images were being computed at a kill: nothing else may be begun
again. *maps equal*: bit for bit those of an undisturbed run by the same start.

- node: one of two nodes of a cluster of Ray is taken away.
- disk: the file system is full, twice; each time the run stops, says so, and goes on where there is room again."""
    write_markdown(folder / "chaos.md", "Runs under fire", {"What is lost": f"{text}\n\n{table}"})


# ---- the data set


def make(folder: Path, count: int) -> Path:
    """A folder with ``count`` images, one of them broken and one poisonous, and a model net.onnx."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for i in range(count - 2):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i:04}.png")
    (folder / "images" / BROKEN).write_bytes(b"no image")
    shutil.copy(folder / "images" / "0000.png", folder / "images" / POISON)
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(32, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example, path = torch.zeros(1, 3, SIDE, SIDE), folder / "net.onnx"
        torch.onnx.export(nn.Sequential(*layers).eval(), (example,), path, dynamo=False)
    return folder


@contextmanager
def poisoned(folder: Path) -> Iterator[None]:
    """Around processes of Python in which the poisonous image works."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(POISONER)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


# ---- a run, from outside


class Driver:
    """The command kdb, driving a run in a folder; begun again by the same command."""

    def __init__(self, folder: Path, run: str, via: str) -> None:
        self.folder, self.run, self.via = folder, folder / run, via
        self._script = folder / f"{run}.kdb"
        self._script.write_text(
            "SET threads = 2;\nCREATE OR REPLACE MODEL net FROM 'net.onnx' (mean = 0, std = 1);\n"
            + QUERY.format(run=run, via=via)
        )
        self.process: subprocess.Popen[str] | None = None
        self.says = ""

    def start(self) -> None:
        """Begin, or go on."""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kdb", "-f", str(self._script)],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ended(self) -> int | None:
        """The exit status, if it has ended."""
        assert self.process is not None
        status = self.process.poll()
        if status is not None and self.process.stderr is not None:
            self.says = self.process.stderr.read()
            self.process.stderr.close()
            self.process.stderr = None
        return status

    def finished(self) -> None:
        """Run to the end, through the deaths that the poisonous image costs a driver that computes itself."""
        for _ in range(10):
            self.start()
            while (status := self.ended()) is None:
                time.sleep(0.05)
            if status >= 0:
                return
        raise RuntimeError(f"the run in {self.run} does not end; it says: {self.says}")

    def workers(self) -> list[int]:
        """The processes that compute for it: its children, or actors of Ray."""
        assert self.process is not None
        if self.via.startswith("ray"):
            return [pid for pid, command in processes() if command.startswith("ray::") and "Actor" in command]
        return [pid for pid, command in processes(self.process.pid) if "starts.child" in command]

    def events(self) -> list[dict[str, Any]]:
        """All that the journals say so far."""
        found = []
        with suppress(OSError):
            for path in sorted((self.run / "journals").glob(f"*{journal.SUFFIX}")):
                found += [event for _, _, event in journal.lines(path)]
        return found

    def under_way(self) -> int:
        """Images that are being computed."""
        events = self.events()
        return sum("start" in each for each in events) - sum(
            int(each.get("ends", 1)) for each in events if "start" not in each
        )


def processes(parent: int | None = None) -> list[tuple[int, str]]:
    """(id, command line) of all processes, or of the children of one."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError, IndexError):
                if parent is None or int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    found.append((int(path.name), command))
    return found


# ---- the parts


def killed(folder: Path, name: str, kills: int, via: str | None = None) -> dict[str, Any]:
    """A run whose driver or worker is killed so often, spread over its images."""
    via = VIA[name] if via is None else via
    calm = Driver(folder, f"{name}-calm", via)
    calm.finished()
    driver = Driver(folder, name, via)
    rng = random.Random(0)
    images = len(list((folder / "images").iterdir()))
    counts = {"kills": 0, "of drivers": 0, "under way": 0}
    driver.start()
    while counts["kills"] < kills:
        # So many more rows, on average what is left over the kills that are left, and then a moment.
        rows = _rows(driver)
        wanted = rows + rng.uniform(0, 2) * max(images - rows - 10, 0) / (kills - counts["kills"])
        while _rows(driver) < wanted and driver.ended() is None:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.15))
        if (status := driver.ended()) is not None:
            if status >= 0 and _rows(driver) >= images:
                break
            driver.start()  # the poisonous image
            continue
        workers = driver.workers() if name != "local" else []
        by_worker = workers and rng.random() < 0.6
        assert driver.process is not None
        victim = rng.choice(workers) if by_worker else driver.process.pid
        before = _starts(driver)
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        counts["kills"] += 1
        counts["under way"] += 1 if by_worker else len(workers) or 1
        if not by_worker:
            counts["of drivers"] += 1
            driver.process.wait()
            driver.ended()
            while _rows(driver) == rows and before == _starts(driver) and driver.process.poll() is None:
                time.sleep(0.02)
            time.sleep(0.3)  # its workers notice
            driver.start()
    while (status := driver.ended()) is None or status < 0:
        if status is not None:
            driver.start()
        time.sleep(0.05)
    return {**counts, **_found(driver, calm, counts["under way"])}


@contextmanager
def cluster() -> Iterator[tuple[Any, list[Any]]]:
    """A cluster of Ray with a head and two nodes of one core, and these nodes."""
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [made.add_node(num_cpus=1) for _ in range(2)]
        made.wait_for_nodes()
        yield made, nodes
    finally:
        made.shutdown()


def on_ray(folder: Path, name: str, kills: int) -> dict[str, Any]:
    """The same on a cluster of Ray, which outlives the drivers."""
    with cluster() as (made, _):
        return killed(folder, name, kills, f"ray(address = '{made.address}', workers = 2, cpus = 1)")


def node(folder: Path, name: str, kills: int) -> dict[str, Any]:
    """A run on a cluster of Ray, one of whose nodes is taken away."""
    calm = Driver(folder, "node-calm", VIA["processes"])
    calm.finished()
    with cluster() as (made, nodes):
        driver = Driver(folder, "node", f"ray(address = '{made.address}', workers = 2, cpus = 1)")
        driver.start()
        while _rows(driver) < 40 and driver.ended() is None:
            time.sleep(0.05)
        made.remove_node(nodes[0], allow_graceful=False)
        while driver.ended() is None:
            time.sleep(0.1)
    return {"kills": 1, "of drivers": 0, **_found(driver, calm, 1)}


def disk(folder: Path, name: str, kills: int) -> dict[str, Any]:
    """A run on a file system that is full, twice, before there is room for all; needs the right to mount one."""
    calm = Driver(folder, "disk-calm", VIA["local"])
    calm.finished()
    where = folder / "disk"
    where.mkdir()
    driver = Driver(folder, "disk", VIA["local"])
    problems = []
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "kdb", where], check=True)
    try:
        for size in ("1m", "64m"):
            driver.finished()
            if "No space left" not in driver.says:
                problems.append(f"a full disk is not told: {driver.says[-200:]}")
            subprocess.run(["mount", "-o", f"remount,size={size}", where], check=True)
        driver.finished()
        found = _found(driver, calm, 2)
    finally:
        subprocess.run(["umount", where], check=True)
    return {"kills": 0, "of drivers": 0, **found, "problems": problems + found["problems"]}


PARTS: dict[str, Callable[[Path, str, int], dict[str, Any]]] = {
    "local": killed,
    "processes": killed,
    "ray": on_ray,
    "node": node,
    "disk": disk,
}


def _rows(driver: Driver) -> int:
    return sum("row" in event for event in driver.events())


def _starts(driver: Driver) -> int:
    return sum("start" in event for event in driver.events())


def _found(driver: Driver, calm: Driver, under_way: int) -> dict[str, Any]:
    """What is there at the end, and what is wrong with it."""
    problems = []
    db = kdb.connect()
    run, undisturbed = db.open_run(driver.run), db.open_run(calm.run)
    table, images = run.table().to_pylist(), len(list((driver.folder / "images").iterdir()))
    ids = [row["id"] for row in table]
    if sorted(ids) != sorted(path.name for path in (driver.folder / "images").iterdir()):
        problems.append(f"{len(ids)} rows of {images} images")
    failed = {row["id"]: row["error_kind"] for row in table if row["status"] == "failed"}
    if failed != {BROKEN: "ExecutionError", POISON: "Quarantined"}:
        problems.append(f"failed: {failed}")
    equal = 0
    expected = {row["id"]: row for row in undisturbed.table().to_pylist()}
    for row in table:
        if row["status"] != "done":
            continue
        one, two = run.map(row["id"]), undisturbed.map(row["id"])
        same = np.array_equal(one.values, two.values) and row["sha256"] == expected[row["id"]]["sha256"]
        equal += same
        if not same:
            problems.append(f"{row['id']} has another map")
    maps = sorted(path.name for path in (driver.run / "maps").iterdir() if not path.name.startswith("."))
    if maps != sorted(f"{row['id']}.npz" for row in table if row["status"] == "done"):
        problems.append(f"{len(maps)} maps")
    # Those that fail are tried again by each driver, as RESUME promises.
    sound = {i for i, name in enumerate(sorted(ids)) if name not in (BROKEN, POISON)}
    attempts = sum(event.get("start") in sound for event in driver.events())
    more = attempts - len(sound)
    if more > under_way:
        problems.append(f"{more} were begun again, and {under_way} were under way")
    done_twice = [n for n, count in _done(driver).items() if count > 1]
    if done_twice:
        problems.append(f"done twice: {done_twice}")
    return {
        "images": images,
        "attempts": attempts,
        "more than images": more,
        "under way": under_way,
        "done": len(table) - len(failed),
        "failed": len(failed),
        "equal": equal,
        "problems": problems,
    }


def _done(driver: Driver) -> dict[int, int]:
    """How often each image was done."""
    found: dict[int, int] = {}
    for event in driver.events():
        if "row" in event and event["row"]["status"] == "done":
            number = event["row"]["number"]
            found[number] = found.get(number, 0) + 1
    return found


if __name__ == "__main__":
    sys.exit(main())
