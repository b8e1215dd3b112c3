"""Sampling with held context: most cells are evaluated cheaply, a few both ways, to know how far that leads astray.

Cheap scores are those of a network whose gates by the whole map keep the unmodified image's values.  They are sampled
as exact ones are.  *Pairs*, some of the audits, are evaluated exactly too; by them a straight line corrects the cheap
scores, and what it leaves is an error that every cell has which is not evaluated exactly.  Where that alone is too
much, the exact map is sampled instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray
from kdb.sampling.course import Estimate, Scores
from kdb.sampling.progressive import FEW, LEAST_DOUBT, SURE, Goal, Progressive
from kdb.sampling.quality import lowest_ssim

PAIRS = 64
"""Audits that are evaluated both ways, at most."""


class Held:
    """The course of one map of ``rows`` x ``columns`` cells; arguments are those of :class:`Progressive`."""

    def __init__(self, rows: int, columns: int, goal: Goal, important: int, seed: int = 0) -> None:
        self._shape, self._goal = (rows, columns), goal
        self._cheap = Progressive(rows, columns, Goal(None, refine=goal.refine), important, seed)
        self._exact = Progressive(rows, columns, goal, important, seed)
        audits = self._cheap.audits
        self._pairs = np.sort(np.random.default_rng(seed).permutation(audits)[:PAIRS])
        self._true: Scores | None = None
        self._known = np.zeros(rows * columns, bool)
        """Evaluated exactly."""
        self._proposed = 0
        self._given_up = False
        self.hold = True
        """Whether the cells proposed last are to be evaluated with held context."""

    @property
    def note(self) -> str:
        """How it begins, and what may become of it."""
        return (
            f"gates by the whole map held, {len(self._pairs)} positions evaluated without that too, for the error that "
            f"it brings; {self._cheap.note}"
        )

    def propose(self) -> IntArray:
        """Cheap cells; the pairs; then cheap cells as long as they can be good enough, after that exact ones."""
        self._proposed += 1
        self.hold = False
        if self._proposed == 2:
            return self._pairs
        if self._proposed > 2 and not self._given_up:
            if self._reaches(self._ssim(self._sure)):
                return self._to_refine()
            self._given_up = not self._reaches(self._ssim(self._sure, complete=True))
        if not self._given_up:
            cells = self._cheap.propose()
            self.hold, self._given_up = True, not len(cells)
        return self._left_of_exact() if self._given_up else cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep them with their kind."""
        if self.hold:
            self._cheap.take(cells, scores)
            return
        if self._true is None:
            self._true = np.full((len(scores), len(self._known)), np.nan)
        self._true[:, cells] = scores
        self._known[cells] = np.isfinite(scores).all(axis=0)
        if self._given_up:
            self._exact.take(cells, scores)

    def estimate(self) -> Estimate:
        """The corrected map, with what is exact where that is known; the exact course's own once it has begun."""
        if self._given_up and self._exact.begun:
            return self._exact.estimate()
        cheap, line = self._cheap.estimate(), self._line
        if line is None:
            return Estimate(cheap.values, self._known.copy())
        variances = self._variances(0.0)
        error = None if variances is None else np.sqrt(variances)
        return Estimate(self._values, self._known.copy(), error, self._ssim(0.0), self._ssim(SURE))

    @property
    def _sure(self) -> float:
        return SURE if self._goal.guaranteed else 0.0

    def _reaches(self, ssim: float | None) -> bool:
        return self._goal.ssim is not None and ssim is not None and ssim >= self._goal.ssim

    def _left_of_exact(self) -> IntArray:
        """What the exact course proposes and is not known yet."""
        while True:
            cells = self._exact.propose()
            known = cells[self._known[cells]]
            if len(known):
                assert self._true is not None
                self._exact.take(known, self._true[:, known])
            if len(known) < len(cells) or not len(cells):
                return cells[~self._known[cells]]

    def _to_refine(self) -> IntArray:
        """Cells that may belong to the most important ones, to be evaluated exactly."""
        cells = self._cheap.important()
        return cells[~self._known[cells]]

    @property
    def _line(self) -> _Line | None:
        """From cheap scores to exact ones; None before enough pairs are there."""
        pairs = self._pairs[self._known[self._pairs]]
        if self._true is None or len(pairs) < FEW or not self._cheap.begun:
            return None
        return _Line.through(self._cheap.estimate().values[:, pairs], self._true[:, pairs])

    @property
    def _values(self) -> Scores:
        assert self._line is not None and self._true is not None
        corrected = self._line.slope[:, None] * self._cheap.estimate().values + self._line.offset[:, None]
        return np.where(self._known, self._true, corrected)

    def _variances(self, sure: float, complete: bool = False) -> Scores | None:
        """Of the errors, [classes, n], at ``sure`` standard errors above what is expected.

        ``complete`` supposes that all cells are evaluated cheaply.
        """
        line = self._line
        sampled = 0.0 if complete else self._cheap.variances(sure)
        if line is None or sampled is None:
            return None
        held = line.variance * np.exp(sure * line.doubt)
        return np.where(self._known, 0.0, line.slope[:, None] ** 2 * sampled + held[:, None])

    def _ssim(self, sure: float, complete: bool = False) -> float | None:
        variances = self._variances(sure, complete)
        return None if variances is None else lowest_ssim(self._values, variances, self._shape)


@dataclass(frozen=True, eq=False)
class _Line:
    """``slope`` x + ``offset`` of each class, [classes], by least squares.

    ``variance`` is that of what it leaves, ``doubt`` the standard deviation of that one's logarithm.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    variance: NDArray[np.float64]
    doubt: NDArray[np.float64]

    @classmethod
    def through(cls, x: Scores, y: Scores) -> _Line:
        """The line through pairs [classes, m]; where x does not vary it is level."""
        centre = x - x.mean(axis=1, keepdims=True)
        spread = (centre**2).sum(axis=1)
        slope = (centre * y).sum(axis=1) / np.where(spread > 0, spread, 1.0)
        offset = y.mean(axis=1) - slope * x.mean(axis=1)
        left = (y - slope[:, None] * x - offset[:, None]) ** 2
        variance = left.sum(axis=1) / (x.shape[1] - 2)
        misfit = left.std(axis=1) / np.sqrt(x.shape[1]) / np.maximum(left.mean(axis=1), 1e-300)
        return cls(slope, offset, variance, np.maximum(misfit, LEAST_DOUBT))
