"""Which strategy a query permits."""

from __future__ import annotations

from collections.abc import Callable

from kdb.language import syntax
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import Goal, Progressive
from kdb.sampling.similarity import WINDOW
from kdb.sampling.strategy import Everything, Strategy

DEFAULT_SSIM = 0.9
FEW_CELLS = 256
"""Of smaller maps most cells are evaluated before a handful of held-out samples can tell how good they are."""
NEARLY_EXACT = 0.99
"""From here on sampling evaluates nine cells of ten, in more and smaller batches: an exact map costs no more."""

WORTH_IT = 1.2
"""From this gain on cells are evaluated approximately: pairs, which are evaluated both ways, have to be paid for."""


def strategy_of(
    asked: syntax.Occlude,
    shape: tuple[int, ...],
    cells: int,
    seed: int,
    anytime: bool = False,
    gain: Callable[[], float] = lambda: 1.0,
) -> Strategy:
    """The strategy for ``cells`` positions, the ``shape`` of whose grid is (rows, cols), or (n,) after AT.

    Positions that do not fill a grid, and grids without a window of SSIM's, are evaluated at once.  So is a query that
    permits nothing else, unless it is ``anytime``.  ``gain`` tells how many times as fast positions are evaluated
    approximately; it is asked where that is permitted.
    """
    judged = asked.approximate is not None and asked.threshold is None and asked.precision == "fp32"
    whole = Everything(cells, judged)
    if asked.region is not None or len(shape) != 2 or min(shape) < WINDOW:
        return whole
    rows, columns = shape
    important = 1 if asked.score.endswith("drop") else -1
    if asked.drill_down is not None:
        steps = coarse_steps(asked.drill_down, asked.stride or syntax.DEFAULT_STRIDE)
        return DrillDown(rows, columns, steps, asked.drill_down.ratio, important)
    goal = _goal(asked, cells) or (Goal() if anytime else None)
    if goal is None:
        return whole
    sampled = MultiFidelity if asked.approximate is not None and gain() >= WORTH_IT else Progressive
    return sampled(rows, columns, goal, important, seed)


def _goal(asked: syntax.Occlude, cells: int) -> Goal | None:
    """What sampling is to reach; None where all is to be evaluated at once."""
    approximate = asked.approximate
    if approximate is None:
        return None if asked.budget_seconds is None else Goal()
    ssim = DEFAULT_SSIM if approximate.ssim is None else approximate.ssim
    if (ssim >= NEARLY_EXACT or cells < FEW_CELLS) and asked.budget_seconds is None:
        return None
    return Goal(ssim, approximate.guaranteed, (approximate.refine_top or 0.0) / 100)
