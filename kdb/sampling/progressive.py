"""Progressive sampling: evaluate nested lattices, coarse to fine and rough regions first, until the map is good enough.

Cells that are not evaluated are predicted by kriging, and their errors are estimated in three steps:

1. The *residual* of a cell is the difference between its score and its prediction just before it was evaluated.
2. The local roughness of the map is the mean of squared residuals, each divided by its kriging variance to the power
   VARIANCE_EXPONENT, under a Gaussian kernel.  The expected squared error of a cell is this roughness times its present
   kriging variance to that power.
3. *Held-out samples*, random cells that are evaluated in the first round but not used for prediction, have the errors
   of cells that are not evaluated.  They correct the scale of the estimated errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kdb.geometry import IntArray, Size
from kdb.results.similarity import WINDOW
from kdb.sampling import kriging, lattice
from kdb.sampling.quality import expected_ssims
from kdb.sampling.strategy import Estimate, Fidelity, Scores

SMOOTHING = 2.5
"""Standard deviation, in cells, of the Gaussian kernel that smooths squared residuals."""
VARIANCE_EXPONENT = 0.5
"""Squared errors grow with the kriging variance to this power: heat maps are rougher than the cubic covariance says."""
RESIDUAL_UNCERTAINTY = 13.0
"""Uncertainty of error variances by residuals alone, times the square root of the number of cells.

The uncertainty of a variance is the standard deviation of its logarithm: .15 to .25 as measured on photographs, with
maps of 53 x 53 cells.
"""
MIN_SAMPLE_UNCERTAINTY = 2.4
"""Least uncertainty by held-out samples, times the square root of their number: errors are heavy-tailed."""
MIN_SAMPLES = 8
"""With fewer held-out or paired samples, their errors are not used."""
Z_SCORE = 1.645
"""Standard errors by which a guaranteed SSIM lies below the expected one: one map of twenty falls short of it."""
ROUNDS = 20
"""A round evaluates the number of cells divided by this, unless the goal says otherwise; as many are held out."""
LEAST_ROUNDS = 5
"""Where many workers evaluate many cells at a time, there are still about so many rounds."""
HASTE = 0.5
"""Share of the cells that may still be needed which a round evaluates: more of them evaluates too many in the end."""
MIN_HELD_OUT = 32
"""Least number of held-out samples: fewer do not reach the promised nineteen maps of twenty."""
RANK_MARGIN = 0.05
"""Share of the cells that are refined beyond the most important ones, since ranks are predicted."""
JUDGES = 16
"""Most classes by which a round is chosen, and the goal is taken for missed; it is reached by all classes."""


@dataclass(frozen=True)
class Goal:
    """When to stop evaluating.

    Attributes:
        ssim: the SSIM to the exact map to reach; None to evaluate all cells.
        guaranteed: reach it with the probability that Z_SCORE stands for, not just as an expected value.
        refine: the share of the cells, the most important ones, that are evaluated in any case.
        growing: make each round as large as all before it: where all cells are evaluated, many rounds cost time.
    """

    ssim: float | None = None
    guaranteed: bool = False
    refine: float = 0.0
    growing: bool = False

    @property
    def z_score(self) -> float:
        """Standard errors to subtract from the SSIM that is compared with the goal."""
        return Z_SCORE if self.guaranteed else 0.0

    def reached(self, ssim: float | None) -> bool:
        """Whether an SSIM is as large as the goal's."""
        return self.ssim is not None and ssim is not None and ssim >= self.ssim


class Progressive:
    """Progressive sampling of one heat map.

    Args:
        shape: of the heat map, cells along each of 1 to 3 axes, at least 2; for an SSIM, WINDOW or more along one.
        goal: when to stop.
        important: 1 if large scores are important, as those of a drop; -1 if small ones are.
        seed: of the choice of held-out samples.
        together: how many cells are evaluated at full speed, in batches that are full; rounds are multiples of it.
    """

    adapts = True
    fidelity = Fidelity.EXACT

    def __init__(self, shape: Size, goal: Goal, important: int, seed: int = 0, together: int = 1) -> None:
        self._shape, self._goal, self._important = shape, goal, important
        n = math.prod(shape)
        self._together = min(together, max(n // LEAST_ROUNDS, 1))
        self._cells = np.stack(np.unravel_index(np.arange(n), shape), axis=1)
        self._levels = lattice.levels(shape).reshape(-1)
        self._round = max(n // ROUNDS, 1)
        others = np.flatnonzero(self._levels > 0)
        held_out = min(max(self._round, MIN_HELD_OUT), len(others))
        chosen = np.random.default_rng(seed).choice(others, held_out, replace=False)
        self._held_out = np.zeros(n, bool)
        self._held_out[chosen] = True
        self._proposed = np.zeros(n, bool)
        self._fitted = np.zeros(n, bool)
        """The cells that predictions use: evaluated and not held out."""
        self._evaluated = np.zeros(n, bool)
        self._values: Scores | None = None
        self._residuals: Scores | None = None
        """Squared residuals over the kriging variance to the power VARIANCE_EXPONENT; NaN where there is none."""
        self._judges: IntArray = np.zeros(0, np.int64)
        """The classes by which rounds are chosen: all, or spread evenly until the goal has been missed by others."""
        self._state: _State | None = None
        self._judged_state: _State | None = None

    @property
    def note(self) -> str:
        """The size of the rounds, and when they end, for EXPLAIN."""
        goal, cells = self._goal, len(self._cells)
        first, held_out = int((self._held_out | (self._levels == 0)).sum()), int(self._held_out.sum())
        until = "all are evaluated, or the time is up"
        if goal.ssim is not None:
            until = f"an SSIM of {goal.ssim:g} is expected" + (" with 95% confidence" if goal.guaranteed else "")
        refined = f"; then the top {100 * goal.refine:g}%" if goal.refine else ""
        return (
            f"sampled, {first} of {cells:,} positions first as below, {held_out} of them held out to estimate errors, "
            f"then {self._rounds} where the expected error is largest, until {until}{refined}; the rest "
            "interpolated by kriging"
        )

    def propose(self) -> IntArray:
        """The cells of the next round.

        First the coarsest lattice and the held-out samples; then the roughest cells, of the coarsest levels first; once
        the goal is reached, the important cells; then none.
        """
        if self._proposed.any() and self._goal_reached():
            cells = self._to_refine()
            self._proposed[cells] = True
            return cells
        target = self._goal.ssim
        known = target is not None and self.begun
        return self.propose_towards(target, self._judged.ssim(self._goal.z_score) if known else None)

    def propose_towards(self, target: float | None, ssim: float | None, most: float = 1.0) -> IntArray:
        """The cells of the next round, whose size is chosen by how far the goal is.

        Args:
            target: the SSIM to reach; None to evaluate all cells.
            ssim: the one reached; None if unknown.
            most: the one that all cells would reach.
        """
        if not self._proposed.any():
            cells = np.flatnonzero(self._held_out | (self._levels == 0))
        elif target is None or ssim is None or most <= ssim:
            cells = self._roughest(int(self._proposed.sum()) if self._goal.growing else self._round)
        else:
            # SSIM grows by less and less as cells are evaluated, so that no more than its chord says are needed.
            needed = min((target - ssim) / (most - ssim), 1.0) * int((~self._proposed).sum())
            cells = self._roughest(max(int(HASTE * needed), self._round // 2))
        self._proposed[cells] = True
        return cells

    @property
    def _rounds(self) -> str:
        """How many cells later rounds have, for EXPLAIN."""
        if self._goal.growing:
            return "as many a round as in all before it"
        if self._goal.ssim is None:
            return f"{self._multiple(self._round)} a round"
        return f"{self._multiple(self._round // 2)} or more a round"

    def _multiple(self, cells: int) -> int:
        """At least so many cells, in full batches."""
        return max(-(-cells // self._together), 1) * self._together

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Store the scores and their residuals; a cell with a NaN score remains unevaluated.

        See :meth:`kdb.sampling.strategy.Strategy.take`.
        """
        reached = np.isfinite(scores).all(axis=0)
        cells, scores = cells[reached], scores[:, reached]
        if self._values is None:
            self._values = np.full((len(scores), len(self._cells)), np.nan)
            self._residuals = self._values.copy()
            self._judges = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), JUDGES)).astype(np.int64))
        assert self._residuals is not None
        fresh = cells[~self._held_out[cells]]
        if self.begun and len(fresh):
            state = self._now
            error = scores[:, ~self._held_out[cells]] - state.predicted(fresh)
            self._residuals[:, fresh] = error**2 / state.variance[fresh] ** VARIANCE_EXPONENT
        self._values[:, cells] = scores
        self._evaluated[cells] = self._fitted[fresh] = True
        self._state = self._judged_state = None

    def estimate(self) -> Estimate:
        """Predicted from all evaluated cells, held-out ones included; until :attr:`begun`, evaluated scores alone."""
        if self.begun:
            return self._now.estimate()
        values = np.full((1, len(self._cells)), np.nan) if self._values is None else self._values
        return Estimate(values, np.asarray(np.isfinite(values).all(axis=0)))

    @property
    def held_out(self) -> IntArray:
        """The held-out samples, int64 indices of cells."""
        return np.flatnonzero(self._held_out)

    @property
    def coarsest(self) -> IntArray:
        """The cells of the coarsest lattice, int64 indices."""
        return np.flatnonzero(self._levels == 0)

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Standard deviation of the logarithm of :meth:`variances`, float64 [classes]; only once :attr:`begun`."""
        return self._now.uncertainty

    @property
    def values(self) -> Scores:
        """The values of :meth:`estimate`, without its error and SSIM: float64 [classes, n]."""
        return self._now.values if self.begun else self.estimate().values

    def variances(self, z_score: float) -> Scores | None:
        """Variances of the values' errors, float64 [classes, n]; None if unknown.

        They are raised by ``z_score`` times their :attr:`uncertainty`; with 0 they are the expected ones.
        """
        return self._now.variances(z_score) if self.begun else None

    @property
    def begun(self) -> bool:
        """Whether the coarsest lattice is evaluated, so that no prediction extrapolates."""
        return bool(self._fitted[self._levels == 0].all())

    def _goal_reached(self) -> bool:
        target, z_score = self._goal.ssim, self._goal.z_score
        if target is None or not self._goal.reached(self._judged.ssim(z_score)):
            return False
        assert self._values is not None
        if len(self._judges) == len(self._values):
            return True
        each = self._now.ssims(z_score)
        assert each is not None, "it is known of the judges"
        if each.min() >= target:
            return True
        self._judges = np.sort(np.argsort(each, kind="stable")[:JUDGES])
        self._judged_state = None
        return False

    def _roughest(self, count: int) -> IntArray:
        """``count`` cells or a few more, of the coarsest levels first, in a level the largest expected error first."""
        left = np.flatnonzero(~self._proposed)
        order = np.lexsort((-self._judged.roughness[left], self._levels[left]))
        return left[order[: self._multiple(count)]]

    def _to_refine(self) -> IntArray:
        """The cells of :meth:`important` that have not been proposed yet."""
        likely = self.important()
        return likely[~self._proposed[likely]]

    def important(self) -> IntArray:
        """The predicted most important cells of every class, with a margin of RANK_MARGIN: int64 indices.

        Their number is the goal's ``refine``; without it there are none.
        """
        if not self._goal.refine:
            return np.zeros(0, np.int64)
        count = min(int(np.ceil((self._goal.refine + RANK_MARGIN) * len(self._cells))), len(self._cells))
        order = np.argsort(-self._important * self._now.estimate().values, axis=1, kind="stable")
        return np.unique(order[:, :count])

    @property
    def _now(self) -> _State:
        """Of all classes."""
        if self._state is None:
            assert self._values is not None and self._residuals is not None
            weights = _Weights(self._cells, self._fitted.copy(), self._evaluated.copy())
            self._state = _State(weights, self._shape, self._values, self._residuals, self._held_out)
        return self._state

    @property
    def _judged(self) -> _State:
        """Of the judges alone."""
        if self._judged_state is None:
            state = self._now
            several = len(self._judges) < state.classes
            self._judged_state = state.of(self._judges) if several else state
        return self._judged_state


class _Weights:
    """How cells are predicted from others, which depends on their positions alone; computed when first read.

    ``cells`` int64 [n, axes] are the coordinates of all cells, ``fitted`` and ``evaluated`` are bool [n].
    """

    def __init__(self, cells: IntArray, fitted: NDArray[np.bool_], evaluated: NDArray[np.bool_]) -> None:
        self._cells, self.fitted, self.evaluated = cells, fitted, evaluated

    @cached_property
    def from_fitted(self) -> kriging.Prediction:
        """The prediction of those that are not fitted, in their order, from those that are."""
        return kriging.predict(self._cells[self.fitted], self._cells[~self.fitted])

    @cached_property
    def from_evaluated(self) -> kriging.Prediction:
        """The prediction of those that are not evaluated, in their order, from those that are."""
        return kriging.predict(self._cells[self.evaluated], self._cells[~self.evaluated])


class _State:
    """Predictions and errors by the cells evaluated so far; each is computed when first read.

    ``shape`` has the cells along each axis; ``values`` and ``residuals`` are float64 [classes, n], NaN where unknown;
    ``held_out`` is bool [n].
    """

    def __init__(
        self,
        weights: _Weights,
        shape: Size,
        values: Scores,
        residuals: Scores,
        held_out: NDArray[np.bool_],
    ) -> None:
        self._weights, self._shape, self._values = weights, shape, values
        self._residuals, self._held_out = residuals, held_out
        self._fitted, self._evaluated = weights.fitted, weights.evaluated
        self._ssims: dict[float, NDArray[np.float64]] = {}

    @property
    def classes(self) -> int:
        """Their number."""
        return len(self._values)

    def of(self, classes: IntArray) -> _State:
        """The same of some of the classes."""
        return _State(self._weights, self._shape, self._values[classes], self._residuals[classes], self._held_out)

    def predicted(self, cells: IntArray) -> Scores:
        """Values predicted from the fitted cells, of ``cells`` that are none of these: float64 [classes, cells]."""
        among = np.cumsum(~self._fitted) - 1
        return self._weights.from_fitted.part(among[cells]).apply(self._values[:, self._fitted])

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """Kriging variances without the held-out samples, float64 [n]."""
        variance = np.zeros(len(self._fitted))
        if not self._fitted.all():
            variance[~self._fitted] = self._weights.from_fitted.variance
        return variance

    @cached_property
    def _smoothed_residuals(self) -> Scores | None:
        """The local roughness: squared residuals under a Gaussian kernel, [classes, n]; None before there are any."""
        known = np.isfinite(self._residuals[0])
        if not known.any():
            return None

        def smooth(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
            stacked = numbers.reshape(-1, *self._shape)
            sigma = (0, *[SMOOTHING] * len(self._shape))
            return np.asarray(ndimage.gaussian_filter(stacked, sigma, mode="constant")).reshape(numbers.shape)

        weights = np.maximum(smooth(known.astype(np.float64)[None]), 1e-12)
        return np.asarray(smooth(np.where(known, self._residuals, 0.0)) / weights)

    @cached_property
    def roughness(self) -> NDArray[np.float64]:
        """Expected squared error relative to the class's range, the largest over the classes: float64 [n]."""
        if self._smoothed_residuals is None:
            return self.variance
        relative = self._smoothed_residuals / np.maximum(self._ranges, 1e-300)[:, None] ** 2
        return np.asarray(relative.max(axis=0) * self.variance**VARIANCE_EXPONENT)

    @cached_property
    def _ranges(self) -> NDArray[np.float64]:
        """The range (max - min) of each class over the evaluated cells, [classes]."""
        values = self._values[:, self._evaluated]
        return np.asarray(np.ptp(values, axis=1))

    @cached_property
    def values(self) -> Scores:
        """Values predicted from all evaluated cells, float64 [classes, n]."""
        values = self._values.copy()
        if not self._evaluated.all():
            values[:, ~self._evaluated] = self._weights.from_evaluated.apply(self._values[:, self._evaluated])
        return values

    @cached_property
    def _remaining_variance(self) -> NDArray[np.float64]:
        """Kriging variances by all evaluated cells, float64 [n]."""
        variance = np.zeros(len(self._evaluated))
        variance[~self._evaluated] = self._weights.from_evaluated.variance
        return variance

    @cached_property
    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The factor by which held-out samples correct each class's error variances, and its uncertainty, [classes].

        The logarithm of the factor is a mean of two estimates, weighted by their precisions: 0, by residuals, with
        RESIDUAL_UNCERTAINTY; and by held-out samples, the logarithm of their mean squared error over its expected
        value, with the standard error of that ratio.  If the two differ by more than their uncertainties explain, as
        they do where the sampling lattice is in phase with the network's strides, residuals count for less.
        """
        assert self._smoothed_residuals is not None
        held_out = np.flatnonzero(self._held_out & self._evaluated & ~self._fitted)
        classes, cells = self._values.shape
        prior_uncertainty = RESIDUAL_UNCERTAINTY / np.sqrt(cells)
        if len(held_out) < MIN_SAMPLES:
            return np.ones(classes), np.full(classes, prior_uncertainty)
        found = (self._values[:, held_out] - self.predicted(held_out)) ** 2
        expected = self._smoothed_residuals[:, held_out] * self.variance[held_out] ** VARIANCE_EXPONENT
        found, expected = (np.maximum(each, 1e-300) for each in (found, expected))
        ratio = found.mean(axis=1) / expected.mean(axis=1)
        standard_error = np.sqrt(np.mean((found - ratio[:, None] * expected) ** 2, axis=1) / len(held_out))
        uncertainty = np.maximum(standard_error / found.mean(axis=1), MIN_SAMPLE_UNCERTAINTY / np.sqrt(len(held_out)))
        prior = np.maximum(prior_uncertainty**2, np.log(ratio) ** 2 - uncertainty**2)
        weight = prior / (prior + uncertainty**2)
        return ratio**weight, np.sqrt(weight) * uncertainty

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Standard deviation of the logarithm of the variances, float64 [classes]."""
        return np.zeros(len(self._values)) if self._smoothed_residuals is None else self._scales[1]

    def variances(self, z_score: float) -> Scores | None:
        """Variances of the values' errors, raised by ``z_score`` times their uncertainty; None if unknown."""
        if self._evaluated.all():
            return np.zeros_like(self._values)
        if self._smoothed_residuals is None:
            return None
        scale, uncertainty = self._scales
        scale = scale * np.exp(z_score * uncertainty)
        return np.asarray(scale[:, None] * self._smoothed_residuals * self._remaining_variance**VARIANCE_EXPONENT)

    def ssim(self, z_score: float = 0.0) -> float | None:
        """The lowest of :meth:`ssims` over the classes."""
        each = self.ssims(z_score)
        return None if each is None else float(each.min())

    def ssims(self, z_score: float = 0.0) -> NDArray[np.float64] | None:
        """The expected SSIM of each class, lowered by ``z_score``, float64 [classes].

        None if the errors are unknown or every axis of the map is shorter than SSIM's window.
        """
        if z_score not in self._ssims:
            variances = self.variances(z_score)
            if variances is None or max(self._shape) < WINDOW:
                return None
            self._ssims[z_score] = expected_ssims(self.values, variances, self._shape, self._ranges)
        return self._ssims[z_score]

    def estimate(self) -> Estimate:
        """The heat map predicted from all evaluated cells."""
        variances = self.variances(0.0)
        error = None if variances is None else np.sqrt(variances)
        return Estimate(self.values, self._evaluated, error, self.ssim(), self.ssim(Z_SCORE))
