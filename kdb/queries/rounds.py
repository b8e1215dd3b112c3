"""The rounds of one query on one image: propose positions, plan, execute, score, and hand the scores to the strategy.

An exact query has one round.  One that permits an approximation has as many as its strategy (:mod:`kdb.sampling`)
proposes, each with a plan of its own over the same views.
"""

from __future__ import annotations

import time
from collections import defaultdict

import numpy as np

from kdb.errors import ExecutionError, Interrupted
from kdb.execution.engine import Engine, Planned, Progress
from kdb.execution.measured import Measured
from kdb.execution.views import MaterializedViews
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.queries.bind import ImageQuery
from kdb.queries.planning import plan_round, strategy_for
from kdb.queries.scoring import Scorer
from kdb.sampling.strategy import Strategy


class Rounds:
    """Runs the rounds one after another; what has been found so far is in its public attributes.

    measured    what all rounds so far measured
    seconds     time by phase: trace, plan, materialize, execute
    planned     the plan of the first round; None before it
    scorer      turns logits into scores; None before the first round
    strategy    holds the scores; None before the first round
    """

    def __init__(
        self, engine: Engine, query: ImageQuery, on_progress: Progress | None, anytime: bool, analyze: bool
    ) -> None:
        self._begun = time.perf_counter()
        self._engine, self._query, self._on_progress = engine, query, on_progress
        self._anytime, self._analyze = anytime, analyze
        self._image = query.bound.traced.model.preprocessing.normalise(query.prepared.pixels)
        self._cells = np.zeros(0, np.int64)
        self._finished, self._last = 0, 0.0
        self.measured = Measured()
        self.seconds: dict[str, float] = defaultdict(float, trace=query.bound.seconds)
        self.planned: Planned | None = None
        self.scorer: Scorer | None = None
        self.strategy: Strategy | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the query began, to bind it included."""
        return self._query.bound.seconds + time.perf_counter() - self._begun

    def propose(self) -> bool:
        """Whether there is another round, and in the query's budget time for one as long as the last."""
        bound = self._query.bound
        budget = bound.query.budget_seconds
        if self.strategy is None:
            self.strategy = strategy_for(self._engine, bound, self._anytime)
        elif budget is not None and self.elapsed + self._last > budget:
            return False
        self._cells = self.strategy.propose()
        return len(self._cells) > 0

    def evaluate(self) -> None:
        """Plan and evaluate the positions that were proposed.

        Raises ExecutionError where an output is not finite, and Interrupted on Ctrl-C once the strategy has the scores
        that were finished.
        """
        assert self.strategy is not None, "a round is proposed first"
        begun = time.perf_counter()
        bound, engine = self._query.bound, self._engine
        positions = bound.selection.positions[self._cells]
        planned = plan_round(engine, bound, positions, self.strategy.low_fidelity)
        self.planned = self.planned or planned
        self.seconds["plan"] += time.perf_counter() - begun
        start = time.perf_counter()
        views, kept = engine.materialize(planned.physical, bound.traced.identity, self._image)
        self.seconds["materialize"] += time.perf_counter() - start
        if not kept:
            self.measured.macs += bound.traced.network.macs
        self.scorer = self.scorer or self._scorer(planned, views)
        self._execute(planned, views, self.scorer, self.strategy)
        self._last = time.perf_counter() - begun

    def _scorer(self, planned: Planned, views: MaterializedViews) -> Scorer:
        """The scorer by the logits of the unmodified image."""
        bound, physical = self._query.bound, planned.physical
        logits = physical.backend.memory.download(views[physical.logical.network.output.name])
        baseline = np.asarray(logits, np.float64).reshape(-1)
        return Scorer(bound.query, bound.traced.model, bound.traced.activation, baseline, bound.arguments)

    def _execute(self, planned: Planned, views: MaterializedViews, scorer: Scorer, strategy: Strategy) -> None:
        logical = planned.physical.logical
        scores = np.full((len(scorer.classes), len(logical.positions)), np.nan)

        def sink(members: IntArray, logits: Array) -> None:
            _refuse_infinite(logits, logical.positions[members])
            scores[:, members] = scorer.scores(np.asarray(logits, np.float64))

        start, interrupted = time.perf_counter(), None
        try:
            occlusion = self._query.occlusion()
            outcome = self._engine.execute(planned, views, occlusion, sink, self._report, self._analyze)
            self.measured.add(outcome.measured)
        except Interrupted as stopped:
            interrupted = stopped
        self.seconds["execute"] += time.perf_counter() - start
        self._finished += len(self._cells)
        strategy.take(self._cells, scores if logical.duplicates is None else scores[:, logical.duplicates])
        if interrupted is not None:
            raise interrupted

    def _report(self, done: int, _: int) -> None:
        if self._on_progress is not None:
            total = len(self._query.bound.selection.cells)
            self._on_progress(min(self._finished + done, total), total)  # a position of two fidelities counts twice


def _refuse_infinite(logits: Array, positions: IntArray) -> None:
    """Raise ExecutionError where the ``logits`` [n, K] of any of the ``positions`` [n, 2] are not finite."""
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        y, x = positions[~finite][0]
        raise ExecutionError(
            f"the output for the patch at ({y}, {x}) is not finite (NaN or infinity); "
            "if only layers within the model overflow, SET rule.incremental = off evaluates it in full"
        )
