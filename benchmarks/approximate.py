"""Approximate heat maps of a trained network on photographs: their quality, their estimated quality, and their cost.

An exact map and one of low fidelity are computed of each photograph once.  Strategies are then simulated on these, for
many seeds without inference, since they depend on scores alone.  Multiply-adds are those of the plan of every round.
Seconds are measured on queries.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import photos
from benchmarks.experiment import Experiment, Setting
from benchmarks.timing import machine, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, TRAINED, load, scattered
from kdb.execution.engine import Engine, default_settings
from kdb.execution.settings import cores
from kdb.frontends.torch_export import trace
from kdb.geometry import IntArray
from kdb.language import syntax
from kdb.operators.network import Network
from kdb.planner.permissions import Permissions
from kdb.queries.planning import LOW_FIDELITY
from kdb.results.maps import HeatMap
from kdb.results.similarity import ssim as similarity
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import Goal
from kdb.sampling.strategy import Estimate, Fidelity, Strategy
from kdb.session.session import Session
from kdb.system.threads import limited_pools

OBJECTS = ("astronaut", "camera", "chelsea", "coffee", "ihc", "motorcycle", "retina", "rocket")
"""Photographs with an object in them."""
TEXTURES = tuple(name for name in photos.NAMES if name not in OBJECTS)
"""Photographs of surfaces or of many similar things, where the network has little evidence for any class."""
TARGETS = (0.85, 0.9, 0.95)
DRILL_DOWNS = ((0.25, 3.0), (0.1, 5.0), (0.4, 2.0))
"""Drill-down fractions and speedups, the paper's."""
THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""Projective field thresholds, the paper's; without 1, which is exact."""
TIMED = ("chelsea", "coffee", "rocket")
"""Photographs whose queries are timed."""
PATCH, STRIDE = (16, 16), 4
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One strategy, run to its end.

    Attributes:
        photo: the photograph's name.
        seed: of the strategy.
        ssim: the target.
        guaranteed: whether the target is to be met with 95% confidence.
        exact: share of the cells evaluated exactly.
        low: share of the cells evaluated at low fidelity.
        macs: multiply-adds of the plans of all rounds, and of one full inference for the views.
        achieved: SSIM of the result to the exact map.
        expected: the strategy's own estimate of that SSIM.
    """

    photo: str
    seed: int
    ssim: float
    guaranteed: bool
    exact: float
    low: float
    macs: int
    achieved: float
    expected: float


@dataclass(frozen=True, eq=False)
class Maps:
    """Scores of a photograph at every position, exact and at low fidelity: float64 [rows, columns].

    ``positions`` int64 [rows * columns, 2] are the (y, x) of the cells.
    """

    exact: FloatArray
    low: FloatArray
    positions: IntArray


class Costs:
    """Counts the multiply-adds of rounds by planning them."""

    def __init__(self, network: Network) -> None:
        self.network, self._engine = network, Engine(default_settings())

    def of(self, positions: IntArray, low: bool = False) -> int:
        """Multiply-adds of one round, at ``low`` fidelity or exact."""
        permitted = Permissions(threshold=LOW_FIDELITY if low else None, freeze_context=low)
        plan = self._engine.plan(self.network, positions, PATCH, permitted, uniform=True)
        return plan.physical.planned_macs

    def naive(self, positions: int) -> int:
        """Multiply-adds of full inference at so many positions."""
        return self.network.macs * positions


def followed(strategy: Strategy, maps: Maps, costs: Costs) -> tuple[Estimate, dict[bool, int], int]:
    """Run a strategy on known maps.

    Returns its last estimate, the number of cells it evaluated at low (True) and exact (False) fidelity, and the
    multiply-adds.
    """
    macs, cells_of = costs.network.macs, {False: 0, True: 0}  # one full inference computes the views
    while len(cells := strategy.propose()):
        low = strategy.fidelity is not Fidelity.EXACT
        strategy.take(cells, (maps.low if low else maps.exact).reshape(1, -1)[:, cells])
        macs += costs.of(maps.positions[cells], low)
        cells_of[low] += len(cells)
    return strategy.estimate(), cells_of, macs


def sampled(photo: str, maps: Maps, costs: Costs, seed: int, ssim: float, guaranteed: bool) -> Run:
    """Run the strategy of a query ``APPROXIMATE TO SSIM ssim``."""
    strategy = MultiFidelity(maps.exact.shape, Goal(ssim, guaranteed), -1, seed)
    estimate, cells, macs = followed(strategy, maps, costs)
    achieved = similarity(estimate.values[0].reshape(maps.exact.shape), maps.exact, 2)
    exact, low = (cells[fidelity] / maps.exact.size for fidelity in (False, True))
    return Run(photo, seed, ssim, guaranteed, exact, low, macs, achieved, estimate.ssim or 0.0)


# ---- the report


def sampled_rows(runs: Sequence[Run], naive: int, names: Sequence[str], what: str) -> list[list[object]]:
    """A row for each target, plain and guaranteed: means over the photographs ``names`` and all seeds."""
    rows: list[list[object]] = []
    for ssim, guaranteed in sorted({(run.ssim, run.guaranteed) for run in runs}):
        of = [run for run in runs if (run.ssim, run.guaranteed) == (ssim, guaranteed) and run.photo in names]
        clause = f"TO SSIM {ssim:g}{' GUARANTEED' if guaranteed else ''}"
        achieved = np.array([run.achieved for run in of])
        shares = [f"{np.mean([getattr(run, share) for run in of]):.1%}" for share in ("exact", "low")]
        fewer = naive / np.mean([run.macs for run in of])
        off = np.mean([run.expected for run in of]) - achieved.mean()
        quality = [f"{achieved.mean():.3f}", f"{achieved.min():.3f}", f"{off:+.3f}"]
        rows.append([what, clause, len(of), f"{np.mean(achieved >= ssim):.1%}", *shares, f"{fewer:.2f}x", *quality])
    return rows


HEADERS = (
    *("photographs", "query", "runs", "met", "evaluated exactly", "approximately", "fewer multiply-adds"),
    *("SSIM", "lowest", "expected, off by"),
)


def drilled(maps: dict[str, Maps], costs: Costs, names: Sequence[str], what: str) -> list[list[object]]:
    """A row for each setting of the paper's drill-down: means over the photographs ``names``."""
    rows: list[list[object]] = []
    for ratio, speedup in DRILL_DOWNS:
        steps = coarse_steps(syntax.DrillDown(ratio, speedup), (STRIDE, STRIDE))
        found, shares, macs = [], [], []
        for each in (maps[name] for name in names):
            estimate, _, made = followed(DrillDown(each.exact.shape, steps, ratio, -1), each, costs)
            found.append(similarity(estimate.values[0].reshape(each.exact.shape), each.exact, 2))
            shares.append(estimate.evaluated.mean())
            macs.append(made)
        fewer = costs.naive(maps[names[0]].exact.size) / np.mean(macs)
        clause = f"DRILL DOWN {ratio:g} SPEEDUP {speedup:g}"
        quality = [f"{np.mean(found):.3f}", f"{np.min(found):.3f}"]
        rows.append([what, clause, len(found), f"{np.mean(shares):.1%}", f"{fewer:.2f}x", *quality])
    return rows


def timed(db: Session, exact: dict[str, HeatMap], seconds: dict[str, float], naive: float) -> list[list[object]]:
    """A row for each approximate query: seconds, all included, against exact queries and ``naive`` full inference."""
    rows: list[list[object]] = []
    for clauses in (*(f"APPROXIMATE TO SSIM {s:g} GUARANTEED" for s in TARGETS), "DRILL DOWN"):
        spent, found = [], []
        for name in TIMED:
            start = time.perf_counter()
            heat_map = db.execute(_text(clauses), {"image": photos.photo(name)})
            spent.append(time.perf_counter() - start)
            assert isinstance(heat_map, HeatMap)
            found.append(similarity(heat_map.values, exact[name].values, 2))
        mean = float(np.mean(spent))
        exact_mean = float(np.mean([seconds[name] for name in TIMED]))
        ratios = [f"{other / mean:.2f}x" for other in (exact_mean, naive)]
        rows.append([clauses, f"{mean:.3g}", *ratios, f"{np.mean(found):.3f}"])
    return rows


def thresholded(db: Session, exact: dict[str, HeatMap]) -> list[list[object]]:
    """A row for each of the paper's projective field thresholds."""
    rows: list[list[object]] = []
    for tau in THRESHOLDS:
        maps = {name: db.execute(_text(f"THRESHOLD {tau:g}"), {"image": photos.photo(name)}) for name in TIMED}
        found, macs, spent = [], [], []
        for name, heat_map in maps.items():
            assert isinstance(heat_map, HeatMap)
            found.append(similarity(heat_map.values, exact[name].values, 2))
            macs.append(heat_map.stats.executed_macs)
            spent.append(heat_map.stats.seconds["total"])
        fewer = exact[TIMED[0]].stats.naive_macs / np.mean(macs)
        quality = [f"{np.mean(found):.3f}", f"{np.min(found):.3f}"]
        rows.append([f"THRESHOLD {tau:g}", len(found), f"{fewer:.2f}x", *quality, f"{np.mean(spent):.3g}"])
    return rows


def _text(clauses: str = "") -> str:
    return f"OCCLUDE $image STRIDE {STRIDE} USING {TRAINED} {clauses}".strip()


def cost_on_vgg16(share: float = 0.16) -> dict[str, Any]:
    """Seconds until ``share`` of a VGG16's positions are evaluated and the rest estimated, against full inference."""
    experiment = Experiment("vgg16", STRIDE)
    setting = Setting("vgg16", None)
    whole = experiment.count(setting.subject.size)
    some = scattered(experiment.free(setting.subject.size), 32, seed=1)
    setting.naive_seconds(experiment.patch, some, whole)
    naive = float(setting.naive_seconds(experiment.patch, some, whole))
    with setting.subject.connect() as db:
        text = "OCCLUDE $image STRIDE 4 USING vgg16"
        db.execute(f"{text} WITHIN box(0, 0, 16, 16)", {"image": photos.photo("chelsea")})  # the model is traced
        start = time.perf_counter()
        for heat_map in db.stream(text, {"image": photos.photo("coffee")}):
            if heat_map.evaluated.mean() >= share:
                break
        seconds = time.perf_counter() - start
    evaluated = float(heat_map.evaluated.mean())
    return {"evaluated": evaluated, "seconds": seconds, "naive": naive, "faster": naive / seconds}


def _maps(db: Session, name: str) -> tuple[HeatMap, Maps, float]:
    """A photograph's exact heat map, the scores that strategies get, and the seconds that the exact map took."""
    exact, low = _text(), _text(f"THRESHOLD {LOW_FIDELITY}")  # the network has no gates to freeze
    start = time.perf_counter()
    found = db.execute(exact, {"image": photos.photo(name)})
    seconds = time.perf_counter() - start
    approximate = db.execute(low, {"image": photos.photo(name)})
    assert isinstance(found, HeatMap) and isinstance(approximate, HeatMap)
    values, low_values = (np.asarray(each.values, np.float64) for each in (found, approximate))
    return found, Maps(values, low_values, found.positions.reshape(-1, 2)), seconds


def _run_strategies(task: tuple[str, Maps, Network, Sequence[int]]) -> list[Run]:
    """All targets on one photograph with all seeds, as one process runs them."""
    name, maps, network, seeds = task
    costs = Costs(network)
    with limited_pools(1):
        settings = product(seeds, TARGETS, (False, True))
        return [sampled(name, maps, costs, seed, ssim, guaranteed) for seed, ssim, guaranteed in settings]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="seeds for each photograph and target (%(default)s)")
    parser.add_argument("--photos", nargs="*", default=photos.NAMES, choices=photos.NAMES, help="by default all")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the report")
    options = parser.parse_args(arguments)
    subject = load(TRAINED)
    exact, maps, seconds = {}, {}, {}
    with subject.connect() as db:
        db.execute(_text("WITHIN box(0, 0, 16, 16)"), {"image": photos.photo("chelsea")})  # the model is traced
        for name in options.photos:
            exact[name], maps[name], seconds[name] = _maps(db, name)
            print(f"{name:12} exact in {seconds[name]:.1f} s", flush=True)
        there = set(TIMED) <= set(exact)
        setting = Setting(TRAINED, None)
        whole = maps[options.photos[0]].exact.size
        some = scattered(Experiment(TRAINED, STRIDE).free(subject.size), 128, seed=1)
        setting.naive_seconds(PATCH, some, whole)
        naive = float(setting.naive_seconds(PATCH, some, whole))
        clock = timed(db, exact, seconds, naive) if there else []
        fields = thresholded(db, exact) if there else []
    vgg16 = cost_on_vgg16()
    network = trace(subject.module, (3, *subject.size))
    runs: list[Run] = []
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        for each in pool.map(_run_strategies, [(name, maps[name], network, range(options.seeds)) for name in maps]):
            runs += each
            print(f"{each[0].photo:12} {len(each)} strategies", flush=True)
    costs = Costs(network)
    groups = {"objects": [n for n in OBJECTS if n in exact], "textures": [n for n in TEXTURES if n in exact]}
    groups = {what: names for what, names in groups.items() if names}
    rows = [row for what, names in groups.items() for row in sampled_rows(runs, costs.naive(whole), names, what)]
    drills = [row for what, names in groups.items() for row in drilled(maps, costs, names, what)]
    tables = {
        "What is counted": DESCRIPTION,
        "Sampling": markdown_table(HEADERS, rows),
        "The paper's drill-down": markdown_table(
            ("photographs", "query", "maps", "evaluated", "fewer multiply-adds", "SSIM", "lowest"), drills
        ),
        "The paper's threshold": markdown_table(
            ("query", "photographs", "fewer multiply-adds", "SSIM", "lowest", "s"), fields
        ),
        "Seconds": markdown_table(("query", "s", "vs exact", "vs naive", "SSIM"), clock),
        "VGG16": f"{vgg16['evaluated']:.1%} of the positions evaluated, the rest estimated: {vgg16['seconds']:.3g} s, "
        f"{vgg16['faster']:.1f} times as fast as full inference ({vgg16['naive']:.3g} s, from 32 positions).",
    }
    write_markdown(options.out / "approximate.md", "Approximate maps", tables)
    records = [asdict(run) for run in runs]
    write_json(options.out / "approximate.json", {"machine": machine(), "strategies": records, "vgg16": vgg16})
    print("\n".join(f"\n{title}\n{text}" for title, text in tables.items()))
    return 0


DESCRIPTION = f"""\
{TRAINED}, trained weights, a patch of 16 x 16 at stride {STRIDE}, the probability of the predicted class; photographs
of scikit-image: {", ".join(OBJECTS)} (objects); {", ".join(TEXTURES)} (textures).

- met: runs, a photograph and a seed each, whose SSIM to the exact map is at least what was asked for.
- evaluated exactly, approximately: of the positions; approximately is with boxes of at most {LOW_FIDELITY:g} of a map,
  in fp32; queries may multiply in bfloat16 too.
- fewer multiply-adds: full inference at all positions over the plans of all rounds, with held-out samples, pairs and
  the views.
- SSIM, lowest: achieved, on average and at worst. Expected, off by: `hm.ssim_estimate` minus the achieved SSIM, on
  average."""


if __name__ == "__main__":
    sys.exit(main())
