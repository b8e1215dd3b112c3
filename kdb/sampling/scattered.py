"""Nested subsets of positions that fill no grid, or too small a one: each round is spread over all of them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import KDTree

from kdb.geometry import IntArray
from kdb.sampling.strategy import Estimate, Fidelity, Scores

STEPS = (16, 4, 2, 1)
"""Of the positions along a curve, every so many of them are evaluated after each round."""
LEAST = 16
"""Positions that a first round has at least: fewer are not worth a round."""


class Scattered:
    """Evaluates n positions in a few rounds, whatever their scores are, for whoever watches the map grow.

    Until all are evaluated, a position has the score of the nearest that is, which has no known error.

    Args:
        places: int64 [n, axes], where the positions are.
    """

    adapts = True  # each round is shown, so that it takes its scores at once
    fidelity = Fidelity.EXACT
    note = "in a few rounds, each spread over all positions"

    def __init__(self, places: IntArray) -> None:
        self._places = places
        along = _along_a_curve(places)
        first = np.full(len(places), len(STEPS))
        for number, step in reversed([*enumerate(STEPS)]):
            if len(places) >= LEAST * step or step == 1:
                first[along[::step]] = number
        self._rounds = [cells for number in range(len(STEPS)) if len(cells := np.flatnonzero(first == number))]
        self._values: Scores | None = None

    def propose(self) -> IntArray:
        """The cells of the next round; none after the last."""
        return self._rounds.pop(0) if self._rounds else np.zeros(0, np.int64)

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep the scores of some cells; see :meth:`kdb.sampling.strategy.Strategy.take`."""
        if self._values is None:
            self._values = np.full((len(scores), len(self._places)), np.nan)
        self._values[:, cells] = scores

    def estimate(self) -> Estimate:
        """The scores received so far, and elsewhere those of the nearest position."""
        values = np.full((1, len(self._places)), np.nan) if self._values is None else self._values
        evaluated = np.asarray(np.isfinite(values).all(axis=0))
        if evaluated.any() and not evaluated.all():
            _, nearest = KDTree(self._places[evaluated]).query(self._places[~evaluated])
            values = values.copy()
            values[:, ~evaluated] = values[:, evaluated][:, nearest]
        elif evaluated.all():
            return Estimate(values, evaluated, np.zeros_like(values), 1.0, 1.0)
        return Estimate(values, evaluated)


def _along_a_curve(places: IntArray) -> IntArray:
    """The order of places [n, axes] along a Z-order curve, on which neighbours are close together in space."""
    bits = int(places.max(initial=0)).bit_length()
    keys = [(places[:, axis] >> bit) & 1 for bit in reversed(range(bits)) for axis in range(places.shape[1])]
    return np.lexsort([np.arange(len(places)), *reversed(keys)])
