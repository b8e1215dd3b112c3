"""Approximate maps of a trained network on photographs: how good they are, what was said of that, what they cost.

Each photograph has its exact map.  Courses are followed on it, since what they propose depends on scores alone, and
every round is planned, so that multiply-adds are those of the plans; so many seeds cost no inference.  Seconds are
those of queries.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from benchmarks import photos
from benchmarks.experiment import Experiment, Setting
from benchmarks.timing import machine, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, TRAINED, load, scattered
from kdb import query
from kdb.engine import Engine, default_settings
from kdb.frontends.torch_export import trace
from kdb.geometry import IntArray, Size
from kdb.heatmap import HeatMap
from kdb.network import Network
from kdb.sampling.course import Course, Estimate
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.progressive import Goal, Progressive
from kdb.session import Session

OBJECTS = ("astronaut", "camera", "chelsea", "coffee", "ihc", "motorcycle", "retina", "rocket")
"""Photographs of something."""
TEXTURES = tuple(name for name in photos.NAMES if name not in OBJECTS)
"""Surfaces, and fields of many alike things, on which the network has little to go by."""
TARGETS = (0.85, 0.9, 0.95)
DRILL_DOWNS = ((0.25, 3.0), (0.1, 5.0), (0.4, 2.0))
"""The paper's fractions and speedups."""
THRESHOLDS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
"""The paper's, without the 1 that is exact."""
TIMED = ("chelsea", "coffee", "rocket")
PATCH, STRIDE = Size(16, 16), 4
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Point:
    """A course after a round: the share evaluated, multiply-adds so far, its SSIM, and what was expected of that."""

    share: float
    macs: int
    achieved: float
    expected: float
    assured: float


@dataclass(frozen=True)
class Outcome:
    """Where a course stops."""

    photo: str
    seed: int
    point: Point


class Costs:
    """Multiply-adds of rounds, by their plans."""

    def __init__(self, network: Network) -> None:
        self.network, self._engine = network, Engine(default_settings())

    def of(self, positions: IntArray) -> int:
        """Of one round."""
        return self._engine.plan(self.network, positions, PATCH, uniform=True).physical.planned_macs

    def naive(self, positions: int) -> int:
        """Of full inference at so many."""
        return self.network.macs * positions


def similarity(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """SSIM with the exact map's range."""
    found, exact = found.astype(np.float64), exact.astype(np.float64)
    ssim: Callable[..., Any] = structural_similarity
    return float(ssim(found, exact, data_range=float(np.ptp(exact))))


def followed(course: Course, exact: HeatMap, costs: Costs) -> Iterator[Point]:
    """The points of a course whose scores are those of an exact map."""
    truth, positions = np.asarray(exact.values, np.float64), exact.positions.reshape(-1, 2)
    macs = costs.network.macs  # of the views
    while len(cells := course.propose()):
        course.take(cells, truth.reshape(1, -1)[:, cells])
        macs += costs.of(positions[cells])
        yield _point(course.estimate(), truth, macs)


def _point(estimate: Estimate, truth: FloatArray, macs: int) -> Point:
    achieved = similarity(estimate.values[0].reshape(truth.shape), truth)
    share = float(estimate.evaluated.mean())
    return Point(share, macs, achieved, estimate.ssim or 0.0, estimate.assured or 0.0)


def stop(points: Sequence[Point], ssim: float, guaranteed: bool) -> Point:
    """The first point at which a query for ``ssim`` would stop."""
    return next(p for p in points if (p.assured if guaranteed else p.expected) >= ssim)


# ---- the report


def sampled_rows(
    courses: dict[tuple[str, int], Sequence[Point]], naive: int, names: Sequence[str], what: str
) -> list[list[object]]:
    """A row a target, plain and guaranteed, over the photographs ``names`` and all seeds."""
    rows: list[list[object]] = []
    for ssim, guaranteed in product(TARGETS, (False, True)):
        points = [stop(found, ssim, guaranteed) for (name, _), found in courses.items() if name in names]
        asked = f"TO SSIM {ssim:g}{' GUARANTEED' if guaranteed else ''}"
        met = np.mean([point.achieved >= ssim for point in points])
        rows.append([what, asked, len(points), f"{met:.0%}", *_means(points, naive)])
    for ssim in TARGETS:
        points = [next(p for p in found if p.achieved >= ssim) for (name, _), found in courses.items() if name in names]
        rows.append([what, f"SSIM {ssim:g}, if it were known", len(points), "100%", *_means(points, naive)])
    return rows


def _means(points: Sequence[Point], naive: int) -> list[object]:
    fewer = naive / np.mean([point.macs for point in points])
    achieved = [point.achieved for point in points]
    off = np.mean([point.expected for point in points]) - np.mean(achieved)
    share = np.mean([point.share for point in points])
    return [f"{share:.1%}", f"{fewer:.2f}x", f"{np.mean(achieved):.3f}", f"{np.min(achieved):.3f}", f"{off:+.3f}"]


HEADERS = (
    *("photographs", "query", "runs", "met", "evaluated", "fewer multiply-adds", "SSIM", "lowest"),
    "expected, off by",
)


def drilled(exact: dict[str, HeatMap], costs: Costs, names: Sequence[str], what: str) -> list[list[object]]:
    """The paper's drill-down."""
    rows: list[list[object]] = []
    for ratio, speedup in DRILL_DOWNS:
        steps = coarse_steps(query.DrillDown(ratio, speedup), (STRIDE, STRIDE))
        points = []
        for name in names:
            heat_map = exact[name]
            rows_, columns = heat_map.values.shape
            points.append(list(followed(DrillDown(rows_, columns, steps, ratio, -1), heat_map, costs))[-1])
        naive = costs.naive(exact[names[0]].values.size)
        asked = f"DRILL DOWN {ratio:g} SPEEDUP {speedup:g}"
        rows.append([what, asked, len(points), "-", *_means(points, naive)[:-1], "-"])
    return rows


def timed(db: Session, exact: dict[str, HeatMap], seconds: dict[str, float], naive: float) -> list[list[object]]:
    """Seconds of queries, all included, beside exact ones and full inference."""
    rows: list[list[object]] = []
    for clauses in (*(f"APPROXIMATE TO SSIM {s:g} GUARANTEED" for s in TARGETS), "DRILL DOWN"):
        spent, found = [], []
        for name in TIMED:
            start = time.perf_counter()
            heat_map = db.execute(_text(clauses), {"image": photos.photo(name)})
            spent.append(time.perf_counter() - start)
            assert isinstance(heat_map, HeatMap)
            found.append(similarity(heat_map.values, exact[name].values))
        mean = float(np.mean(spent))
        exact_mean = float(np.mean([seconds[name] for name in TIMED]))
        ratios = [f"{other / mean:.2f}x" for other in (exact_mean, naive)]
        rows.append([clauses, f"{mean:.3g}", *ratios, f"{np.mean(found):.3f}"])
    return rows


def thresholded(db: Session, exact: dict[str, HeatMap]) -> list[list[object]]:
    """The paper's projective field threshold."""
    rows: list[list[object]] = []
    for tau in THRESHOLDS:
        maps = {name: db.execute(_text(f"THRESHOLD {tau:g}"), {"image": photos.photo(name)}) for name in TIMED}
        found, macs, spent = [], [], []
        for name, heat_map in maps.items():
            assert isinstance(heat_map, HeatMap)
            found.append(similarity(heat_map.values, exact[name].values))
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.approximate", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="courses a photograph")
    parser.add_argument("--photos", nargs="*", default=photos.NAMES, choices=photos.NAMES, help="by default all")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the report")
    options = parser.parse_args(arguments)
    subject = load(TRAINED)
    exact, seconds = {}, {}
    with subject.connect() as db:
        db.execute(_text("WITHIN box(0, 0, 16, 16)"), {"image": photos.photo("chelsea")})  # the model is traced
        for name in options.photos:
            start = time.perf_counter()
            found = db.execute(_text(), {"image": photos.photo(name)})
            seconds[name] = time.perf_counter() - start
            assert isinstance(found, HeatMap)
            exact[name] = found
            print(f"{name:12} exact in {seconds[name]:.1f} s", flush=True)
        costs = Costs(trace(subject.module, (3, *subject.size)))
        courses: dict[tuple[str, int], Sequence[Point]] = {}
        for name, seed in product(options.photos, range(options.seeds)):
            rows, columns = exact[name].values.shape
            course = Progressive(rows, columns, Goal(), -1, seed)
            courses[name, seed] = list(followed(course, exact[name], costs))
            print(f"{name:12} seed {seed}", flush=True)
        naive_macs = costs.naive(exact[options.photos[0]].values.size)
        groups = {"objects": [n for n in OBJECTS if n in exact], "textures": [n for n in TEXTURES if n in exact]}
        groups = {what: names for what, names in groups.items() if names}
        sampled = [row for what, names in groups.items() for row in sampled_rows(courses, naive_macs, names, what)]
        drills = [row for what, names in groups.items() for row in drilled(exact, costs, names, what)]
        setting = Setting(TRAINED, None)
        whole = exact[options.photos[0]].values.size
        some = scattered(Experiment(TRAINED, STRIDE).free(subject.size), 128, seed=1)
        setting.naive_seconds(PATCH, some, whole)
        naive = float(setting.naive_seconds(PATCH, some, whole))
        there = set(TIMED) <= set(exact)
        clock = timed(db, exact, seconds, naive) if there else []
        fields = thresholded(db, exact) if there else []
    vgg16 = cost_on_vgg16()
    tables = {
        "What is counted": DESCRIPTION,
        "Sampling": markdown_table(HEADERS, sampled),
        "The paper's drill-down": markdown_table(HEADERS, drills),
        "The paper's threshold": markdown_table(
            ("query", "photographs", "fewer multiply-adds", "SSIM", "lowest", "s"), fields
        ),
        "Seconds": markdown_table(("query", "s", "vs exact", "vs naive", "SSIM"), clock),
        "VGG16": f"{vgg16['evaluated']:.1%} of the positions evaluated, the rest estimated: {vgg16['seconds']:.3g} s, "
        f"{vgg16['faster']:.1f} times as fast as full inference ({vgg16['naive']:.3g} s, from 32 positions).",
    }
    write_markdown(options.out / "approximate.md", "Approximate maps", tables)
    records = [
        {"photo": name, "seed": seed, "points": [asdict(point) for point in points]}
        for (name, seed), points in courses.items()
    ]
    write_json(options.out / "approximate.json", {"machine": machine(), "courses": records, "vgg16": vgg16})
    print("\n".join(f"\n{title}\n{text}" for title, text in tables.items()))
    return 0


DESCRIPTION = f"""\
{TRAINED}, trained weights, a patch of 16 x 16 at stride {STRIDE}, the probability of the predicted class; photographs
of scikit-image: {", ".join(OBJECTS)} (objects); {", ".join(TEXTURES)} (textures).

- met: runs, a photograph and a seed each, whose SSIM to the exact map is at least what was asked for.
- evaluated, fewer multiply-adds: of the positions; full inference at all of them over the plans of all rounds, audits
  and the views included.
- SSIM, lowest: achieved, on average and at worst. Expected, off by: `hm.ssim_estimate` less that, on average.
- "if it were known": where a course could have stopped, had the exact map been at hand."""


if __name__ == "__main__":
    sys.exit(main())
