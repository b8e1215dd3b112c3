"""The speed of exact maps on a CPU against full inference and captum, and the memory they take.

Competitors take turns in one process.  kdb computes whole maps, each in a session of its own, so that it pays for
planning and for the materialization of its views each time; only the tracing of the module, done once a model, is
taken off.  The others run on a sample of positions, and their time is that of as many positions as the map has, and
one for the unmodified image.  Peak memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kdb
from benchmarks import photos
from benchmarks.baselines import Naive, captum_seconds
from benchmarks.oracle import Exactness, exactness, float32_logits, oracle_logits
from benchmarks.timing import Estimate, Seconds, Timing, interleave, markdown_table, write_json, write_markdown
from benchmarks.verify import DOCS, IntArray, Ints, Subject, chosen_networks, load, occlude, sample, scattered
from kdb.heatmap import HeatMap
from kdb.settings import cores

PATCH = (16, 16)
FILL, FILL_VALUE = "gray", 128
"""One colour for all: captum knows no other patches."""
PHOTO = "chelsea"
BATCH = 16
JUDGED = 16
"""Positions of each map that are compared with float64."""
TOP = "FOR TOP 5 SCORE logit"
CANDIDATES = ("kdb", "naive", "captum")
PEAK_LIMIT, PEAK_GROWTH = 3e9, 1.1
"""Bytes that a process may take, and how many times those of the smaller map the larger may take."""
HEADERS = (
    "network",
    "what",
    "positions",
    "kdb s",
    "naive s",
    "captum s",
    "kdb vs naive",
    "kdb vs captum",
    "multiply-adds fewer",
    "error / range",
    "exact",
)


# ---- what is run


@dataclass(frozen=True)
class Experiment:
    """A map of one network: a STRIDE, or ``scattered`` positions; against captum too, or naive alone."""

    network: str
    stride: int = 4
    scattered: int = 0
    captum: bool = False

    @property
    def what(self) -> str:
        """A word for the table."""
        return f"AT {self.scattered} scattered" if self.scattered else f"STRIDE {self.stride}"


@dataclass(frozen=True)
class Suite:
    """The experiments, the queries of one network whose memory is measured, and the input size if not its own."""

    experiments: tuple[Experiment, ...]
    memory_of: str
    memory: tuple[str, ...]
    size: Ints | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(dict.fromkeys(experiment.network for experiment in self.experiments))


def _maps(model: str, strides: Sequence[int]) -> tuple[str, ...]:
    patch = f"WITH patch({PATCH[0]}, {PATCH[1]}) FILL {FILL}"
    return tuple(f"OCCLUDE $image {patch} STRIDE {stride} USING {model}" for stride in strides)


FULL = Suite(
    (
        Experiment("vgg16", captum=True),
        Experiment("resnet18", captum=True),
        *(Experiment("resnet18", stride) for stride in (3, 5, 7)),
        Experiment("resnet18", scattered=500),
        Experiment("inception_v3", captum=True),
        *(Experiment(name, captum=True) for name in ("resnet50", "densenet121", "squeezenet1_1", "mobilenet_v2")),
    ),
    "vgg16",
    _maps("vgg16 (weights = 'random')", (4, 2)),
)
QUICK = Suite(
    (Experiment("squeezenet1_1", captum=True), Experiment("squeezenet1_1", scattered=40)),
    "squeezenet1_1",
    _maps("squeezenet1_1 (weights = 'random', input = (64, 64))", (4,)),
    (64, 64),
)


# ---- the competitors


class Setting:
    """A network, an image and a fill, and the baselines set up on them; shared by the network's experiments."""

    def __init__(self, name: str, size: Ints | None) -> None:
        self.subject: Subject = load(name, size)
        self.image = photos.photo(PHOTO, self.subject.size)
        self.normalised = self.subject.normalise(self.image.astype(np.float32))
        self.fill = self.subject.normalise(np.full((1, 1, 3), FILL_VALUE, np.float32))[:, 0, 0]
        self.naive = Naive(self.subject.module, batch=BATCH).prepare(self.subject.size)
        with torch.inference_mode():
            self.target = int(self.subject.module(self.normalised[None]).argmax())

    def naive_seconds(self, positions: IntArray, whole: int) -> Seconds:
        """Full inference at ``positions``, extrapolated to ``whole`` positions and the unmodified image."""
        start = time.perf_counter()
        self.naive(self.normalised, self.fill, PATCH, positions)
        return Seconds((time.perf_counter() - start) / len(positions) * (whole + 1))

    def captum_seconds(self, stride: int, batches: int, whole: int) -> Seconds:
        """captum on a sample of its own positions, extrapolated to ``whole`` positions and the unmodified image."""
        position = captum_seconds(
            self.subject.module,
            self.normalised,
            target=self.target,
            fill=self.fill,
            patch=PATCH,
            stride=(stride, stride),
            batch=BATCH,
            batches=batches,
        )
        return Seconds(position * (whole + 1))


class Map:
    """A candidate: the whole map by kdb; keeps the last one."""

    def __init__(self, setting: Setting, experiment: Experiment) -> None:
        self.setting = setting
        self.parameters: dict[str, Any] = {"image": setting.image}
        self.clause = f"STRIDE {experiment.stride}"
        if experiment.scattered:
            height, width = setting.subject.size
            self.clause = "AT $positions"
            free = height - PATCH[0], width - PATCH[1]
            self.parameters["positions"] = scattered(free, experiment.scattered, seed=0)
        self.last: HeatMap | None = None

    def __call__(self) -> Seconds:
        """One map in a fresh session: a session's views are freed by close(), but it keeps plans and folded weights."""
        # torch's threads are set for all: as many as there are cores, if not asked otherwise
        with self.setting.subject.connect(threads=torch.get_num_threads()) as db:
            start = time.perf_counter()
            self.last = occlude(db, self.setting.subject.name, PATCH, FILL, self.clause, TOP, self.parameters)
            return Seconds(time.perf_counter() - start - self.last.stats.seconds["trace"])


# ---- one experiment


@dataclass(frozen=True)
class Result:
    """What came of an experiment; ``timings`` by candidate, each of a whole map of ``positions``.

    ``seconds`` and ``kernels`` are the last map's own account of itself.
    """

    experiment: Experiment
    positions: int
    sampled: int
    timings: Mapping[str, Timing]
    naive_macs: int
    executed_macs: int
    found: Exactness
    seconds: Mapping[str, float] = field(repr=False)
    kernels: Mapping[str, int] = field(repr=False)

    @property
    def fewer(self) -> float:
        """Multiply-adds of full inference, over those that kdb made, materialization included."""
        return self.naive_macs / self.executed_macs

    def over(self, other: str) -> Estimate | None:
        """How many times as fast as the ``other`` candidate kdb is."""
        return self.timings["kdb"].over(self.timings[other]) if other in self.timings else None

    def cells(self) -> list[object]:
        """The row under HEADERS."""
        seconds = [_cell(self.timings[name].estimate if name in self.timings else None) for name in CANDIDATES]
        ratios = [_cell(self.over("naive"), "x"), _cell(self.over("captum"), "x")]
        verdict = "yes" if self.found.ok else "NO"
        work: list[object] = [f"{self.fewer:.3g}x", self.found.range_error, verdict]
        return [self.experiment.network, self.experiment.what, self.positions, *seconds, *ratios, *work]

    def as_json(self) -> dict[str, Any]:
        """All of it, by name."""
        return {
            "network": self.experiment.network,
            "what": self.experiment.what,
            "positions": self.positions,
            "sampled": self.sampled,
            **self.timings,
            "kdb vs naive": self.over("naive"),
            "kdb vs captum": self.over("captum"),
            "naive_macs": self.naive_macs,
            "executed_macs": self.executed_macs,
            "multiply-adds fewer": self.fewer,
            "exactness": {**asdict(self.found), "ok": self.found.ok},
            "seconds": self.seconds,
            "kernels": self.kernels,
        }


def _cell(estimate: Estimate | None, unit: str = "") -> str:
    if estimate is None:
        return "-"
    return f"{estimate.mean:.3g}{unit} [{estimate.low:.3g}, {estimate.high:.3g}]"


def run(setting: Setting, experiment: Experiment, rounds: int, sampled: int) -> Result:
    """Time the candidates in turns, then judge the last map."""
    kdbs = Map(setting, experiment)
    height, width = (side - part for side, part in zip(setting.subject.size, PATCH, strict=True))
    whole = experiment.scattered or (height // experiment.stride + 1) * (width // experiment.stride + 1)
    positions = scattered((height, width), sampled, seed=1)
    candidates: dict[str, Callable[[], object]] = {
        "kdb": kdbs,
        "naive": partial(setting.naive_seconds, positions, whole),
    }
    if experiment.captum:
        candidates["captum"] = partial(setting.captum_seconds, experiment.stride, sampled // BATCH, whole)
    for name in candidates.keys() - {"kdb"}:
        candidates[name]()
    timings = interleave(candidates, rounds=rounds, warmups=0)
    assert kdbs.last is not None and kdbs.last.stats.positions == whole
    stats = kdbs.last.stats
    found = judge(setting, kdbs.last)
    return Result(
        experiment, whole, sampled, timings, stats.naive_macs, stats.executed_macs, found, stats.seconds, stats.kernels
    )


def run_network(suite: Suite, name: str, rounds: int, sampled: int) -> list[Result]:
    """All experiments of one network, each printed when it is done."""
    setting = Setting(name, suite.size)
    Map(setting, Experiment(name, scattered=BATCH))()  # a warm-up: a whole map would take too long
    results = []
    for experiment in suite.experiments:
        if experiment.network == name:
            results.append(run(setting, experiment, rounds, sampled))
            print("  ".join(f"{cell:.2g}" if isinstance(cell, float) else f"{cell}" for cell in results[-1].cells()))
            sys.stdout.flush()
    return results


def judge(setting: Setting, heat_map: HeatMap) -> Exactness:
    """Compare a map of several classes with float64 at some of its positions, the corners among them."""
    positions = heat_map.positions.reshape(-1, 2)
    chosen = sample(positions, JUDGED)
    logits = heat_map.by_class()[0].T[chosen]
    classes = list(heat_map.by_class()[1])
    asked = setting.subject.module, setting.normalised, setting.fill, PATCH, positions[chosen]
    return exactness(logits, oracle_logits(*asked)[:, classes], float32_logits(*asked)[:, classes])


# ---- memory


@dataclass(frozen=True)
class Peak:
    """The memory of a process that did nothing but run one query."""

    query: str
    positions: int
    seconds: float
    bytes: int


def peak(query: str) -> Peak:
    """Run the query in a new process, and wait for it; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "benchmarks.bench", "--peak", query]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    return Peak(query, **json.loads(done.stdout))


def run_for_peak(query: str) -> None:
    """What that process does: run the query and print the rest of a :class:`Peak` as JSON."""
    start = time.perf_counter()
    heat_map = kdb.connect().execute(query, {"image": photos.photo(PHOTO)})
    assert isinstance(heat_map, HeatMap)
    seconds = time.perf_counter() - start
    print(json.dumps({"positions": heat_map.stats.positions, "seconds": seconds, "bytes": peak_bytes()}))


def peak_bytes() -> int:
    """The most memory this process ever had resident.

    On Linux from /proc: ``ru_maxrss`` of a process begins with what its parent had when it was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def modest(peaks: Sequence[Peak]) -> bool:
    """Whether none takes more than the limit, and the larger map not noticeably more than the smaller."""
    if not peaks:
        return True
    small, large = (choose(peaks, key=lambda each: each.positions) for choose in (min, max))
    return max(each.bytes for each in peaks) < PEAK_LIMIT and large.bytes <= PEAK_GROWTH * small.bytes


# ---- the report


def speed_table(results: Sequence[Result]) -> str:
    """A row an experiment."""
    return markdown_table(HEADERS, [result.cells() for result in results])


def memory_table(peaks: Sequence[Peak]) -> str:
    """A row a process."""
    rows = [[f"`{each.query}`", each.positions, each.seconds, each.bytes / 1e9] for each in peaks]
    return markdown_table(["query", "positions", "s, tracing included", "peak GB"], rows)


def describe(rounds: int, sampled: int) -> str:
    """What the figures mean."""
    return (
        f"Exact maps of the photograph '{PHOTO}' with a {PATCH[0]} x {PATCH[1]} patch, {FILL} ({FILL_VALUE}), by\n"
        f"networks with calibrated weights; {rounds} rounds in which the candidates take turns in one process. Means\n"
        "with 95 % confidence intervals, ratios formed round by round.\n\n"
        "- kdb: the whole map, with planning and the materialization of views, in a new session each round; without\n"
        "  the tracing of the module, which is done once a model.\n"
        f"- naive: full inference in batches of {BATCH}, batch-norms folded, the faster memory layout,\n"
        f"  `inference_mode`, all threads; timed on {sampled} positions and extrapolated to those of the map and the\n"
        "  unmodified image.\n"
        f"- captum: `Occlusion` with `perturbations_per_eval={BATCH}` on the module as it is; timed on\n"
        f"  {sampled // BATCH} batches, extrapolated likewise.\n"
        "- multiply-adds fewer: what the time would be down to if only arithmetic counted, at the baselines' rate; by\n"
        "  kdb's own count, materialization included.\n"
        f"- error / range: against float64, on the logits of the top 5 classes at {JUDGED} positions; exact as the\n"
        "  documentation defines it."
    )


def report(results: Sequence[Result], peaks: Sequence[Peak], rounds: int, sampled: int, folder: Path) -> None:
    """cpu.md and cpu.json in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"What is measured": describe(rounds, sampled), "Speed": speed_table(results)}
    if peaks:
        tables["Memory"] = memory_table(peaks)
    write_markdown(folder / "cpu.md", "Exact maps on a CPU", tables)
    write_json(
        folder / "cpu.json",
        {
            "rounds": rounds,
            "batch": BATCH,
            "patch": PATCH,
            "fill": FILL,
            "results": [result.as_json() for result in results],
            "memory": [asdict(each) for each in peaks],
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: 0 where all maps are exact and the memory is within its limits, 1 otherwise."""
    options = _options(arguments)
    if options.peak is not None:
        run_for_peak(options.peak)
        return 0
    torch.set_num_threads(options.threads or cores())
    suite = QUICK if options.quick else FULL
    names = chosen_networks(options.only, suite.networks)
    rounds = options.rounds or (2 if options.quick else 3)
    sampled = -(-(options.sample or (BATCH if options.quick else 64)) // BATCH) * BATCH
    results = [result for name in names for result in run_network(suite, name, rounds, sampled)]
    remember = suite.memory_of in names and not options.skip_memory
    peaks = [peak(query) for query in suite.memory] if remember else []
    print("\n" + speed_table(results))
    print(memory_table(peaks) if peaks else "")
    full = suite is FULL and names == suite.networks and bool(peaks)
    if (folder := options.out or (DOCS if full else None)) is not None:
        report(results, peaks, rounds, sampled, folder)
    exact, within = all(result.found.ok for result in results), modest(peaks)
    print(f"exact: {'yes' if exact else 'NO'}; memory within limits: {'yes' if within else 'NO'}")
    return 0 if exact and within else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="NAMES", help="these networks, comma-separated")
    parser.add_argument("--rounds", type=_count, help="of all candidates in turns (3)")
    parser.add_argument("--sample", type=_count, help=f"positions of a baseline a round, in batches of {BATCH} (64)")
    parser.add_argument("--threads", type=_count, help="of torch and of kdb (all cores)")
    parser.add_argument("--skip-memory", action="store_true", help="measure speed alone")
    parser.add_argument("--quick", action="store_true", help="a small network, to see that everything runs")
    parser.add_argument("--out", type=Path, help="folder for the report; docs/benchmarks for a full run")
    parser.add_argument("--peak", metavar="QUERY", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
