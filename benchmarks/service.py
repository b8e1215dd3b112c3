"""kdb in use: the gain by threads, and the time of EXPLAIN, of a second query and of a second process."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import photos
from benchmarks.bench import FULL
from benchmarks.experiment import PATCH, Experiment, KdbMap, Setting
from benchmarks.memory import PHOTO
from benchmarks.timing import Estimate, Seconds, Timing, interleave, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, Ints, chosen_networks, load, scattered
from kdb.execution.engine import Engine, default_settings
from kdb.execution.settings import cores
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.language.parser import parse_one
from kdb.models import zoo
from kdb.models.catalog import Catalog
from kdb.planner.explain import explain
from kdb.planner.rendering import render
from kdb.queries import checking, planning
from kdb.queries.bind import bind
from kdb.results.maps import HeatMap
from kdb.session.session import connect

NETWORKS = ("vgg16", "resnet18", "inception_v3", "densenet121", "mobilenet_v2")
SCALED = ("vgg16", "resnet18")
"""Networks whose heat maps are computed by one thread and by all."""
STRIDE = 8
"""Stride of these maps, chosen so that they take some seconds."""
FEW = 16
"""Positions of an interactive query."""
PROCESSES = ("query", "module")
"""What a process does: run a query, or only build the module."""
ROUNDS = 5

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Scale:
    """The number of threads, of rounds, and the input size (H, W), None for the networks' own."""

    threads: int
    rounds: int = ROUNDS
    size: Ints | None = None

    def model(self, name: str) -> str:
        """The network ``name`` with random weights, as queries write it."""
        sized = "" if self.size is None else f", input = ({self.size[0]}, {self.size[1]})"
        return f"{name} (weights = 'random'{sized})"


# ---- what is measured


def scaling(name: str, scale: Scale) -> Row:
    """Time the same map by one thread and by all, in turns, without tracing."""
    setting, experiment = Setting(name, scale.size), Experiment(name, STRIDE)
    KdbMap(setting, Experiment(name, scattered=FEW))()
    candidates = {
        "one": KdbMap(setting, experiment, threads=1),
        "all": KdbMap(setting, experiment, threads=scale.threads),
    }
    timings = interleave(candidates, rounds=scale.rounds, warmups=0)
    positions = experiment.count(setting.subject.size)
    return {"positions": positions, **timings, "ratio": timings["all"].over(timings["one"])}


class Explain:
    """EXPLAIN as a session runs it, with the model traced but neither plans nor rewritten networks cached."""

    def __init__(self, name: str, scale: Scale) -> None:
        self.text = Experiment(name).text(scale.model(name))
        self.threads = scale.threads
        self.catalog, self.arguments = Catalog(), Arguments({"image": photos.photo(PHOTO)})

    def __call__(self) -> str:
        """The plan as text."""
        query = parse_one(self.text)
        assert isinstance(query, syntax.Occlude)
        engine = Engine(default_settings())
        engine.settings.set("threads", self.threads)
        bound = bind(query, self.arguments, self.catalog)
        planned, note = planning.first_round(engine, bound)
        check = checking.planned(engine, bound, planned)
        explained = explain(
            str(query), planned.physical, planned.history, planned.context, note, check=check, taken=planned.memory
        )
        return render(explained, "text")


def explaining(name: str, scale: Scale) -> Row:
    """Time EXPLAIN of a traced model."""
    return interleave({"seconds": Explain(name, scale)}, rounds=scale.rounds, warmups=1)


def session(name: str, scale: Scale) -> Row:
    """Time a session's first and second query on one image, at different positions; each round has a new session."""
    subject, experiment = load(name, scale.size), Experiment(name, scattered=FEW)
    text, free = experiment.text(name), experiment.free(subject.size)
    image = photos.photo(PHOTO, subject.size)
    seconds: dict[str, list[float]] = {"first": [], "second": []}
    for turn in range(-1, scale.rounds):
        with subject.connect(threads=scale.threads) as db:
            for seed, which in enumerate(seconds):
                parameters = {"image": image, "positions": scattered(free, FEW, seed)}
                start = time.perf_counter()
                heat_map = db.execute(text, parameters)
                elapsed = time.perf_counter() - start
                assert isinstance(heat_map, HeatMap)
                if turn >= 0:
                    seconds[which].append(elapsed - heat_map.stats.seconds["trace"])
    return {which: Timing(which, tuple(each)) for which, each in seconds.items()}


def process(name: str, scale: Scale) -> Row:
    """Time a process that runs a query and finds the trace cached, in turns with one that only builds the module."""
    root = Path(__file__).resolve().parents[1]
    size = [] if scale.size is None else ["--size", *map(str, scale.size)]
    command = [sys.executable, "-m", "benchmarks.service", name, "--threads", str(scale.threads), *size, "--process"]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "KDB_CACHE": cache}

        def run(what: str) -> Seconds:
            done = subprocess.run(
                [*command, what], cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            return Seconds(float(done.stdout))

        timings = interleave({what: partial(run, what) for what in PROCESSES}, rounds=scale.rounds, warmups=1)
    both = zip(*(timings[what].seconds for what in PROCESSES), strict=True)
    return {**timings, "beyond": Timing("beyond", tuple(query - module for query, module in both))}


def run_process(what: str, name: str, scale: Scale) -> None:
    """Run in such a process: build the module, or run a query on it (one of PROCESSES); prints the seconds."""
    parameters = {"image": photos.photo(PHOTO), "positions": np.arange(2 * FEW).reshape(FEW, 2)}
    start = time.perf_counter()
    if what == "module":
        zoo.resolve(name, {"weights": "random"} | ({} if scale.size is None else {"input": scale.size}))
    else:
        db = connect()
        db.execute(f"SET threads = {scale.threads}")
        db.execute(Experiment(name, scattered=FEW).text(scale.model(name)), parameters)
    print(time.perf_counter() - start)


# ---- the report


@dataclass(frozen=True)
class Part:
    """A section of the report.

    Attributes:
        title: its heading.
        text: its explanation, in Markdown.
        measure: measures one network.
        networks: measured by default.
        columns: of its table, each a function of a network's measurements.
    """

    title: str
    text: str
    measure: Callable[[str, Scale], Row]
    networks: Sequence[str]
    columns: Mapping[str, Callable[[Row], object]]

    def section(self, found: Mapping[str, Row]) -> str:
        """The text, and a table with a row for each network."""
        rows = [[name, *(cell(row) for cell in self.columns.values())] for name, row in found.items()]
        return f"{self.text}\n\n{markdown_table(['network', *self.columns], rows)}"


def _milliseconds(which: str) -> Callable[[Row], Estimate]:
    return lambda row: Timing(which, tuple(1e3 * each for each in row[which].seconds)).estimate


PARTS = {
    "threads": Part(
        "Threads",
        f"The same map of stride {STRIDE} with `SET threads = 1` and with all, in turns; with planning and\n"
        "materialization, without tracing.",
        scaling,
        SCALED,
        {
            "positions": lambda row: row["positions"],
            "1 thread, s": lambda row: row["one"].estimate,
            "all threads, s": lambda row: row["all"].estimate,
            "times as fast": lambda row: row["ratio"],
        },
    ),
    "explain": Part(
        "EXPLAIN",
        "`EXPLAIN` of a map of stride 4 once the model is traced; no plan and no rewritten network is at hand.",
        explaining,
        NETWORKS,
        {"ms": _milliseconds("seconds")},
    ),
    "session": Part(
        "Two queries in a session",
        f"{FEW} scattered positions: the first query in a session, and a second one of the same image at others,\n"
        "which finds the views and the layouts of the weights. Without tracing.",
        session,
        NETWORKS,
        {"first, ms": _milliseconds("first"), "second, ms": _milliseconds("second")},
    ),
    "process": Part(
        "A second process",
        f"A process that evaluates {FEW} positions and finds the trace cached, in turns with one that imports\n"
        "the same and builds the module with its weights only; *beyond* is the difference. Without the start of\n"
        "the interpreter and the imports of kdb.",
        process,
        NETWORKS,
        {f"{which}, ms": _milliseconds(which) for which in ("beyond", *PROCESSES)},
    ),
}


def report(found: Mapping[str, Mapping[str, Row]], scale: Scale, folder: Path) -> None:
    """Write service.md and service.json to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    introduction = (
        f"Means of {scale.rounds} rounds with 95 % confidence intervals, ratios and differences formed round by\n"
        f"round; patch {PATCH[0]} x {PATCH[1]}, {scale.threads} threads if not said otherwise."
    )
    sections = {PARTS[name].title: PARTS[name].section(rows) for name, rows in found.items()}
    write_markdown(folder / "service.md", "kdb in use", {"How it is measured": introduction, **sections})
    write_json(folder / "service.json", {"rounds": scale.rounds, "threads": scale.threads, **found})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    options = _options(arguments)
    scale = Scale(options.threads or cores(), options.rounds, tuple(options.size) if options.size else None)
    torch.set_num_threads(scale.threads)
    chosen = chosen_networks(",".join(options.networks) or None, FULL.networks)
    if options.process is not None:
        run_process(options.process, chosen[0], scale)
        return 0
    found: dict[str, dict[str, Row]] = {}
    for name in options.part or PARTS:
        part = PARTS[name]
        networks = chosen if options.networks else part.networks
        found[name] = {network: part.measure(network, scale) for network in networks}
        print(f"{part.title}\n\n{part.section(found[name])}", flush=True)
    full = not options.networks and not options.part and scale == Scale(scale.threads)
    if (folder := options.out or (DOCS if full else None)) is not None:
        report(found, scale, folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", help=f"networks of the benchmark ({' '.join(NETWORKS)})")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument(
        "--rounds", type=int, default=ROUNDS, help="rounds, in each of which all candidates run once (%(default)s)"
    )
    parser.add_argument("--threads", type=int, help="the largest number of threads, all cores by default")
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="input size, the networks' own by default"
    )
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    parser.add_argument("--process", choices=PROCESSES, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
