"""Evaluates one OCCLUDE query on one image: the heat map after each of its rounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from kdb.errors import STOPS, stopped
from kdb.execution.engine import Engine, Planned, Progress
from kdb.execution.measured import Measured
from kdb.execution.verification import Checked
from kdb.queries.assembly import heat_map, statistics
from kdb.queries.bind import ImageQuery
from kdb.queries.checking import Verdict
from kdb.queries.rounds import Rounds
from kdb.results.maps import HeatMap
from kdb.system.allocation import retained
from kdb.system.threads import quiet


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A heat map, the plan of its first round, what all rounds so far measured, and a note on their strategy."""

    heat_map: HeatMap
    planned: Planned
    measured: Measured
    note: str


def run(engine: Engine, query: ImageQuery, on_progress: Progress | None = None, analyze: bool = False) -> Evaluation:
    """The heat map, with the plan and what was measured; with ``analyze`` each layer's own time is.

    Raises Interrupted, Timeout or Cancel with the partial map, and ExecutionError where an output is not finite.
    """
    return deque(stream(engine, query, on_progress, analyze=analyze), maxlen=1)[0]


def stream(
    engine: Engine,
    query: ImageQuery,
    on_progress: Progress | None = None,
    anytime: bool = False,
    analyze: bool = False,
) -> Iterator[Evaluation]:
    """The last heat map, or if ``anytime`` that after each round of the query's strategy.

    An ``anytime`` evaluation samples where the query permits no approximation too, until all is evaluated: the last
    map is exact.  Each map is checked against the model itself; if a check fails, the map is evaluated in full by the
    model, with a VerificationWarning.  Raises what :func:`run` raises.
    """
    traced_anew = False
    rounds = Rounds(engine, query, on_progress, anytime, analyze)
    last = not rounds.propose()
    while not last:
        with _partial_if_stopped(engine, query, rounds):
            rounds.evaluate()
        last, verdict = not rounds.propose(), None
        if last or anytime:
            with _partial_if_stopped(engine, query, rounds):
                verdict = rounds.check()
                if verdict is not None and verdict.checked.failed:
                    again = None if traced_anew else _traced_anew(engine, query, verdict)
                    if again is not None:
                        query, traced_anew = again, True
                        rounds = Rounds(engine, query, on_progress, anytime, analyze)
                        last = not rounds.propose()
                        continue
                    rounds.in_full(verdict)
                    last = True
            yield _evaluation(query, rounds, None if verdict is None else verdict.checked)


@contextmanager
def _partial_if_stopped(engine: Engine, query: ImageQuery, rounds: Rounds) -> Iterator[None]:
    """Around the work on a map: what stops it, such as Ctrl-C, is raised with what has been found.

    Where memory is limited no freed memory is retained: gaps that no later array fits into would go beyond the limit.
    """
    limited = engine.settings["memory_limit"] is not None
    try:
        with nullcontext() if limited else retained(), quiet():
            yield
    except STOPS as stop:
        if rounds.planned is None or rounds.scorer is None:
            raise
        partial = _evaluation(query, rounds, None, complete=False).heat_map
        done, total = int(partial.evaluated.sum()), len(query.bound.selection.cells)
        after = f"{done} of {total} positions" if done < total else f"all {total} positions, before the map was checked"
        raise stopped(stop, f"after {after}", partial) from stop


def _traced_anew(engine: Engine, query: ImageQuery, verdict: Verdict) -> ImageQuery | None:
    """The query with its model as it is now; None where the trace was of that, and so is not to blame.

    What gives other logits for the unmodified image may have been changed where no fingerprint looks.
    """
    bound = query.bound
    if not bound.traced.model.shared or verdict.unmodified <= 1:
        return None
    traced = bound.retrace()
    engine.views.clear()
    if traced.identity == bound.traced.identity:
        return None
    return query.by(traced)


def _evaluation(query: ImageQuery, rounds: Rounds, checked: Checked | None, complete: bool = True) -> Evaluation:
    """What the rounds have found by now."""
    strategy, planned, scorer = rounds.strategy, rounds.planned, rounds.scorer
    assert strategy is not None and planned is not None and scorer is not None, "a round has been run"
    estimate = rounds.estimate()
    seconds = {**rounds.seconds, "total": rounds.elapsed}
    stats = statistics(planned.physical, rounds.measured, len(query.bound.selection.cells), seconds)
    changes = rounds.changes if complete else None
    found = heat_map(query, scorer, estimate, planned, stats, complete, checked, changes)
    return Evaluation(found, planned, rounds.measured, strategy.note)
