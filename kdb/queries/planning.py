"""The sampling strategy of a bound query, and the plan of each of its rounds."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from kdb.execution.engine import Engine, Planned
from kdb.geometry import IntArray
from kdb.kernels.work import ELEMENT
from kdb.language import syntax
from kdb.planner.permissions import Permissions
from kdb.planner.rules import gates_live
from kdb.queries import clauses
from kdb.queries.bind import BoundQuery
from kdb.sampling.choose import anytime_of, strategy_of
from kdb.sampling.strategy import Everything, Fidelity, Strategy

LOW_FIDELITY = 0.8
"""The projective field threshold of low fidelity: on photographs it leaves an SSIM of .975 to .995."""
SAMPLED_BYTES = 56
"""Of each score of a sampled map: values, errors and what they are estimated from are in float64."""
CHANGE_BYTES = 16
"""Of each cell of a dense output whose changes are kept: their sum in float64, their largest and their mean."""
MOST_CORRECTED = 8
"""Classes at most for which gates are live."""
JUDGED = 128
"""Positions by whose plans it is judged whether low fidelity is worth it."""


def first_round(engine: Engine, bound: BoundQuery) -> tuple[Planned, str]:
    """The plan of a query's first round, and a note on its strategy; no pixel is looked at."""
    strategy = strategy_for(engine, bound)
    positions = bound.selection.positions[strategy.propose()]
    return plan_round(engine, bound, positions, strategy.fidelity), strategy.note


def strategy_for(engine: Engine, bound: BoundQuery, anytime: bool = False) -> Strategy:
    """The strategy that proposes the query's positions; an ``anytime`` one has several rounds, exact or not."""

    def gain(fidelity: Fidelity) -> float:
        positions = bound.selection.positions
        some = positions[:: max(len(positions) // JUDGED, 1)]
        low = plan_round(engine, bound, some, fidelity)
        if fidelity is Fidelity.LIVE and not any(each.rule is gates_live.RULE and each.fired for each in low.history):
            return 0.0
        return plan_round(engine, bound, some, Fidelity.EXACT).physical.seconds / low.physical.seconds

    selection, seed = bound.selection, engine.settings["seed"]
    stride = bound.stride or syntax.DEFAULT_STRIDE
    together = partial(engine.together, bound.permissions, selection.positions.shape[1])
    strategy: Strategy = strategy_of(
        bound.query, selection.grid.shape[:-1], stride, len(selection.cells), seed, gain, together
    )
    if anytime and isinstance(strategy, Everything) and bound.permissions.exact:
        shape = None if bound.stride is None else selection.filled  # after AT and of segments there is no lattice
        return anytime_of(bound.query, shape, selection.positions, seed)
    return strategy


def plan_round(engine: Engine, bound: BoundQuery, positions: IntArray, fidelity: Fidelity) -> Planned:
    """The plan for some of the query's ``positions`` int64 [n, 2], of low ``fidelity`` or as the query says."""
    permissions = replace(bound.permissions, alone=len(positions) == len(bound.selection.positions))
    if fidelity is Fidelity.FROZEN:
        permissions = frozen(permissions)
    elif fidelity is Fidelity.LIVE:
        permissions = live(permissions, corrected(bound))
    network, result = bound.traced.network, result_bytes(bound)
    asked = len(bound.selection.cells)
    return engine.plan(network, positions, bound.patch, permissions, uniform=bound.uniform, result=result, asked=asked)


def result_bytes(bound: BoundQuery) -> int:
    """Bytes of the query's map, and of what it is made of."""
    selection, count = bound.selection, _classes(bound)
    sampled = {"APPROXIMATE", "BUDGET", "DRILL DOWN"} & {*clauses.approximations(bound.query)}
    head = bound.traced.head
    changes = 0 if head is None or not head.observed else CHANGE_BYTES * math.prod(head.size)
    cells, laid = len(selection.cells), math.prod(selection.grid.shape[:-1])
    scores = (SAMPLED_BYTES if sampled else ELEMENT) * cells + (0 if cells == laid else ELEMENT * laid)
    return count * (scores + changes)


def _classes(bound: BoundQuery) -> int:
    """How many classes are scored."""
    classes = bound.query.classes
    if isinstance(classes, syntax.AllClasses):
        return bound.traced.network.output.shape.channels
    if isinstance(classes, syntax.TopClasses):
        return classes.k
    return len(classes.refs) if isinstance(classes, syntax.Classes) else 1


def corrected(bound: BoundQuery) -> int:
    """For how many scores live gates may be corrected; 0 where that is of no use.

    A cosine is of all logits, and every score takes a backward pass and its share of memory.
    """
    count = _classes(bound)
    return 0 if bound.query.score.startswith("cosine") or count > MOST_CORRECTED else count


def frozen(permissions: Permissions) -> Permissions:
    """Permissions for a round of low fidelity: everything is permitted, and the planner takes what is faster."""
    return replace(
        permissions,
        threshold=LOW_FIDELITY if permissions.threshold is None else permissions.threshold,
        precision="bf16" if permissions.precision == "fp32" else permissions.precision,
        freeze_context=True,
    )


def live(permissions: Permissions, scores: int) -> Permissions:
    """Permissions for a round whose live gates are corrected for so many scores; boxes are not cropped.

    A GPU would wait for the host at every gate.
    """
    return replace(
        permissions,
        precision="bf16" if permissions.precision == "fp32" else permissions.precision,
        freeze_context=True,
        live=0 if permissions.device == "gpu" else scores,
        device="gpu" if permissions.device == "gpu" else "cpu",
    )
