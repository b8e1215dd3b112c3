"""The rounds of one query on one image: propose positions, plan, execute, score, and hand the scores to the strategy.

An exact query has one round.  One that permits an approximation has as many as its strategy (:mod:`kdb.sampling`)
proposes, each with a plan of its own over the same views.
"""

from __future__ import annotations

import time
import warnings
from collections import defaultdict

import numpy as np

from kdb.errors import STOPS, VerificationWarning
from kdb.execution.changes import Changes
from kdb.execution.engine import Engine, Planned, Progress
from kdb.execution.measured import Measured
from kdb.execution.verification import CheckFailed, in_full
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.queries.bind import ImageQuery
from kdb.queries.checking import Evidence, Verdict
from kdb.queries.found import Found, refuse_infinite
from kdb.queries.observing import ObservedReference
from kdb.queries.planning import plan_round, strategy_for
from kdb.queries.scoring import Scorer
from kdb.sampling.strategy import Estimate, Everything, Fidelity, Strategy
from kdb.system.threads import all_threads, checkpoint


class Rounds:
    """Runs the rounds one after another; what has been found so far is in its public attributes.

    measured    what all rounds so far measured
    seconds     time by phase: trace, plan, materialize, execute
    planned     the plan of the first round; None before it
    scorer      turns logits into scores; None before the first round
    strategy    holds the scores; None before the first round
    changes     which cells of a dense output change; None where nobody asks, or an anytime map samples
    """

    def __init__(
        self, engine: Engine, query: ImageQuery, on_progress: Progress | None, anytime: bool, analyze: bool
    ) -> None:
        self._begun = time.perf_counter()
        self._engine, self._query, self._on_progress = engine, query, on_progress
        self._anytime, self._analyze = anytime, analyze
        self._image = query.input()
        self._cells = np.zeros(0, np.int64)
        self._evidence = Evidence(engine, query, self._image)
        self._baseline = np.zeros(0)
        self._finished, self._last = 0, 0.0
        self._pending: tuple[IntArray, Found] | None = None
        self.measured = Measured()
        self.seconds: dict[str, float] = defaultdict(float, trace=query.bound.seconds)
        self.planned: Planned | None = None
        self.scorer: Scorer | None = None
        self.strategy: Strategy | None = None
        self.changes: Changes | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the query began, to bind it included."""
        return self._query.bound.seconds + time.perf_counter() - self._begun

    def propose(self) -> bool:
        """Whether there is another round, and in the query's budget time for one as long as the last."""
        bound = self._query.bound
        if self.strategy is not None and self.strategy.adapts:
            self._settle(keep_rows=True)
        budget = bound.query.budget_seconds
        if self.strategy is None:
            self.strategy = strategy_for(self._engine, bound, self._anytime)
        elif budget is not None and self.elapsed + self._last > budget:
            return False
        self._cells = self.strategy.propose()
        return len(self._cells) > 0

    def estimate(self) -> Estimate:
        """The map by all that was found.

        The scores of a strategy that does not adapt are made in place, so that nothing can be checked afterwards.
        """
        assert self.strategy is not None, "a round is evaluated first"
        self._settle(keep_rows=self.strategy.adapts)
        return self.strategy.estimate()

    def _settle(self, keep_rows: bool) -> None:
        """Give the strategy the scores of the last round, unless it has them."""
        pending, self._pending = self._pending, None
        if pending is not None and self.strategy is not None:
            cells, found = pending
            self.strategy.take(cells, found.scores() if keep_rows else found.into_scores())

    def evaluate(self) -> None:
        """Plan and evaluate the positions that were proposed.

        Raises ExecutionError where an output is not finite.  What stops a query, such as Ctrl-C, is raised once what
        was finished has been noted.
        """
        assert self.strategy is not None, "a round is proposed first"
        checkpoint()
        begun = time.perf_counter()
        bound, engine = self._query.bound, self._engine
        positions = bound.selection.positions[self._cells]
        planned = plan_round(engine, bound, positions, self.strategy.fidelity)
        self.planned = self.planned or planned
        self.seconds["plan"] += time.perf_counter() - begun
        left = planned.physical.logical.by_model or (planned.naive and not self._analyze)
        run = self._by_model if left else self._by_engine
        stop = run(planned)
        self._finished += len(self._cells)
        self._last = time.perf_counter() - begun
        if stop is not None:
            raise stop

    def _by_engine(self, planned: Planned) -> BaseException | None:
        """Execute the plan over the views of the image; returns what stopped it."""
        bound, logical, start = self._query.bound, planned.physical.logical, time.perf_counter()
        views, kept = self._engine.materialize(planned, bound.traced.identity, self._image)
        if not kept:
            self.measured.macs += bound.traced.network.macs
        scorer = self._scorer(planned.physical.backend.memory.download(views[logical.network.output.name]))
        views = self._engine.with_corrections(
            planned, views, bound.traced.identity, self._image, lambda: scorer.corrections(self._baseline)
        )
        self.seconds["materialize"] += time.perf_counter() - start
        found, stop = Found(scorer, logical.positions), None
        start, doubts = time.perf_counter(), np.zeros(len(logical.positions), np.float32)
        try:
            occlusion = self._query.occlusion()
            outcome = self._engine.execute(
                planned, views, occlusion, found.take, self._report, self._analyze, self.changes
            )
            self.measured.add(outcome.measured)
            doubts = outcome.doubts
        except STOPS as stopped:
            stop = stopped
        self.seconds["execute"] += time.perf_counter() - start
        exact = planned.context.permissions.exact
        self._take(found, planned, doubts if exact else None, by_model=False)
        return stop

    def _by_model(self, planned: Planned) -> BaseException | None:
        """Run the model itself for every position, as there is nothing to gain by the network made of it."""
        bound, logical, start = self._query.bound, planned.physical.logical, time.perf_counter()
        reference, threads = bound.traced.reference, self._engine.settings["threads"]
        head, found, stop = bound.traced.head, None, None
        # Of a module that others hold, no digest tells all: what it gives is never taken from an earlier query.
        keeps = head is None and not bound.traced.model.shared
        known = self._engine.output(planned, bound.traced.identity, self._image) if keeps else None

        def begin(logits: Array) -> None:
            nonlocal found
            refuse_infinite(logits)
            found = Found(self._scorer(logits), logical.positions)
            if known is not None:
                known.keep(logits)

        def take(members: IntArray, logits: Array) -> None:
            assert found is not None, "the unmodified image comes first"
            found.take(members, logits)

        before = None if known is None else known.get()
        if before is not None:
            begin(before)
        elif head is not None and head.observed:  # what changes is told by it
            with all_threads(threads):
                begin(reference.logits(self._image[None]))
                if self.changes is not None:
                    reference = ObservedReference(bound.traced.whole, head, self._image, self.changes)
        try:
            in_full(
                reference,
                self._image,
                self._query.occlusion(),
                logical.positions,
                bound.patch,
                logical.full_batch,
                threads,
                take,
                lambda done: self._report(done, 0),
                begin if found is None else None,
            )
        except STOPS as stopped:
            if found is None:
                raise
            stop = stopped
        assert found is not None, "the unmodified image comes first"
        self.seconds["execute"] += time.perf_counter() - start
        evaluated = int(found.evaluated.sum())
        self.measured.add(Measured(evaluated=evaluated, macs=evaluated * bound.traced.network.macs))
        self._take(found, planned, np.zeros(len(logical.positions)), by_model=True)
        return stop

    def _scorer(self, logits: Array) -> Scorer:
        """The scorer by the ``logits`` of the unmodified image, those of the first round."""
        if self.scorer is None:
            bound = self._query.bound
            self._baseline = np.asarray(logits, np.float64).reshape(-1)
            self.scorer = Scorer(bound.query, bound.traced, self._baseline, bound.arguments)
            head = bound.traced.head
            if head is not None and head.observed and not self._anytime:
                self.changes = Changes(head.size, self.scorer.classes)
        return self.scorer

    def _take(self, found: Found, planned: Planned, doubts: Array | None, by_model: bool) -> None:
        """Note what was found of the round's cells, and unless ``doubts`` is None leave it to be checked."""
        if self.changes is not None:
            self.changes.count += int(found.evaluated.sum())
        duplicates = planned.physical.logical.duplicates
        found = found if duplicates is None else found.at(duplicates)
        self._pending = self._cells, found
        if doubts is not None:
            each = doubts if duplicates is None else doubts[duplicates]
            self._evidence.take(self._cells, planned, found.rows, each, by_model)

    def in_full(self, verdict: Verdict) -> None:
        """Evaluate every position by the model itself, since the check failed; a warning says so."""
        bound = self._query.bound
        failed = CheckFailed(verdict.checked, self._evidence.to_blame(verdict), verdict.unmodified > 1)
        said = f"'{bound.traced.model.name}': {failed}. It is evaluated in full by the model, and so is right"
        warnings.warn(said, VerificationWarning, stacklevel=2)
        self.strategy, self.scorer = Everything(len(bound.selection.cells), bound.query.approximate is not None), None
        self._cells, self._finished = self.strategy.propose(), 0
        planned = plan_round(self._engine, bound, bound.selection.positions[self._cells], Fidelity.EXACT)
        stop = self._by_model(planned)
        if stop is not None:
            raise stop

    def check(self) -> Verdict | None:
        """Compare what has been found so far with the model itself, as the setting ``verify`` says."""
        assert self.scorer is not None, "a round is evaluated first"
        start = time.perf_counter()
        verdict = self._evidence.check(self.scorer, self._baseline)
        self.seconds["check"] += time.perf_counter() - start
        return verdict

    def _report(self, done: int, _: int) -> None:
        if self._on_progress is not None:
            total = len(self._query.bound.selection.cells)
            self._on_progress(min(self._finished + done, total), total)  # a position of two fidelities counts twice
