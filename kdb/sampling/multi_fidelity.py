"""Sampling at two fidelities: most cells are evaluated approximately, a few at both fidelities to measure the error.

Scores of *low* fidelity are cheaper: boxes are cropped, and gates computed from a whole layer keep their values on the
unmodified image (frozen context).  They are sampled in the same way as exact scores (:class:`Progressive`).  *Paired
samples*, pairs of neighbouring cells, are evaluated exactly too.  A straight line fitted to them maps low scores to
exact ones; its residual is the error of low fidelity.

That error is smooth: an occlusion shifts the low scores of neighbouring cells alike.  SSIM compares windows and is
hardly affected by an error that is constant within a window.  What counts is how much the error varies within one: its
semivariance, half the mean squared difference between the errors of the two cells of a pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray, Size
from kdb.results.similarity import WINDOW
from kdb.sampling.progressive import MIN_SAMPLE_UNCERTAINTY, MIN_SAMPLES, Z_SCORE, Goal, Progressive
from kdb.sampling.quality import lowest_ssim
from kdb.sampling.strategy import Estimate, Scores

PAIRS = 32
"""Pairs of cells that are evaluated at both fidelities, at first, and each time that they say too little."""
MOST_PAIRS = 0.1
"""Pairs for each cell of the map, from which on there are no more: exact sampling would cost less."""


class MultiFidelity:
    """Progressive sampling of one heat map at low fidelity, corrected by paired samples.

    Falls back to exact progressive sampling if low fidelity cannot reach the goal.  Arguments are those of
    :class:`Progressive`.
    """

    adapts = True

    def __init__(self, shape: Size, goal: Goal, important: int, seed: int = 0, together: int = 1) -> None:
        self._shape, self._goal = shape, goal
        self._low = Progressive(shape, goal, important, seed, together)
        self._exact = Progressive(shape, goal, important, seed, together)
        self._all_pairs = _pairs(self._low, shape, np.random.default_rng(seed))
        self._drawn = PAIRS
        self._true: Scores | None = None
        self._fitted_line: _Line | None = None
        self._known = np.zeros(math.prod(shape), bool)
        """The cells that are evaluated exactly."""
        self._rounds = 0
        self._exact_only = False
        self.low_fidelity = True
        """Whether the cells proposed last may be evaluated approximately."""

    @property
    def note(self) -> str:
        """The low-fidelity sampling and the paired samples, for EXPLAIN."""
        return (
            f"evaluated approximately as below, {len(np.unique(self._pairs))} positions exactly too, to measure the "
            f"error of low fidelity; {self._low.note}"
        )

    def propose(self) -> IntArray:
        """The cells of the next round; :attr:`low_fidelity` says how to evaluate them.

        First a round at low fidelity, then the paired samples exactly, then rounds at low fidelity while these can
        still reach the goal.  Where that is expected but not sure, there are more pairs.  Once the goal is reached, the
        important cells are evaluated exactly; if it cannot be, exact sampling starts, and cells already known exactly
        are not proposed again.
        """
        self._rounds += 1
        self.low_fidelity = False
        if self._rounds == 2:
            return np.unique(self._pairs)
        if not self._exact_only:
            z_score = self._goal.z_score
            now, most = self._ssim(z_score), self._ssim(z_score, complete=True)
            if self._rounds > 2:
                if self._goal.reached(now):
                    likely = self._low.important()
                    return likely[~self._known[likely]]
                if not self._goal.reached(most):
                    more = self._more_pairs()
                    if len(more):
                        return more
                    self._exact_only = True
        if not self._exact_only:
            cells = self._low.propose_towards(self._goal.ssim, now, most or 1.0)
            self._exact_only = not len(cells)
            self.low_fidelity = not self._exact_only
        return self._exact_cells() if self._exact_only else cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Store the scores at the fidelity of the last proposal; see :meth:`kdb.sampling.strategy.Strategy.take`."""
        self._fitted_line = None
        if self.low_fidelity:
            self._low.take(cells, scores)
            return
        if self._true is None:
            self._true = np.full((len(scores), len(self._known)), np.nan)
        self._true[:, cells] = scores
        self._known[cells] = np.isfinite(scores).all(axis=0)
        if self._exact_only:
            self._exact.take(cells, scores)

    def estimate(self) -> Estimate:
        """Low scores corrected by the line, and exact scores where known.

        Once exact sampling has begun, its own estimate.
        """
        if self._exact_only and self._exact.begun:
            return self._exact.estimate()
        if self._line is None:
            return Estimate(self._low.values, self._known.copy())
        variances = self._variances(0.0, self._line.variance)
        error = None if variances is None else np.sqrt(variances)
        return Estimate(self._values, self._known.copy(), error, self._ssim(0.0), self._ssim(Z_SCORE))

    def _more_pairs(self) -> IntArray:
        """The cells of more pairs, which make the error of low fidelity surer; none where that would not help."""
        count = min(self._drawn + PAIRS, len(self._all_pairs), int(MOST_PAIRS * len(self._known)))
        if count <= self._drawn or not self._goal.reached(self._ssim(0.0, complete=True)):
            return np.zeros(0, np.int64)
        self._drawn = count
        cells = np.unique(self._pairs)
        return cells[~self._known[cells]]

    @property
    def _pairs(self) -> IntArray:
        """The pairs drawn so far, int64 [pairs, 2]."""
        return self._all_pairs[: self._drawn]

    def _exact_cells(self) -> IntArray:
        """The next cells of exact sampling that are not known yet; it receives those that are."""
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
        """The line from low scores to exact ones; None before enough pairs are known."""
        if self._fitted_line is None and self._true is not None and self._low.begun:
            pairs = self._pairs[self._known[self._pairs].all(axis=1)]
            if len(pairs) >= MIN_SAMPLES:
                self._fitted_line = _Line.fit(self._low.values[:, pairs], self._true[:, pairs])
        return self._fitted_line

    @property
    def _values(self) -> Scores:
        """Exact scores where known, corrected low scores elsewhere: float64 [classes, n]."""
        assert self._line is not None and self._true is not None
        corrected = self._line.slope[:, None] * self._low.values + self._line.offset[:, None]
        return np.where(self._known, self._true, corrected)

    def _variances(self, z_score: float, fidelity: NDArray[np.float64], complete: bool = False) -> Scores | None:
        """Variances of the errors of :attr:`_values`, float64 [classes, n]; None if unknown.

        Args:
            z_score: raises the variances by so many times their uncertainty.
            fidelity: float64 [classes], the variance or semivariance of the error of low fidelity.
            complete: assume that all cells are evaluated at low fidelity, so that none is interpolated.
        """
        line, sampled = self._line, np.zeros_like(self._values) if complete else self._low.variances(0.0)
        if line is None or sampled is None:
            return None
        sampled = line.slope[:, None] ** 2 * sampled
        expected = sampled + fidelity[:, None]
        # The errors of interpolation and of fidelity are independent, and so are their uncertainties.
        uncertainty = np.hypot(sampled * self._low.uncertainty[:, None], (fidelity * line.uncertainty)[:, None])
        raised = expected * np.exp(z_score * uncertainty / np.maximum(expected, 1e-300))
        return np.where(self._known, 0.0, raised)

    def _ssim(self, z_score: float, complete: bool = False) -> float | None:
        """The expected SSIM, lowered by ``z_score``; None if unknown.  Arguments are those of :meth:`_variances`."""
        if self._line is None:
            return None
        variances = self._variances(z_score, self._line.semivariance, complete)
        return None if variances is None else lowest_ssim(self._values, variances, self._shape)


def _pairs(strategy: Progressive, shape: Size, rng: np.random.Generator) -> IntArray:
    """Pairs of cells of the first round, in the order in which they are drawn: int64 [pairs, 2], indices of cells.

    A pair is a held-out sample, or once there are no more a cell of the coarsest lattice, with a random other cell of
    that lattice in the same window of SSIM.  ``shape`` has the cells along each axis.
    """
    anchors = np.concatenate([rng.permutation(strategy.held_out), rng.permutation(strategy.coarsest)])
    lattice_cells = np.stack(np.unravel_index(strategy.coarsest, shape), axis=1)
    partners = []
    for anchor in anchors:
        distance = np.abs(lattice_cells - np.array(np.unravel_index(anchor, shape))).max(axis=1)
        others = distance > 0
        near = np.flatnonzero(others & (distance <= max(WINDOW // 2, int(distance[others].min()))))
        partners.append(strategy.coarsest[rng.choice(near)])
    return np.stack([anchors, np.array(partners, np.int64)], axis=1)


@dataclass(frozen=True, eq=False)
class _Line:
    """A straight line for each class by least squares, ``slope x + offset``; all arrays are float64 [classes].

    ``variance`` is that of its residuals, ``semivariance`` half the mean squared difference between the two residuals
    of a pair, ``uncertainty`` the standard deviation of the logarithm of the semivariance.
    """

    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    variance: NDArray[np.float64]
    semivariance: NDArray[np.float64]
    uncertainty: NDArray[np.float64]

    @classmethod
    def fit(cls, x: Scores, y: Scores) -> _Line:
        """The line through paired samples ``x`` and ``y`` [classes, pairs, 2]; level if x does not vary."""
        centre = x - x.mean(axis=(1, 2), keepdims=True)
        spread = (centre**2).sum(axis=(1, 2))
        slope = (centre * y).sum(axis=(1, 2)) / np.where(spread > 0, spread, 1.0)
        offset = y.mean(axis=(1, 2)) - slope * x.mean(axis=(1, 2))
        residual = y - slope[:, None, None] * x - offset[:, None, None]
        variance = (residual**2).sum(axis=(1, 2)) / (2 * x.shape[1] - 2)
        halved = (residual[..., 0] - residual[..., 1]) ** 2 / 2
        semivariance = halved.mean(axis=1)
        standard_error = halved.std(axis=1) / np.sqrt(x.shape[1]) / np.maximum(semivariance, 1e-300)
        uncertainty = np.maximum(standard_error, MIN_SAMPLE_UNCERTAINTY / np.sqrt(2 * x.shape[1]))
        return cls(slope, offset, variance, semivariance, uncertainty)
