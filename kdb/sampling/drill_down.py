"""The paper's adaptive drill-down (section 4.2): a coarse heat map first, then only its most important regions.

Steps are in cells of the fine grid, the one that the query asks for; strides are in pixels.
"""

from __future__ import annotations

import math

import numpy as np

from kdb.errors import BindError
from kdb.geometry import IntArray, Size, spelled
from kdb.language import syntax
from kdb.sampling.strategy import Estimate, Fidelity, Scores


def coarse_steps(clause: syntax.DrillDown, stride: Size) -> Size:
    """The coarse stride S1 divided by the fine stride S2, along each axis.

    Given as COARSE STRIDE, one number for all axes, or derived from the target speedup t and the drill-down fraction r
    by equation 31, rounded to an integer of at least 1.  With a axes a region has ``(S1 / S2)^a`` positions, so that
    ``S1 / S2 = (t / (1 - r t))^(1 / a)``; the paper has a = 2.

    Args:
        clause: the DRILL DOWN clause.
        stride: the fine stride along each axis, in pixels.

    Raises:
        BindError: no coarse stride gives the speedup (equation 32), or COARSE STRIDE is not a multiple of ``stride``.
    """
    if clause.coarse_stride is None:
        assert clause.speedup is not None
        left = 1 - clause.ratio * clause.speedup
        if left <= 0:
            raise BindError(
                f"DRILL DOWN {clause.ratio:g} is at most {1 / clause.ratio:g} times as fast (equation 32), whatever "
                f"the coarse stride; SPEEDUP {clause.speedup:g} takes a smaller fraction"
            )
        return (max(round((clause.speedup / left) ** (1 / len(stride))), 1),) * len(stride)
    if any(clause.coarse_stride % fine for fine in stride):
        written = ", ".join(map(str, stride))
        raise BindError(f"COARSE STRIDE takes a multiple of STRIDE ({written}); not {clause.coarse_stride}")
    return tuple(clause.coarse_stride // fine for fine in stride)


def check(clause: syntax.DrillDown, stride: Size, size: Size) -> None:
    """Raise BindError unless the clause gives a coarse stride smaller than the input of ``size`` pixels (equation 32).

    See :func:`coarse_steps` for the arguments.
    """
    steps = coarse_steps(clause, stride)
    for step, fine, length in zip(steps, stride, size, strict=True):
        if step * fine >= length:
            raise BindError(
                f"a coarse stride of {step * fine} pixels is as large as the input, {spelled(size)} "
                "(equation 32); ask for less of a speedup, or for a smaller COARSE STRIDE"
            )


class DrillDown:
    """The drill-down strategy: evaluate one cell of each region, then all cells of the most important regions.

    A region is a block of ``step`` cells; the first along each axis is its coarse cell.  Cells that are not evaluated
    take the score of their region's coarse cell.

    Args:
        shape: of the heat map, cells along each axis.
        step: the size of a region in cells along each axis.
        ratio: the share of regions that are evaluated in full.
        important: 1 if large scores are important, -1 if small ones are.
    """

    adapts = True
    fidelity = Fidelity.EXACT

    def __init__(self, shape: Size, step: Size, ratio: float, important: int) -> None:
        cells = np.stack(np.unravel_index(np.arange(math.prod(shape)), shape))
        steps = np.array(step)[:, None]
        regions = [-(-length // each) for length, each in zip(shape, step, strict=True)]
        self._region = np.ravel_multi_index(tuple(cells // steps), regions)
        self._coarse = np.flatnonzero((cells % steps == 0).all(axis=0))  # in the order of the regions
        self._step, self._ratio, self._important = step, ratio, important
        self._values: Scores | None = None
        self._evaluated = np.zeros(cells.shape[1], bool)
        self._rounds = 0

    @property
    def note(self) -> str:
        """The step, the number of regions, and the expected number of positions, for EXPLAIN."""
        coarse, cells = len(self._coarse), len(self._region)
        regions = math.ceil(self._ratio * coarse)
        likely = coarse + regions * (cells / coarse - 1)
        return (
            f"drill-down, every {spelled(self._step)} positions first, {coarse} of {cells:,} as below, "
            f"then the regions of the {regions} most important: about {likely:,.0f}, {cells / likely:.3g} times fewer"
        )

    def propose(self) -> IntArray:
        """The coarse cells in round 1, the other cells of the important regions in round 2, none afterwards."""
        self._rounds += 1
        if self._rounds == 1:
            return self._coarse
        if self._rounds > 2 or self._values is None:
            return np.zeros(0, np.int64)
        # A region's importance is its largest over the classes; ties go to the region that comes first.
        importance = (self._important * self._values[:, self._coarse]).max(axis=0)
        count = math.ceil(self._ratio * len(self._coarse))
        chosen = np.zeros(len(self._coarse), bool)
        chosen[np.argsort(-importance, kind="stable")[:count]] = True
        return np.flatnonzero(chosen[self._region] & ~self._evaluated)

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Store the scores of these cells; see :meth:`kdb.sampling.strategy.Strategy.take`."""
        if self._values is None:
            self._values = np.full((len(scores), len(self._evaluated)), np.nan)
        self._values[:, cells] = scores
        self._evaluated[cells] = np.isfinite(scores).all(axis=0)

    def estimate(self) -> Estimate:
        """Evaluated scores, and elsewhere the score of the region's coarse cell; the error is unknown."""
        if self._values is None:
            return Estimate(np.full((1, len(self._evaluated)), np.nan), self._evaluated)
        coarse = self._values[:, self._coarse[self._region]]
        return Estimate(np.where(self._evaluated, self._values, coarse), self._evaluated.copy())
