"""The sampling strategy of a bound query, and the plan of each of its rounds."""

from __future__ import annotations

import math
from dataclasses import replace

from kdb.execution.engine import Engine, Planned
from kdb.geometry import IntArray
from kdb.kernels.work import ELEMENT
from kdb.language import syntax
from kdb.planner.permissions import Permissions
from kdb.queries import clauses
from kdb.queries.bind import BoundQuery
from kdb.sampling.choose import anytime_of, strategy_of
from kdb.sampling.strategy import Everything, Strategy

LOW_FIDELITY = 0.8
"""The projective field threshold of low fidelity: on photographs it leaves an SSIM of .975 to .995."""
SAMPLED_BYTES = 56
"""Of each score of a sampled map: values, errors and what they are estimated from are in float64."""
CHANGE_BYTES = 16
"""Of each cell of a dense output whose changes are kept: their sum in float64, their largest and their mean."""
JUDGED = 128
"""Positions by whose plans it is judged whether low fidelity is worth it."""


def first_round(engine: Engine, bound: BoundQuery) -> tuple[Planned, str]:
    """The plan of a query's first round, and a note on its strategy; no pixel is looked at."""
    strategy = strategy_for(engine, bound)
    positions = bound.selection.positions[strategy.propose()]
    return plan_round(engine, bound, positions, strategy.low_fidelity), strategy.note


def strategy_for(engine: Engine, bound: BoundQuery, anytime: bool = False) -> Strategy:
    """The strategy that proposes the query's positions; an ``anytime`` one has several rounds, exact or not."""

    def gain() -> float:
        positions = bound.selection.positions
        some = positions[:: max(len(positions) // JUDGED, 1)]
        low, full = (plan_round(engine, bound, some, low).physical for low in (True, False))
        return full.seconds / low.seconds

    selection, seed = bound.selection, engine.settings["seed"]
    stride = bound.stride or syntax.DEFAULT_STRIDE
    strategy: Strategy = strategy_of(bound.query, selection.grid.shape[:-1], stride, len(selection.cells), seed, gain)
    if anytime and isinstance(strategy, Everything) and bound.permissions.exact:
        shape = None if bound.stride is None else selection.filled  # after AT and of segments there is no lattice
        return anytime_of(bound.query, shape, selection.positions, seed)
    return strategy


def plan_round(engine: Engine, bound: BoundQuery, positions: IntArray, low: bool) -> Planned:
    """The plan for some of the query's ``positions`` int64 [n, 2], of ``low`` fidelity or as the query says."""
    permissions = low_fidelity(bound.permissions) if low else bound.permissions
    permissions = replace(permissions, alone=len(positions) == len(bound.selection.positions))
    network, result = bound.traced.network, result_bytes(bound)
    return engine.plan(network, positions, bound.patch, permissions, uniform=bound.uniform, result=result)


def result_bytes(bound: BoundQuery) -> int:
    """Bytes of the query's map, and of what it is made of."""
    classes, selection = bound.query.classes, bound.selection
    count = 1
    if isinstance(classes, syntax.AllClasses):
        count = bound.traced.network.output.shape.channels
    elif isinstance(classes, syntax.TopClasses):
        count = classes.k
    elif isinstance(classes, syntax.Classes):
        count = len(classes.refs)
    sampled = {"APPROXIMATE", "BUDGET", "DRILL DOWN"} & {*clauses.approximations(bound.query)}
    head = bound.traced.head
    changes = 0 if head is None or not head.observed else CHANGE_BYTES * math.prod(head.size)
    cells, laid = len(selection.cells), math.prod(selection.grid.shape[:-1])
    scores = (SAMPLED_BYTES if sampled else ELEMENT) * cells + (0 if cells == laid else ELEMENT * laid)
    return count * (scores + changes)


def low_fidelity(permissions: Permissions) -> Permissions:
    """Permissions for a round of low fidelity: everything is permitted, and the planner takes what is faster."""
    return replace(
        permissions,
        threshold=LOW_FIDELITY if permissions.threshold is None else permissions.threshold,
        precision="bf16" if permissions.precision == "fp32" else permissions.precision,
        freeze_context=True,
    )
