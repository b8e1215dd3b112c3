"""One experiment: a heat map by kdb against full inference and captum, timed in turns, and the error of the map.

kdb computes whole maps, each in a new session, so that planning and the materialization of views are always included;
the time to trace the module, which is needed once for each model, is subtracted.  The competitors run on a sample of
the positions; their times are extrapolated to all positions and the unmodified image.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

import kdb
from benchmarks import photos
from benchmarks.baselines import Naive, captum_seconds
from benchmarks.memory import PHOTO
from benchmarks.oracle import Exactness, exactness, float32_logits, oracle_logits
from benchmarks.timing import Estimate, Seconds, Timing, interleave
from benchmarks.verify import IntArray, Ints, Subject, load, sample, scattered
from kdb.results.maps import HeatMap
from kdb.session.session import Session

PATCH = (16, 16)
FILL, FILL_VALUE = "gray", 128
"""One colour for all competitors, as captum has no other patches; as queries name it, and its pixel value."""
BATCH = 16
"""Occluded images per inference of the competitors."""
JUDGED = 16
"""Positions of each map whose logits are compared with float64."""
TOP = "FOR TOP 5 SCORE logit"
CANDIDATES = ("kdb", "naive", "captum")


# ---- what is run


@dataclass(frozen=True)
class Experiment:
    """A heat map of one network, timed against full inference.

    Attributes:
        network: its name, of torchvision or the bundled one.
        stride: of the grid of positions, in pixels, if there are no scattered ones.
        scattered: number of random positions; 0 for a grid.
        patch: (height, width) in pixels.
        precision: of kdb, as queries name it; the competitors always run in fp32.
        captum: whether captum is timed as well.
    """

    network: str
    stride: int = 4
    scattered: int = 0
    patch: Ints = PATCH
    precision: str = "fp32"
    captum: bool = False

    @property
    def what(self) -> str:
        """A short description for tables: the positions, and the options that differ from the defaults."""
        where = f"AT {self.scattered} scattered" if self.scattered else f"STRIDE {self.stride}"
        patch = "" if self.patch == PATCH else f", patch {self.patch[0]} x {self.patch[1]}"
        return where + patch + ("" if self.precision == "fp32" else f", {self.precision}")

    def text(self, model: str, clauses: str = "") -> str:
        """The query on ``$image``, and at ``$positions`` if these are scattered.

        ``model`` is written after USING; ``clauses`` follow at the end.
        """
        where = "AT $positions" if self.scattered else f"STRIDE {self.stride}"
        patch = f"WITH patch({self.patch[0]}, {self.patch[1]}) FILL {FILL}"
        precision = "" if self.precision == "fp32" else f"PRECISION {self.precision}"
        return " ".join(part for part in ("OCCLUDE $image", patch, where, "USING", model, precision, clauses) if part)

    def free(self, size: Ints) -> Ints:
        """The largest (y, x) of a patch that lies inside an image of ``size`` (H, W)."""
        return size[0] - self.patch[0], size[1] - self.patch[1]

    def parameters(self, size: Ints) -> dict[str, Any]:
        """The parameters of :meth:`text`, with an image of ``size`` (H, W)."""
        given: dict[str, Any] = {"image": photos.photo(PHOTO, size)}
        if self.scattered:
            given["positions"] = scattered(self.free(size), self.scattered, seed=0)
        return given

    def count(self, size: Ints) -> int:
        """The number of positions in an image of ``size`` (H, W)."""
        rows, columns = (last // self.stride + 1 for last in self.free(size))
        return self.scattered or rows * columns


@dataclass(frozen=True)
class Ceiling:
    """The largest speedup that saved arithmetic allows: multiply-adds over all positions, as EXPLAIN counts them."""

    experiment: Experiment
    naive_macs: int
    planned_macs: int

    @property
    def fewer(self) -> float:
        """Multiply-adds of full inference divided by the plan's."""
        return self.naive_macs / self.planned_macs

    def cells(self) -> list[object]:
        """Cells of a table: network, description, 10^9 multiply-adds of full inference and the plan, and the ratio."""
        counts = [f"{macs / 1e9:,.1f}" for macs in (self.naive_macs, self.planned_macs)]
        return [self.experiment.network, self.experiment.what, *counts, f"{self.fewer:.3g}x"]


def ceiling(experiment: Experiment, size: Ints, threads: int) -> Ceiling:
    """Count by planning alone: nothing is run, and neither weights nor pixels matter."""
    model = f"{experiment.network} (weights = 'random', input = ({size[0]}, {size[1]}))"
    db = kdb.connect()
    db.execute(f"SET threads = {threads}")
    explained = json.loads(db.explain(experiment.text(model), experiment.parameters(size), format="json"))
    return Ceiling(experiment, explained["naive_macs"], explained["planned_macs"])


# ---- the competitors


class Setting:
    """A network, an image, a fill and the prepared baselines, which a network's experiments share.

    ``size`` is the (H, W) of the input, None for the network's own.
    """

    def __init__(self, name: str, size: Ints | None) -> None:
        self.subject: Subject = load(name, size)
        self.image = photos.photo(PHOTO, self.subject.size)
        self.normalised = self.subject.normalise(self.image.astype(np.float32))
        self.fill = self.subject.normalise(np.full((1, 1, 3), FILL_VALUE, np.float32))[:, 0, 0]
        self.naive = Naive(self.subject.module, batch=BATCH).prepare(self.subject.size)
        with torch.inference_mode():
            self.target = int(self.subject.module(self.normalised[None]).argmax())

    def naive_seconds(self, patch: Ints, positions: IntArray, whole: int) -> Seconds:
        """Time full inference at ``positions``; extrapolated to ``whole`` positions and the unmodified image."""
        seconds = self.naive.seconds(self.normalised, self.fill, patch, positions)
        return Seconds(seconds / len(positions) * (whole + 1))

    def captum_seconds(self, patch: Ints, stride: int, batches: int, whole: int) -> Seconds:
        """Time captum on ``batches`` batches; extrapolated to ``whole`` positions and the unmodified image."""
        position = captum_seconds(
            self.subject.module,
            self.normalised,
            target=self.target,
            fill=self.fill,
            patch=patch,
            stride=(stride, stride),
            batch=BATCH,
            batches=batches,
        )
        return Seconds(position * (whole + 1))


class KdbMap:
    """A candidate: the whole heat map by kdb; ``last`` is the last one.  ``threads`` is by default torch's number.

    Each map is computed in a new session; with ``again``, in one that has made another, and of another image each time.
    """

    def __init__(
        self, setting: Setting, experiment: Experiment, threads: int | None = None, again: bool = False
    ) -> None:
        self.subject = setting.subject
        self.text = experiment.text(self.subject.name, TOP)
        self.parameters = experiment.parameters(self.subject.size)
        self.threads = threads or torch.get_num_threads()
        self.last: HeatMap | None = None
        self._session = self.subject.connect(threads=self.threads) if again else None
        if again:
            self()

    def __call__(self) -> Seconds:
        """Compute the map in a new session, as close() would free views but neither plans nor folded weights."""
        if self._session is not None:
            self.parameters["image"] = other = self.parameters["image"].copy()
            other[0, 0] += 1
            return self._computed(self._session)
        with self.subject.connect(threads=self.threads) as db:
            return self._computed(db)

    def _computed(self, db: Session) -> Seconds:
        start = time.perf_counter()
        heat_map = db.execute(self.text, self.parameters)
        seconds = time.perf_counter() - start
        assert isinstance(heat_map, HeatMap)
        self.last = heat_map
        return Seconds(seconds - heat_map.stats.seconds["trace"])


# ---- one experiment


@dataclass(frozen=True)
class Result:
    """The results of an experiment.

    Attributes:
        experiment: what was run.
        positions: of the whole map.
        sampled: positions that the competitors ran on.
        timings: by candidate, extrapolated to the whole map.
        naive_macs: multiply-adds of full inference at all positions.
        executed_macs: multiply-adds that kdb executed, materialization included.
        found: the error of the last map.
        promised: whether the map claims to be exact.
        seconds: by phase, from the last map's statistics.
        kernels: layers by the kernel chosen for them, from the last map's statistics.
    """

    experiment: Experiment
    positions: int
    sampled: int
    timings: Mapping[str, Timing]
    naive_macs: int
    executed_macs: int
    found: Exactness
    promised: bool
    seconds: Mapping[str, float] = field(repr=False)
    kernels: Mapping[str, int] = field(repr=False)

    @property
    def fewer(self) -> float:
        """Multiply-adds of full inference divided by those that kdb executed."""
        return self.naive_macs / self.executed_macs

    @property
    def ok(self) -> bool:
        """Whether the map is exact or does not promise to be."""
        return self.found.ok or not self.promised

    def over(self, other: str) -> Estimate | None:
        """Seconds of the ``other`` candidate divided by kdb's; None if it was not run."""
        return self.timings["kdb"].over(self.timings[other]) if other in self.timings else None

    def cells(self) -> list[object]:
        """Cells of a table: description, positions, seconds, ratios, saved arithmetic, error and verdict."""
        seconds = [_cell(self.timings[name].estimate if name in self.timings else None) for name in CANDIDATES]
        ratios = [_cell(self.over("naive"), "x"), _cell(self.over("captum"), "x")]
        verdict = ("yes" if self.found.ok else "NO") if self.promised else "not promised"
        work: list[object] = [f"{self.fewer:.3g}x", self.found.range_error, verdict]
        return [self.experiment.network, self.experiment.what, self.positions, *seconds, *ratios, *work]

    def as_json(self) -> dict[str, Any]:
        """All results in terms of :func:`benchmarks.timing.write_json`."""
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
            "exactness": {**asdict(self.found), "ok": self.found.ok, "promised": self.promised},
            "seconds": self.seconds,
            "kernels": self.kernels,
        }


def _cell(estimate: Estimate | None, unit: str = "") -> str:
    if estimate is None:
        return "-"
    return f"{estimate.mean:.3g}{unit} [{estimate.low:.3g}, {estimate.high:.3g}]"


def run(setting: Setting, experiment: Experiment, rounds: int, sampled: int) -> Result:
    """Time the candidates in ``rounds`` rounds, then compare the last map with float64.

    ``sampled`` is the number of positions that the competitors run on, a multiple of BATCH.
    """
    size, patch = setting.subject.size, experiment.patch
    kdbs, whole = KdbMap(setting, experiment), experiment.count(size)
    positions = scattered(experiment.free(size), sampled, seed=1)
    candidates: dict[str, Callable[[], object]] = {
        "kdb": kdbs,
        "naive": partial(setting.naive_seconds, patch, positions, whole),
    }
    if experiment.captum:
        candidates["captum"] = partial(setting.captum_seconds, patch, experiment.stride, sampled // BATCH, whole)
    for name in candidates.keys() - {"kdb"}:
        candidates[name]()
    timings = interleave(candidates, rounds=rounds, warmups=0)
    assert kdbs.last is not None and kdbs.last.stats.positions == whole
    stats, found = kdbs.last.stats, judge(setting, kdbs.last)
    return Result(
        experiment,
        whole,
        sampled,
        timings,
        stats.naive_macs,
        stats.executed_macs,
        found,
        kdbs.last.exact,
        stats.seconds,
        stats.kernels,
    )


def judge(setting: Setting, heat_map: HeatMap) -> Exactness:
    """Compare a heat map of several classes with float64 at JUDGED of its positions, the corners among them."""
    positions = heat_map.positions.reshape(-1, 2)
    chosen = sample(positions, JUDGED)
    pixels = heat_map.image  # as kdb has brought it onto the model's grid
    logits = heat_map.by_class()[0].T[chosen]
    classes = list(heat_map.by_class()[1])
    image = setting.subject.normalise(pixels.astype(np.float32))
    arguments = setting.subject.module, image, setting.fill, heat_map.patch, positions[chosen]
    return exactness(logits, oracle_logits(*arguments)[:, classes], float32_logits(*arguments)[:, classes])
