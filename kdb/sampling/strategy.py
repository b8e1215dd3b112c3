"""The interface of sampling strategies, and the strategy that evaluates every cell.

A strategy works in rounds: the caller evaluates the cells that it proposes and returns their scores, which decide what
it proposes next.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray

Scores = NDArray[Any]
"""Scores of cells: float64 [classes, cells]; float32 where they are handed on as they are."""


class Fidelity(Enum):
    """How positions are evaluated: as the query says, or approximately, with gates by the whole map live or frozen."""

    EXACT = "exact"
    LIVE = "live"
    FROZEN = "frozen"


@dataclass(frozen=True, eq=False)
class Estimate:
    """A heat map of n cells as a strategy estimates it after some rounds.

    Attributes:
        values: float64 [classes, n]; evaluated or predicted scores, NaN where nothing is known yet.
        evaluated: bool [n]; True where the values are the model's own scores.
        error: float64 [classes, n]; the standard deviation of the values' error, 0 where evaluated; None if unknown.
        ssim: the expected structural similarity to the exact map, the lowest over the classes; None if unknown.
        assured: a lower bound of that similarity, which one map of twenty falls short of; None if unknown.
    """

    values: Scores
    evaluated: NDArray[np.bool_]
    error: Scores | None = None
    ssim: float | None = None
    assured: float | None = None


class Strategy(Protocol):
    """Proposes cells of a heat map of n cells, each at most once per fidelity, until it has none left to propose."""

    @property
    def note(self) -> str:
        """A description for EXPLAIN; empty if all cells are evaluated at once."""

    @property
    def adapts(self) -> bool:
        """Whether what it proposes depends on scores; one that does not takes them when the last are there."""

    @property
    def fidelity(self) -> Fidelity:
        """How the cells proposed last may be evaluated."""

    def propose(self) -> IntArray:
        """Cells to evaluate next, int64 indices; empty when the strategy is done."""

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Receive the ``scores`` [classes, len(cells)] of proposed cells; NaN for cells that were not evaluated."""

    def estimate(self) -> Estimate:
        """The heat map by all scores received so far."""


class Everything:
    """Evaluates all cells in one round.

    If ``fully_exact``, the scores are the model's own and the estimate reports an error of 0 and an SSIM of 1.
    """

    note = ""
    adapts = False
    fidelity = Fidelity.EXACT

    def __init__(self, cells: int, fully_exact: bool = False) -> None:
        self._count, self._proposed, self._fully_exact = cells, False, fully_exact
        self._values: Scores | None = None

    def propose(self) -> IntArray:
        """All cells on the first call, none on later ones."""
        cells = np.arange(0 if self._proposed else self._count)
        self._proposed = True
        return cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep the scores of all cells, in their order, uncopied; see :meth:`Strategy.take`."""
        assert len(cells) == self._count, "all are proposed at once"
        self._values = scores

    def estimate(self) -> Estimate:
        """The scores received so far, NaN elsewhere."""
        values = np.full((1, self._count), np.nan) if self._values is None else self._values
        evaluated = np.ones(self._count, bool)
        for row in values:
            evaluated &= np.isfinite(row)
        if not self._fully_exact or not evaluated.all():
            return Estimate(values, evaluated)
        return Estimate(values, evaluated, np.zeros_like(values), 1.0, 1.0)
