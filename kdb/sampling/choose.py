"""Chooses the sampling strategy for a query."""

from __future__ import annotations

from collections.abc import Callable

from kdb.geometry import IntArray, Size
from kdb.language import syntax
from kdb.results.similarity import WINDOW
from kdb.sampling.drill_down import DrillDown, coarse_steps
from kdb.sampling.multi_fidelity import MultiFidelity
from kdb.sampling.progressive import Goal, Progressive
from kdb.sampling.scattered import Scattered
from kdb.sampling.strategy import Everything, Fidelity, Strategy

DEFAULT_SSIM = 0.9
"""The target of ``APPROXIMATE`` without ``TO SSIM``."""
MIN_CELLS = 256
"""Smaller heat maps are evaluated in full: most cells would be needed before the held-out samples tell the error."""
NEARLY_EXACT = 0.99
"""From this target on, sampling evaluates nine cells of ten, in smaller batches: an exact map costs no more."""

MEASURED = 2
"""The number of axes in which a guaranteed SSIM, and what is estimated at low fidelity, were measured to hold.

With one axis or three a quarter of maps fell short of a guarantee; ``docs/benchmarks/approximate-axes.md``.
"""
MIN_GAIN = 1.2
"""Low fidelity must be this many times as fast, since the paired samples are evaluated at both fidelities."""


def strategy_of(
    query: syntax.Occlude,
    shape: Size,
    stride: Size,
    cells: int,
    seed: int,
    gain: Callable[[Fidelity], float] = lambda _: 1.0,
    together: Callable[[], int] = lambda: 1,
) -> Strategy:
    """The strategy for evaluating ``query`` on ``cells`` positions.

    All cells are evaluated in one round where sampling does not apply: for a query that permits no approximation, for
    positions that do not fill a grid (WITHIN, AT, segments), and for grids with an axis shorter than SSIM's window.  An
    axis of one cell is none: along it there is nothing to interpolate or to compare.

    Args:
        query: its approximation clauses choose the strategy; they have been checked.
        shape: of the grid of positions, along each of 1 to 3 axes; (n,) after AT.
        stride: of the grid along each axis, in pixels.
        cells: the number of positions.
        seed: of all random choices.
        gain: how many times as fast a position is evaluated at a low fidelity, 0 if it cannot be; called only where
            that is permitted.
        together: how many positions are evaluated at full speed; rounds that depend on scores are multiples of it.  It
            is called only where there are several rounds.

    Raises:
        BindError: for a DRILL DOWN that no coarse stride satisfies.
    """
    fully_exact = query.approximate is not None and query.threshold is None and query.precision == "fp32"
    everything = Everything(cells, fully_exact)
    sides = tuple(length for length in shape if length > 1)
    if query.region is not None or isinstance(query.patch, syntax.Segments) or min(sides, default=1) < WINDOW:
        return everything
    important = 1 if query.score.endswith("drop") else -1
    if query.drill_down is not None:
        steps = coarse_steps(query.drill_down, stride)
        return DrillDown(shape, steps, query.drill_down.ratio, important)
    goal = _goal(query, cells)
    if goal is None or (goal.guaranteed and len(sides) != MEASURED):
        return everything
    if query.approximate is not None and len(sides) == MEASURED:
        alive = gain(Fidelity.LIVE)
        cheaper = [Fidelity.LIVE] if alive >= MIN_GAIN else []
        # Where gates could be live but gain nothing, frozen ones nearly always fail: their trial is not worth it.
        if (cheaper or not alive) and gain(Fidelity.FROZEN) >= MIN_GAIN:
            cheaper.append(Fidelity.FROZEN)
        if cheaper:
            return MultiFidelity(sides, goal, important, seed, together(), cheaper)
    return Progressive(sides, goal, important, seed, together())


def anytime_of(query: syntax.Occlude, shape: Size | None, places: IntArray, seed: int) -> Strategy:
    """The strategy for a query that :func:`strategy_of` evaluates in one round, where its map is to be seen growing.

    Args:
        query: any; what it permits does not matter, as all cells are evaluated in the end.
        shape: of the grid that the positions fill, which may be a part of the query's; None where they fill none.
        places: int64 [n, axes], where the positions are.
        seed: of all random choices.
    """
    sides = tuple(length for length in shape or () if length > 1)
    if len(places) < MIN_CELLS or min(sides, default=1) < WINDOW:
        return Scattered(places)
    return Progressive(sides, Goal(growing=True), 1 if query.score.endswith("drop") else -1, seed)


def _goal(query: syntax.Occlude, cells: int) -> Goal | None:
    """When sampling may stop, or None if all cells are to be evaluated at once."""
    approximate = query.approximate
    if approximate is None:
        return None if query.budget_seconds is None else Goal()
    ssim = DEFAULT_SSIM if approximate.ssim is None else approximate.ssim
    if (ssim >= NEARLY_EXACT or cells < MIN_CELLS) and query.budget_seconds is None:
        return None
    return Goal(ssim, approximate.guaranteed, (approximate.refine_top or 0.0) / 100)
