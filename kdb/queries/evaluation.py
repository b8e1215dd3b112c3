"""Evaluates one OCCLUDE query on one image: the heat map after each of its rounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from kdb.errors import Interrupted
from kdb.execution.engine import Engine, Planned, Progress
from kdb.execution.measured import Measured
from kdb.queries.assembly import heat_map, statistics
from kdb.queries.bind import ImageQuery
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

    Raises Interrupted with the partial map on Ctrl-C, and ExecutionError where an output is not finite.
    """
    return deque(stream(engine, query, on_progress, analyze=analyze), maxlen=1)[0]


def stream(
    engine: Engine,
    query: ImageQuery,
    on_progress: Progress | None = None,
    anytime: bool = False,
    analyze: bool = False,
) -> Iterator[Evaluation]:
    """The heat map after each round of the query's strategy: an exact query has one round, a sampled one many.

    An ``anytime`` evaluation samples where the query permits no approximation too, until all is evaluated: the last
    map is exact.  Raises what :func:`run` raises.
    """
    rounds = Rounds(engine, query, on_progress, anytime, analyze)
    while rounds.propose():
        try:
            with retained(), quiet():
                rounds.evaluate()
        except Interrupted as interrupted:
            partial = _evaluation(query, rounds, complete=False).heat_map
            done, total = int(partial.evaluated.sum()), len(query.bound.selection.cells)
            raise Interrupted(f"interrupted after {done} of {total} positions", partial) from interrupted
        yield _evaluation(query, rounds, complete=True)


def _evaluation(query: ImageQuery, rounds: Rounds, complete: bool) -> Evaluation:
    """What the rounds have found by now."""
    strategy, planned, scorer = rounds.strategy, rounds.planned, rounds.scorer
    assert strategy is not None and planned is not None and scorer is not None, "a round has been run"
    estimate = strategy.estimate()
    seconds = {**rounds.seconds, "total": rounds.elapsed}
    stats = statistics(planned.physical, rounds.measured, len(query.bound.selection.cells), seconds)
    return Evaluation(heat_map(query, scorer, estimate, stats, complete), planned, rounds.measured, strategy.note)
