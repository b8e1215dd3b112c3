"""The paper's adaptive drill-down (section 4.2): a coarse map first, then the regions where it drops the most.

Both strides are in cells of the grid that was asked for: the coarse one is a multiple of the fine one.
"""

from __future__ import annotations

import math

import numpy as np

from kdb.errors import BindError
from kdb.geometry import IntArray, Size
from kdb.language import syntax
from kdb.sampling.strategy import Estimate, Scores


def coarse_steps(asked: syntax.DrillDown, stride: tuple[int, int]) -> tuple[int, int]:
    """The coarse stride S1 over the fine one S2, for y and x.

    By equation 31, ``S1 / S2 = sqrt(t / (1 - r t))``, to the nearest whole number, at least 1; or as it was asked for.

    Raises BindError for a speedup that no coarse stride gives (equation 32), and a coarse stride that is no multiple of
    the fine one.
    """
    if asked.coarse_stride is None:
        assert asked.speedup is not None
        left = 1 - asked.ratio * asked.speedup
        if left <= 0:
            raise BindError(
                f"DRILL DOWN {asked.ratio:g} is at most {1 / asked.ratio:g} times as fast (equation 32), whatever the "
                f"coarse stride; SPEEDUP {asked.speedup:g} takes a smaller fraction"
            )
        steps = (max(round(math.sqrt(asked.speedup / left)), 1),) * 2
    else:
        if any(asked.coarse_stride % fine for fine in stride):
            raise BindError(f"COARSE STRIDE takes a multiple of STRIDE {stride}; not {asked.coarse_stride}")
        steps = asked.coarse_stride // stride[0], asked.coarse_stride // stride[1]
    return steps


def check(asked: syntax.DrillDown, stride: tuple[int, int], size: Size) -> None:
    """Raise BindError unless there is a coarse stride, smaller than the input grid of ``size`` (equation 32)."""
    steps = coarse_steps(asked, stride)
    for step, fine, length in zip(steps, stride, size, strict=True):
        if step * fine >= length:
            raise BindError(
                f"a coarse stride of {step * fine} pixels is as large as the input, {size.height} x {size.width} "
                "(equation 32); ask for less of a speedup, or for a smaller COARSE STRIDE"
            )


class DrillDown:
    """The strategy of one map of ``rows`` x ``columns`` cells, coarse ones ``step`` (y, x) apart.

    ``ratio`` is the share of the coarse cells whose whole regions are evaluated; all others' cells take the coarse
    score.  ``important`` is 1 where a large score makes a cell important, -1 where a small one does.
    """

    low_fidelity = False

    def __init__(self, rows: int, columns: int, step: tuple[int, int], ratio: float, important: int) -> None:
        y, x = np.divmod(np.arange(rows * columns), columns)
        across = -(-columns // step[1])
        self._region = y // step[0] * across + x // step[1]
        self._coarse = np.flatnonzero((y % step[0] == 0) & (x % step[1] == 0))  # in the order of the regions
        self._step, self._ratio, self._important = step, ratio, important
        self._values: Scores | None = None
        self._evaluated = np.zeros(rows * columns, bool)
        self._rounds = 0

    @property
    def note(self) -> str:
        """The steps, and how many positions they take."""
        coarse, cells = len(self._coarse), len(self._region)
        regions = math.ceil(self._ratio * coarse)
        likely = coarse + regions * (cells / coarse - 1)
        return (
            f"drill-down, every {self._step[0]} x {self._step[1]} positions first, {coarse} of {cells:,} as below, "
            f"then the regions of the {regions} most important: about {likely:,.0f}, {cells / likely:.3g} times fewer"
        )

    def propose(self) -> IntArray:
        """The coarse cells, then the others of the chosen regions, then none."""
        self._rounds += 1
        if self._rounds == 1:
            return self._coarse
        if self._rounds > 2 or self._values is None:
            return np.zeros(0, np.int64)
        # The most that any class asks for; of equal ones those that come first.
        merit = (self._important * self._values[:, self._coarse]).max(axis=0)
        count = math.ceil(self._ratio * len(self._coarse))
        chosen = np.zeros(len(self._coarse), bool)
        chosen[np.argsort(-merit, kind="stable")[:count]] = True
        return np.flatnonzero(chosen[self._region] & ~self._evaluated)

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep them."""
        if self._values is None:
            self._values = np.full((len(scores), len(self._evaluated)), np.nan)
        self._values[:, cells] = scores
        self._evaluated[cells] = np.isfinite(scores).all(axis=0)

    def estimate(self) -> Estimate:
        """Scores where there are any, those of the regions' coarse cells elsewhere."""
        if self._values is None:
            return Estimate(np.full((1, len(self._evaluated)), np.nan), self._evaluated)
        coarse = self._values[:, self._coarse[self._region]]
        return Estimate(np.where(self._evaluated, self._values, coarse), self._evaluated.copy())
