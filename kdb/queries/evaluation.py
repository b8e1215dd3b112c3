"""One OCCLUDE query on one image, from bound clauses to the heat map: rounds of positions, scored as they come.

An exact query has one round; one that permits an approximation has as many as its strategy (:mod:`kdb.sampling`)
proposes, each with a plan of its own over the same views.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdb.errors import ExecutionError, Interrupted
from kdb.execution.engine import Engine, Planned, Progress
from kdb.execution.measured import Measured
from kdb.execution.stages import Occlusion
from kdb.execution.views import MaterializedViews
from kdb.geometry import IntArray, Size
from kdb.images.preprocessing import Prepared
from kdb.kernels.base import Array
from kdb.language import syntax
from kdb.language.arguments import Arguments
from kdb.models.catalog import TracedModel
from kdb.planner.permissions import Permissions
from kdb.queries.bind import Selection, fill_pixels, is_uniform, permissions
from kdb.queries.scoring import Scorer, Scores
from kdb.results.maps import HeatMap, Score, Stats
from kdb.sampling.choose import strategy_of
from kdb.sampling.strategy import Estimate, Strategy
from kdb.system.allocation import retained
from kdb.system.threads import quiet
from kdb.version import __version__

LOW_FIDELITY = 0.8
"""The projective field threshold of low fidelity: on photographs it leaves an SSIM of .975 to .995."""
JUDGED = 128
"""Positions by whose plans it is judged whether low fidelity is worth it."""


@dataclass(frozen=True, eq=False)
class Task:
    """An OCCLUDE query bound to a model, a set of positions and one prepared image, called ``source``."""

    asked: syntax.Occlude
    traced: TracedModel
    selection: Selection
    prepared: Prepared
    source: str | None
    arguments: Arguments
    traced_in: float = 0.0
    """Seconds it took to find and trace the model."""
    analyze: bool = False
    """Whether each layer's own time is to be measured."""

    @property
    def patch(self) -> Size:
        """The patch's extent."""
        return Size(self.asked.patch.height, self.asked.patch.width)


@dataclass(frozen=True, eq=False)
class Step:
    """A heat map, the plan of its first round, what all rounds so far measured, and a note on their strategy."""

    heat_map: HeatMap
    planned: Planned
    measured: Measured
    note: str


def first_round(
    engine: Engine, asked: syntax.Occlude, traced: TracedModel, selection: Selection
) -> tuple[Planned, str]:
    """The plan of a query's first round, and a note on its strategy; no pixel is looked at."""
    strategy = _strategy(engine, asked, traced, selection)
    return _plan(engine, asked, traced, selection.positions[strategy.propose()], strategy.low_fidelity), strategy.note


def _strategy(
    engine: Engine, asked: syntax.Occlude, traced: TracedModel, selection: Selection, anytime: bool = False
) -> Strategy:
    def gain() -> float:
        some = selection.positions[:: max(len(selection.positions) // JUDGED, 1)]
        low, full = (_plan(engine, asked, traced, some, low).physical for low in (True, False))
        return full.seconds / low.seconds

    shape, cells = selection.grid.shape[:-1], len(selection.cells)
    return strategy_of(asked, shape, cells, engine.settings["seed"], anytime, gain)


def _plan(engine: Engine, asked: syntax.Occlude, traced: TracedModel, positions: IntArray, low: bool) -> Planned:
    """Of one round, at ``low`` fidelity or as it is asked."""
    patch = Size(asked.patch.height, asked.patch.width)
    threshold = None if asked.threshold is None else asked.threshold.tau
    permitted = Permissions(asked.precision, threshold, device=asked.device)
    if low:
        permitted = low_fidelity(permitted)
    return engine.plan(traced.network, positions, patch, permitted, uniform=is_uniform(asked.patch.fill))


def low_fidelity(permitted: Permissions) -> Permissions:
    """Permissions for a round of low fidelity: everything is permitted, and the planner takes what is faster."""
    return replace(
        permitted,
        threshold=LOW_FIDELITY if permitted.threshold is None else permitted.threshold,
        precision="bf16" if permitted.precision == "fp32" else permitted.precision,
        freeze_context=True,
    )


def run(engine: Engine, task: Task, progress: Progress | None = None) -> Step:
    """The heat map, with the plan and what was measured.

    Raises Interrupted with the partial map on Ctrl-C, and ExecutionError where an output is not finite.
    """
    return deque(stream(engine, task, progress), maxlen=1)[0]


def stream(engine: Engine, task: Task, progress: Progress | None = None, anytime: bool = False) -> Iterator[Step]:
    """The heat map after each round of its strategy: an exact one has one, a sampled one many.

    ``anytime`` samples where the query permits no approximation too, until all is evaluated: the last map is exact.
    Raises what :func:`run` does.
    """
    evaluation = _Evaluation(engine, task, progress, anytime)
    while evaluation.more():
        with retained(), quiet():
            evaluation.round()
        yield evaluation.step()


class _Evaluation:
    """One query on one image: rounds of positions, each with a plan of its own, over views that they share."""

    def __init__(self, engine: Engine, task: Task, progress: Progress | None, anytime: bool) -> None:
        self._engine, self._task, self._progress = engine, task, progress
        self._begun = time.perf_counter()
        self._image = task.traced.model.preprocessing.normalise(task.prepared.pixels)
        self._seconds: dict[str, float] = defaultdict(float, trace=task.traced_in)
        self._measured, self._finished, self._last = Measured(), 0, 0.0
        self._planned: Planned | None = None
        self._scorer: Scorer | None = None
        self._strategy: Strategy | None = None
        self._cells = np.zeros(0, np.int64)
        self._anytime = anytime

    @property
    def _clock(self) -> float:
        """Seconds since the query began."""
        return self._task.traced_in + time.perf_counter() - self._begun

    def more(self) -> bool:
        """Whether there is another round, and time for one as long as the last."""
        budget = self._task.asked.budget_seconds
        if self._strategy is not None and budget is not None and self._clock + self._last > budget:
            return False
        self._cells = self._proposed()
        return len(self._cells) > 0

    def _proposed(self) -> IntArray:
        if self._strategy is None:
            task = self._task
            self._strategy = _strategy(self._engine, task.asked, task.traced, task.selection, self._anytime)
        return self._strategy.propose()

    def round(self) -> None:
        """Plan and evaluate what the strategy proposed."""
        begun = time.perf_counter()
        task, engine = self._task, self._engine
        assert self._strategy is not None
        planned = _plan(
            engine, task.asked, task.traced, task.selection.positions[self._cells], self._strategy.low_fidelity
        )
        self._planned = self._planned or planned
        self._seconds["plan"] += time.perf_counter() - begun
        start = time.perf_counter()
        views, shared = engine.materialize(planned.physical, task.traced.identity, self._image)
        self._seconds["materialize"] += time.perf_counter() - start
        if not shared:
            self._measured.macs += task.traced.network.macs
        self._evaluate(planned, views)
        self._last = time.perf_counter() - begun

    def _evaluate(self, planned: Planned, views: MaterializedViews) -> None:
        logical = planned.physical.logical
        if self._scorer is None:
            logits = planned.physical.backend.memory.download(views[logical.network.output.name])
            baseline = np.asarray(logits, np.float64).reshape(-1)
            traced = self._task.traced
            self._scorer = Scorer(self._task.asked, traced.model, traced.activation, baseline, self._task.arguments)
        scorer = self._scorer
        found = np.full((len(scorer.classes), len(logical.positions)), np.nan)

        def take(members: IntArray, logits: Array) -> None:
            finite = np.isfinite(logits).all(axis=1)
            if not finite.all():
                y, x = logical.positions[members[~finite][0]]
                raise ExecutionError(
                    f"the output for the patch at ({y}, {x}) is not finite (NaN or infinity); "
                    "if only layers within the model overflow, SET rule.incremental = off evaluates it in full"
                )
            found[:, members] = scorer.scores(np.asarray(logits, np.float64))

        start = time.perf_counter()
        interrupted = None
        try:
            measured = self._engine.execute(
                planned.physical, views, _occlusion(self._task), take, self._told, self._task.analyze
            )
            self._measured.add(measured)
        except Interrupted as stopped:
            interrupted = stopped
        self._seconds["execute"] += time.perf_counter() - start
        self._finished += len(self._cells)
        assert self._strategy is not None
        self._strategy.take(self._cells, found if logical.duplicates is None else found[:, logical.duplicates])
        if interrupted is not None:
            step = self.step(complete=False)
            done, total = int(step.heat_map.evaluated.sum()), len(self._task.selection.cells)
            raise Interrupted(f"interrupted after {done} of {total} positions", step.heat_map) from interrupted

    def _told(self, done: int, total: int) -> None:
        if self._progress is not None:
            total = len(self._task.selection.cells)
            self._progress(min(self._finished + done, total), total)  # some are evaluated twice, at two fidelities

    def step(self, complete: bool = True) -> Step:
        """The map as it is now."""
        assert self._strategy is not None and self._planned is not None
        heat_map = self._heat_map(self._strategy.estimate(), complete)
        return Step(heat_map, self._planned, self._measured, self._strategy.note)

    def _heat_map(self, estimate: Estimate, complete: bool) -> HeatMap:
        """All that has come in, on the grid that was asked for."""
        assert self._scorer is not None
        task, scorer, selection = self._task, self._scorer, self._task.selection
        several, shape = scorer.has_axis, selection.grid.shape[:-1]

        def laid(values: Scores) -> NDArray[np.float32]:
            out = np.full((len(values), math.prod(shape)), np.nan, np.float32)
            out[:, selection.cells] = values
            out = out.reshape(len(values), *shape)
            return out if several else out[0]

        evaluated = np.zeros(math.prod(shape), bool)
        evaluated[selection.cells] = estimate.evaluated
        kind: Any = scorer.kind
        score: Score = kind
        labels = tuple(task.traced.model.label_of(index) for index in scorer.classes)
        baseline = tuple(float(value) for value in scorer.baseline)
        # Where nothing permits an approximation, an anytime map is one as long as any value is an estimate.
        exact = not permissions(task.asked) and not np.isfinite(estimate.values[:, ~estimate.evaluated]).any()
        return HeatMap(
            values=laid(estimate.values),
            positions=selection.grid,
            baseline=baseline if several else baseline[0],
            class_index=scorer.classes if several else scorer.classes[0],
            label=labels if several else labels[0],
            score=score,
            patch=(task.patch.height, task.patch.width),
            stride=None if isinstance(task.asked.region, syntax.At) else task.asked.stride or syntax.DEFAULT_STRIDE,
            image=task.prepared.image,
            source=task.source,
            source_box=task.prepared.source_box,
            source_size=task.prepared.source_size,
            query=str(replace(task.asked, into=None)),
            model=task.traced.model.name,
            model_identity=task.traced.identity,
            version=__version__,
            exact=bool(exact),
            complete=complete,
            evaluated=evaluated.reshape(shape),
            error=None if estimate.error is None else laid(estimate.error),
            ssim_estimate=estimate.ssim,
            stats=self._stats(estimate),
        )

    def _stats(self, estimate: Estimate) -> Stats:
        assert self._planned is not None
        steps = [step for stage in self._planned.physical.stages for step in stage.steps]
        # A stage's seconds are summed over its workers.
        stages = {f"{name} (threads)": value for name, value in self._measured.stages.items()}
        total = len(self._task.selection.cells)
        return Stats(
            naive_macs=self._planned.physical.logical.network.macs * total,
            executed_macs=self._measured.macs,
            positions=total,
            evaluated=self._measured.evaluated,
            seconds={**self._seconds, "total": self._clock, **stages},
            kernels=dict(sorted(Counter(step.kernel.name for step in steps).items())),
        )


def _occlusion(task: Task) -> Occlusion:
    """The patch, in the units of the network's input."""
    pixels, aligned = fill_pixels(task.asked.patch.fill, task.patch, task.prepared.pixels, task.arguments)
    return Occlusion(task.traced.model.preprocessing.normalise(pixels), aligned)
