"""What a data-dependent evaluation is to the engine: cells in rounds, each chosen by the scores of those before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A map at some point of its strategy.

    values      float64 [classes, n], at all cells
    evaluated   bool [n]: where the values are the model's own
    error       float64 [classes, n]: the standard deviation of what the values are off by, 0 where evaluated; None
                where nothing is known of it
    ssim        the structural similarity to the exact map that is to be expected, the lowest over the classes; None
                where it is not known
    assured     the same, lowered so far that one map of twenty falls short of it
    """

    values: Scores
    evaluated: NDArray[np.bool_]
    error: Scores | None = None
    ssim: float | None = None
    assured: float | None = None


class Strategy(Protocol):
    """Proposes cells of a map of n cells until it is done; a cell is proposed once at most."""

    @property
    def note(self) -> str:
        """What is done, for EXPLAIN; nothing where all cells are evaluated at once."""

    @property
    def low_fidelity(self) -> bool:
        """Whether the cells that were proposed last may be evaluated approximately."""

    def propose(self) -> IntArray:
        """Indices of the cells to evaluate next; none when done."""

    def take(self, cells: IntArray, scores: Scores) -> None:
        """The scores [classes, len(cells)] of cells that were proposed, in any portions; NaN where none was reached."""

    def estimate(self) -> Estimate:
        """The map as it is now."""


class Everything:
    """All cells, in one round; ``judged`` where their scores are the model's own and that is to be told."""

    note = ""
    low_fidelity = False

    def __init__(self, cells: int, judged: bool = False) -> None:
        self._count, self._proposed, self._judged = cells, False, judged
        self._values: Scores | None = None

    def propose(self) -> IntArray:
        """All, then none."""
        cells = np.arange(0 if self._proposed else self._count)
        self._proposed = True
        return cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep them."""
        if self._values is None:
            self._values = np.full((len(scores), self._count), np.nan)
        self._values[:, cells] = scores

    def estimate(self) -> Estimate:
        """What has come."""
        values = np.full((1, self._count), np.nan) if self._values is None else self._values
        evaluated = np.asarray(np.isfinite(values).all(axis=0))
        if not self._judged or not evaluated.all():
            return Estimate(values, evaluated)
        return Estimate(values, evaluated, np.zeros_like(values), 1.0, 1.0)
