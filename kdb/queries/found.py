"""What a round finds of its positions: the numbers that scores are made of, in memory of the size of the map itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from kdb.errors import ExecutionError
from kdb.geometry import IntArray
from kdb.kernels.base import Array
from kdb.queries.scoring import Scorer, log_sums


class Found:
    """Of each of a plan's ``positions`` int64 [n, 2] the logits of the scorer's classes; NaN where nothing is yet.

    logits      float32 [classes, n]
    sums        float64 [n], as of :func:`kdb.queries.scoring.log_sums`; None where scores are not made of them
    evaluated   bool [n]
    """

    def __init__(self, scorer: Scorer, positions: IntArray) -> None:
        self._scorer, self._positions = scorer, positions
        self.logits = np.full((len(scorer.classes), len(positions)), np.nan, np.float32)
        self.sums = np.full(len(positions), np.nan) if scorer.has_sums else None
        self.evaluated = np.zeros(len(positions), bool)

    def take(self, members: IntArray, logits: Array) -> None:
        """The sink of an execution; raises ExecutionError where logits are not finite."""
        refuse_infinite(logits, self._positions[members])
        self.logits[:, members] = self._scorer.numbers(logits)
        if self.sums is not None:
            self.sums[members] = log_sums(np.asarray(logits, np.float64))
        self.evaluated[members] = True

    def at(self, positions: IntArray) -> Found:
        """What was found at some of the positions, by their indices [k], which may repeat."""
        found = Found(self._scorer, self._positions[:0])
        found.logits, found.evaluated = self.logits[:, positions], self.evaluated[positions]
        found.sums = None if self.sums is None else self.sums[positions]
        return found

    @property
    def rows(self) -> list[npt.NDArray[np.floating]]:
        """The numbers that scores are made of, [n] each: see :meth:`kdb.queries.scoring.Scorer.rows`."""
        return [*self.logits, *([] if self.sums is None else [self.sums])]

    def scores(self) -> npt.NDArray[np.float64]:
        """The scores [classes, n]."""
        return np.stack([self._scorer.score(i, logits, self.sums) for i, logits in enumerate(self.logits)])

    def into_scores(self) -> npt.NDArray[np.float32]:
        """The scores [classes, n] in the memory of the logits, which are no more."""
        for i, logits in enumerate(self.logits):
            logits[:] = self._scorer.score(i, logits, self.sums)
        return self.logits


def refuse_infinite(logits: Array, positions: IntArray | None = None) -> None:
    """Raise ExecutionError where ``logits`` [n, K] are not finite; ``positions`` [n, 2], None for no patch."""
    finite = np.isfinite(logits).all(axis=1)
    if finite.all():
        return
    if positions is None:
        raise ExecutionError("the model's output for the unmodified image is not finite (NaN or infinity)")
    where = ", ".join(map(str, positions[~finite][0].tolist()))
    raise ExecutionError(f"the output for the patch at ({where}) is not finite (NaN or infinity)")
