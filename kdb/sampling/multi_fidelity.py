"""Sampling at two fidelities: most cells are evaluated approximately, a few at both fidelities to measure the error.

Scores of *low* fidelity are cheaper.  Gates computed from a whole layer follow it in the boxes that are computed, and
to first order outside of them (live); or they keep their values on the unmodified image, in cropped boxes (frozen).
They are sampled in the same way as exact scores (:class:`Progressive`).  *Paired samples*, pairs of neighbouring cells,
are evaluated exactly too.  A straight line fitted to them maps low scores to exact ones; its residual is the error of
low fidelity.

That error is smooth: an occlusion shifts the low scores of neighbouring cells alike.  SSIM compares windows and is
hardly affected by an error that is constant within a window.  What counts is how much the error varies within one: its
semivariance, half the mean squared difference between the errors of the two cells of a pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import IntArray, Size
from kdb.results.similarity import WINDOW
from kdb.sampling.progressive import MIN_SAMPLE_UNCERTAINTY, MIN_SAMPLES, Z_SCORE, Goal, Progressive
from kdb.sampling.quality import lowest_ssim
from kdb.sampling.strategy import Estimate, Fidelity, Scores

PAIRS = 32
"""Pairs of cells that are evaluated at both fidelities, at first, and each time that they say too little."""
MOST_PAIRS = 0.1
"""Pairs for each cell of the map, from which on there are no more: exact sampling would cost less."""


class MultiFidelity:
    """Progressive sampling of one heat map at low fidelity, corrected by paired samples.

    Where one low fidelity cannot reach the goal, the next is tried on the paired samples, and taken if its errors vary
    less; where none can, exact progressive sampling goes on.  ``fidelities`` are the low ones, best first; the other
    arguments are those of :class:`Progressive`.
    """

    adapts = True

    def __init__(
        self,
        shape: Size,
        goal: Goal,
        important: int,
        seed: int = 0,
        together: int = 1,
        fidelities: Sequence[Fidelity] = (Fidelity.FROZEN,),
    ) -> None:
        def sampled() -> _Sampled:
            return _Sampled(Progressive(shape, goal, important, seed, together), math.prod(shape))

        self._shape, self._goal = shape, goal
        self._lows = {fidelity: sampled() for fidelity in fidelities}
        self._untried = list(fidelities[1:])
        self._fidelity = fidelities[0]
        self._exact = sampled()
        self._all_pairs = _pairs(self._low, shape, np.random.default_rng(seed))
        self._drawn = PAIRS
        self._fitted_line: _Line | None = None
        self._rounds = 0
        self._trial: Fidelity | None = None
        self._exact_only = False
        self.fidelity = self._fidelity
        """How the cells proposed last may be evaluated."""

    @property
    def note(self) -> str:
        """The low-fidelity sampling and the paired samples, for EXPLAIN."""
        return (
            f"evaluated approximately as below, {len(np.unique(self._pairs))} positions exactly too, to measure the "
            f"error of low fidelity; {self._low.note}"
        )

    @property
    def _low(self) -> Progressive:
        """The sampling at the low fidelity that was chosen."""
        return self._lows[self._fidelity].strategy

    @property
    def _known(self) -> NDArray[np.bool_]:
        """The cells that are evaluated exactly, [n]."""
        return self._exact.known

    def propose(self) -> IntArray:
        """The cells of the next round; :attr:`fidelity` says how to evaluate them.

        First a round at low fidelity, then the paired samples exactly, then rounds at low fidelity while these can
        still reach the goal.  Where that is expected but not sure, there are more pairs.  Once the goal is reached, the
        important cells are evaluated exactly.  If it cannot be, the paired samples are evaluated at the next low
        fidelity, which goes on if it is better; after the last exact sampling starts.  Cells that are known at a
        fidelity are not proposed again.
        """
        self._rounds += 1
        if self._rounds == 2:
            return self._at(Fidelity.EXACT, np.unique(self._pairs))
        now = most = None
        if self._trial is not None:
            self._take_better(self._trial)
        elif not self._exact_only and self._low.begun:
            now, most = (self._ssim(self._goal.z_score, complete) for complete in (False, True))
            if self._goal.reached(now):
                likely = self._low.important()
                return self._at(Fidelity.EXACT, likely[~self._known[likely]])
            if not self._goal.reached(most):
                more = self._more_pairs()
                return self._at(Fidelity.EXACT, more) if len(more) else self._other()
        return self._next(now, most)

    def _at(self, fidelity: Fidelity, cells: IntArray) -> IntArray:
        self.fidelity = fidelity
        return cells

    def _next(self, now: float | None = None, most: float | None = None) -> IntArray:
        """The next cells at the fidelity that was chosen, or exactly once these are all.

        ``now`` is the SSIM reached, ``most`` the one that all cells would reach at that fidelity.
        """
        if not self._exact_only:
            low, target = self._lows[self._fidelity], self._goal.ssim
            cells = low.propose(lambda: low.strategy.propose_towards(target, now, 1.0 if most is None else most))
            if len(cells):
                return self._at(self._fidelity, cells)
            self._exact_only = True
        return self._at(Fidelity.EXACT, self._exact.propose(self._exact.strategy.propose))

    def _other(self) -> IntArray:
        """The paired samples at the low fidelity that is tried next; exact cells where none is left."""
        if not self._untried:
            self._exact_only = True
            return self._next()
        self._trial = self._untried.pop(0)
        return self._at(self._trial, np.unique(self._pairs))

    def _take_better(self, trial: Fidelity) -> None:
        """Go on with ``trial`` if by the paired samples its errors vary less, for every class; exactly if not."""
        self._trial = None
        now, then = self._line, self._line_of(self._lows[trial])
        if now is None or then is None or (then.semivariance >= now.semivariance).any():
            self._exact_only = not self._untried
            return
        self._fidelity, self._fitted_line = trial, None

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Store the scores at the fidelity of the last proposal; see :meth:`kdb.sampling.strategy.Strategy.take`."""
        self._fitted_line = None
        if self.fidelity is Fidelity.EXACT:
            self._exact.take(cells, scores, hand_on=self._exact_only)
        else:
            self._lows[self.fidelity].take(cells, scores, hand_on=self._trial is None)

    def estimate(self) -> Estimate:
        """Low scores corrected by the line, and exact scores where known.

        Once exact sampling has begun, its own estimate.
        """
        if self._exact_only and self._exact.strategy.begun:
            return self._exact.strategy.estimate()
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

    @property
    def _line(self) -> _Line | None:
        """The line from low scores to exact ones; None before enough pairs are known."""
        if self._fitted_line is None and self._low.begun:
            self._fitted_line = self._line_of(self._lows[self._fidelity])
        return self._fitted_line

    def _line_of(self, low: _Sampled) -> _Line | None:
        """The line from the scores at a low fidelity; None where too few pairs are known."""
        pairs = self._pairs[(self._known & low.known)[self._pairs].all(axis=1)]
        if len(pairs) < MIN_SAMPLES or self._exact.scores is None or low.scores is None:
            return None
        return _Line.fit(low.scores[:, pairs], self._exact.scores[:, pairs])

    @property
    def _values(self) -> Scores:
        """Exact scores where known, corrected low scores elsewhere: float64 [classes, n]."""
        assert self._line is not None and self._exact.scores is not None
        corrected = self._line.slope[:, None] * self._low.values + self._line.offset[:, None]
        return np.where(self._known, self._exact.scores, corrected)

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


class _Sampled:
    """A ``strategy`` on n ``cells``, and scores that may be known before it proposes their cells.

    known   bool [n]
    scores  float64 [classes, n], NaN where unknown; None before there are any
    """

    def __init__(self, strategy: Progressive, cells: int) -> None:
        self.strategy = strategy
        self.known = np.zeros(cells, bool)
        self.scores: Scores | None = None

    def take(self, cells: IntArray, scores: Scores, hand_on: bool) -> None:
        """Note scores, and ``hand_on`` those of cells that the strategy proposed."""
        if self.scores is None:
            self.scores = np.full((len(scores), len(self.known)), np.nan)
        self.scores[:, cells] = scores
        self.known[cells] = np.isfinite(scores).all(axis=0)
        if hand_on:
            self.strategy.take(cells, scores)

    def propose(self, propose: Callable[[], IntArray]) -> IntArray:
        """The next cells that the strategy is asked to ``propose``, but for those known; it receives these."""
        while True:
            cells = propose()
            known = cells[self.known[cells]]
            if len(known) and self.scores is not None:
                self.strategy.take(known, self.scores[:, known])
            if len(known) < len(cells) or not len(cells):
                return cells[~self.known[cells]]


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
