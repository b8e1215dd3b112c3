"""Sampling at two fidelities: most cells are evaluated approximately, a few both ways, to know how far that is off.

Scores of *low* fidelity are cheaper: boxes are cropped, and gates by the whole map keep the unmodified image's values.
They are sampled as exact ones are (:class:`Progressive`).  *Pairs* of close cells are evaluated exactly too.  A
straight line through these pairs corrects the low scores; what it leaves is the error of fidelity.

That error is smooth: occluding a part of the image shifts the scores all about it alike.  SSIM compares windows and
sees hardly anything of an error that is the same all over a window, so that what counts is how much it varies in one:
by the pairs, half the mean square of the difference between the errors of two cells, their semivariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray
from kdb.sampling.progressive import FEW, LEAST_UNCERTAINTY, Z_SCORE, Goal, Progressive
from kdb.sampling.quality import lowest_ssim
from kdb.sampling.similarity import WINDOW
from kdb.sampling.strategy import Estimate, Scores

PAIRS = 32
"""Of cells that are evaluated both ways, at most."""


class MultiFidelity:
    """The strategy of one map of ``rows`` x ``columns`` cells; arguments are those of :class:`Progressive`."""

    def __init__(self, rows: int, columns: int, goal: Goal, important: int, seed: int = 0) -> None:
        self._shape, self._goal = (rows, columns), goal
        self._low = Progressive(rows, columns, Goal(None, refine=goal.refine), important, seed)
        self._exact = Progressive(rows, columns, goal, important, seed)
        self._pairs = _pairs(self._low, (rows, columns), np.random.default_rng(seed))
        self._true: Scores | None = None
        self._fit: _Line | None = None
        self._known = np.zeros(rows * columns, bool)
        """Evaluated exactly."""
        self._rounds = 0
        self._given_up = False
        self.low_fidelity = True
        """Whether the cells that were proposed last are to be evaluated approximately."""

    @property
    def note(self) -> str:
        """How it begins, and what may become of it."""
        return (
            f"evaluated approximately as below, {len(np.unique(self._pairs))} positions exactly too, for the error "
            f"that this brings; {self._low.note}"
        )

    def propose(self) -> IntArray:
        """Low cells; the pairs; then low cells as long as they can be good enough, after that exact ones."""
        self._rounds += 1
        self.low_fidelity = False
        if self._rounds == 2:
            return np.unique(self._pairs)
        if self._rounds > 2 and not self._given_up:
            if self._reaches(self._ssim(self._z_score)):
                likely = self._low.important()
                return likely[~self._known[likely]]
            self._given_up = not self._reaches(self._ssim(self._z_score, complete=True))
        if not self._given_up:
            cells = self._low.propose()
            self._given_up = not len(cells)
            self.low_fidelity = not self._given_up
        return self._left_of_exact() if self._given_up else cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep them with their fidelity."""
        self._fit = None
        if self.low_fidelity:
            self._low.take(cells, scores)
            return
        if self._true is None:
            self._true = np.full((len(scores), len(self._known)), np.nan)
        self._true[:, cells] = scores
        self._known[cells] = np.isfinite(scores).all(axis=0)
        if self._given_up:
            self._exact.take(cells, scores)

    def estimate(self) -> Estimate:
        """The corrected map, with what is exact where that is known; the exact strategy's own once it has begun."""
        if self._given_up and self._exact.begun:
            return self._exact.estimate()
        if self._line is None:
            return Estimate(self._low.values, self._known.copy())
        variances = self._variances(0.0, self._line.variance)
        error = None if variances is None else np.sqrt(variances)
        return Estimate(self._values, self._known.copy(), error, self._ssim(0.0), self._ssim(Z_SCORE))

    @property
    def _z_score(self) -> float:
        return Z_SCORE if self._goal.guaranteed else 0.0

    def _reaches(self, ssim: float | None) -> bool:
        return self._goal.ssim is not None and ssim is not None and ssim >= self._goal.ssim

    def _left_of_exact(self) -> IntArray:
        """What the exact strategy proposes and is not known yet."""
        while True:
            cells = self._exact.propose()
            known = cells[self._known[cells]]
            if len(known):
                assert self._true is not None
                self._exact.take(known, self._true[:, known])
            if len(known) < len(cells) or not len(cells):
                return cells[~self._known[cells]]

    @property
    def _line(self) -> _Line | None:
        """From low scores to exact ones; None before enough pairs are known."""
        if self._fit is None and self._true is not None and self._low.begun:
            pairs = self._pairs[self._known[self._pairs].all(axis=1)]
            if len(pairs) >= FEW:
                self._fit = _Line.through(self._low.values[:, pairs], self._true[:, pairs])
        return self._fit

    @property
    def _values(self) -> Scores:
        assert self._line is not None and self._true is not None
        corrected = self._line.slope[:, None] * self._low.values + self._line.offset[:, None]
        return np.where(self._known, self._true, corrected)

    def _variances(self, z_score: float, fidelity: NDArray[np.float64], complete: bool = False) -> Scores | None:
        """Of the errors, [classes, n], at ``sure`` standard errors above what is expected.

        ``fidelity`` [classes] is the variance of its error; ``complete`` supposes that all cells are evaluated.
        """
        line, sampled = self._line, np.zeros_like(self._values) if complete else self._low.variances(0.0)
        if line is None or sampled is None:
            return None
        sampled = line.slope[:, None] ** 2 * sampled
        expected = sampled + fidelity[:, None]
        # The two are independent, and so are the uncertainties about them.
        uncertainty = np.hypot(sampled * self._low.uncertainty[:, None], (fidelity * line.uncertainty)[:, None])
        raised = expected * np.exp(z_score * uncertainty / np.maximum(expected, 1e-300))
        return np.where(self._known, 0.0, raised)

    def _ssim(self, z_score: float, complete: bool = False) -> float | None:
        if self._line is None:
            return None
        variances = self._variances(z_score, self._line.semivariance, complete)
        return None if variances is None else lowest_ssim(self._values, variances, self._shape)


def _pairs(strategy: Progressive, shape: tuple[int, int], rng: np.random.Generator) -> IntArray:
    """Held-out samples, each with a cell of the coarsest lattice in one window with it: [pairs, 2]."""
    anchors = rng.permutation(strategy.held_out)[:PAIRS]
    place = np.stack(np.divmod(strategy.coarsest, shape[1]), axis=1)
    partners = []
    for anchor in anchors:
        away = np.abs(place - np.array(divmod(int(anchor), shape[1]))).max(axis=1)
        near = np.flatnonzero(away <= max(WINDOW // 2, int(away.min())))
        partners.append(strategy.coarsest[rng.choice(near)])
    return np.stack([anchors, np.array(partners, np.int64)], axis=1)


@dataclass(frozen=True, eq=False)
class _Line:
    """``slope`` x + ``offset`` of each class, [classes], by least squares.

    What it leaves has ``variance``, and within a window ``semivariance``; ``uncertainty`` is the standard deviation of
    the semivariance's logarithm.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    variance: NDArray[np.float64]
    semivariance: NDArray[np.float64]
    uncertainty: NDArray[np.float64]

    @classmethod
    def through(cls, x: Scores, y: Scores) -> _Line:
        """The line through pairs [classes, pairs, 2]; where x does not vary it is level."""
        centre = x - x.mean(axis=(1, 2), keepdims=True)
        spread = (centre**2).sum(axis=(1, 2))
        slope = (centre * y).sum(axis=(1, 2)) / np.where(spread > 0, spread, 1.0)
        offset = y.mean(axis=(1, 2)) - slope * x.mean(axis=(1, 2))
        left = y - slope[:, None, None] * x - offset[:, None, None]
        variance = (left**2).sum(axis=(1, 2)) / (2 * x.shape[1] - 2)
        apart = (left[..., 0] - left[..., 1]) ** 2 / 2
        semivariance = apart.mean(axis=1)
        misfit = apart.std(axis=1) / np.sqrt(x.shape[1]) / np.maximum(semivariance, 1e-300)
        return cls(
            slope, offset, variance, semivariance, np.maximum(misfit, LEAST_UNCERTAINTY / np.sqrt(2 * x.shape[1]))
        )
