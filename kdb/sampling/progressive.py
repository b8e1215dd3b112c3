"""Progressive sampling: evaluate nested lattices, coarse to fine and rough regions first, until the map is good enough.

What is not evaluated is predicted by kriging.  How good the map is follows from three things.  The *residual* of a cell
is what its prediction, just before it was evaluated, was off by.  Squared, over the kriging variance to the power ROUGH
and smoothed, it tells how rough the map is hereabouts; times the variance that kriging gives a cell now, this is the
error to expect there.  Last, *held-out samples*: cells at random that are evaluated at once but withheld from the fit,
so that their errors are those of cells that are not evaluated; they correct the scale of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kdb.geometry import IntArray
from kdb.sampling import kriging, lattice
from kdb.sampling.quality import lowest_ssim
from kdb.sampling.similarity import WINDOW
from kdb.sampling.strategy import Estimate, Scores

SMOOTHING = 2.5
"""Standard deviation, in cells, of the kernel by which residuals are smoothed."""
ROUGH = 0.5
"""Errors squared grow with the kriging variance to this power: maps are rougher than its covariance has them."""
UNCERTAINTY = 13.0
"""Standard deviation of the logarithm of the errors' scale, as residuals alone give it, over the square root of the
number of cells: .15 to .25 on maps of 53 x 53 of photographs."""
LEAST_UNCERTAINTY = 2.4
"""The same by held-out samples, at the least, over the square root of their number: errors are heavy-tailed."""
FEW = 8
"""With fewer held-out samples left their errors say nothing."""
Z_SCORE = 1.645
"""Standard errors that a guaranteed estimate is lowered by: one in twenty is missed."""
SHARE = 20
"""One cell in so many is a held-out sample, and a round is as many."""
HELD_OUT = 32
"""At the least: fewer do not tell nineteen maps of twenty."""
MARGIN = 0.05
"""Of the map's cells: those whose predicted rank lies so close behind a region's limit are evaluated with it."""


@dataclass(frozen=True)
class Goal:
    """When to stop: at an expected SSIM of ``ssim`` (None: when all is evaluated), ``guaranteed`` or on average.

    ``refine`` is the share of the map, the most important cells of it, that is evaluated in any case.
    """

    ssim: float | None = None
    guaranteed: bool = False
    refine: float = 0.0


class Progressive:
    """The strategy of one map of ``rows`` x ``columns`` cells; cells are numbered by rows.

    ``important`` is 1 where a large score makes a cell important, as of a drop, and -1 where a small one does.
    """

    low_fidelity = False

    def __init__(self, rows: int, columns: int, goal: Goal, important: int, seed: int = 0) -> None:
        self._shape, self._goal, self._important = (rows, columns), goal, important
        n = rows * columns
        self._cells = np.stack(np.divmod(np.arange(n), columns), axis=1)
        self._levels = lattice.levels(rows, columns).reshape(-1)
        self._round = max(n // SHARE, 1)
        others = np.flatnonzero(self._levels > 0)
        held_out = min(max(self._round, HELD_OUT), len(others))
        chosen = np.random.default_rng(seed).choice(others, held_out, replace=False)
        self._held_out = np.zeros(n, bool)
        self._held_out[chosen] = True
        self._proposed = np.zeros(n, bool)
        self._fitted = np.zeros(n, bool)
        """Evaluated and no held-out sample."""
        self._values: Scores | None = None
        self._residuals: Scores | None = None
        """Squared, over the variance to the power ROUGH; NaN where there is none."""
        self._state: _State | None = None

    @property
    def note(self) -> str:
        """The rounds, and when they end."""
        goal, cells = self._goal, len(self._cells)
        first, held_out = int((self._held_out | (self._levels == 0)).sum()), int(self._held_out.sum())
        until = "all are evaluated, or the time is up"
        if goal.ssim is not None:
            until = f"an SSIM of {goal.ssim:g} is expected" + (", less its uncertainty" if goal.guaranteed else "")
        refined = f"; then the top {100 * goal.refine:g}%" if goal.refine else ""
        return (
            f"sampled, {first} of {cells:,} positions first as below, {held_out} of them held out, then {self._round} "
            f"a round where errors are the largest, until {until}{refined}; the rest by kriging"
        )

    def propose(self) -> IntArray:
        """The coarsest lattice and the held-out samples; then a round of the coarsest level that is not complete."""
        if not self._proposed.any():
            cells = np.flatnonzero(self._held_out | (self._levels == 0))
        elif self._good_enough():
            cells = self._to_refine()
        else:
            cells = self._next()
        self._proposed[cells] = True
        return cells

    def take(self, cells: IntArray, scores: Scores) -> None:
        """Keep the scores, and the residuals that they show; cells of NaN stay unknown."""
        reached = np.isfinite(scores).all(axis=0)
        cells, scores = cells[reached], scores[:, reached]
        if self._values is None:
            self._values = np.full((len(scores), len(self._cells)), np.nan)
            self._residuals = self._values.copy()
        assert self._residuals is not None
        fresh = cells[~self._held_out[cells]]
        if self.begun and len(fresh):
            state = self._now
            error = scores[:, ~self._held_out[cells]] - state.predicted[:, fresh]
            self._residuals[:, fresh] = error**2 / state.variance[fresh] ** ROUGH
        self._values[:, cells] = scores
        self._fitted[fresh] = True
        self._state = None

    def estimate(self) -> Estimate:
        """Kriged from all that is evaluated, held-out samples too; before the coarsest lattice is, that alone."""
        if self.begun:
            return self._now.estimate()
        values = np.full((1, len(self._cells)), np.nan) if self._values is None else self._values
        return Estimate(values, np.asarray(np.isfinite(values).all(axis=0)))

    @property
    def held_out(self) -> IntArray:
        """The cells that are withheld from the fit."""
        return np.flatnonzero(self._held_out)

    @property
    def coarsest(self) -> IntArray:
        """The cells of the coarsest lattice."""
        return np.flatnonzero(self._levels == 0)

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """Standard deviation of the logarithm of :meth:`variances`, [classes], once these are known."""
        return self._now.uncertainty

    @property
    def values(self) -> Scores:
        """Those of :meth:`estimate` alone."""
        return self._now.values if self.begun else self.estimate().values

    def variances(self, z_score: float) -> Scores | None:
        """Of the errors, [classes, n], at ``sure`` standard errors above what is expected; None where unknown."""
        return self._now.variances(z_score) if self.begun else None

    @property
    def begun(self) -> bool:
        """Whether the coarsest lattice is complete: then each cell has neighbours on all sides."""
        return bool(self._fitted[self._levels == 0].all())

    def _good_enough(self) -> bool:
        wanted = self._goal.ssim
        if wanted is None:
            return False
        ssim = self._now.ssim(Z_SCORE if self._goal.guaranteed else 0.0)
        return ssim is not None and ssim >= wanted

    def _next(self) -> IntArray:
        left = np.flatnonzero(~self._proposed)
        if not len(left):
            return left
        level = left[self._levels[left] == self._levels[left].min()]
        chosen: IntArray = level[np.argsort(-self._now.roughness[level], kind="stable")[: self._round]]
        return chosen

    def _to_refine(self) -> IntArray:
        """Those of :meth:`important` that are not evaluated yet."""
        likely = self.important()
        return likely[~self._proposed[likely]]

    def important(self) -> IntArray:
        """Cells that may belong to the most important ones, of any class, as many as are to be refined."""
        if not self._goal.refine:
            return np.zeros(0, np.int64)
        count = min(int(np.ceil((self._goal.refine + MARGIN) * len(self._cells))), len(self._cells))
        order = np.argsort(-self._important * self._now.estimate().values, axis=1, kind="stable")
        return np.unique(order[:, :count])

    @property
    def _now(self) -> _State:
        if self._state is None:
            assert self._values is not None and self._residuals is not None
            self._state = _State(self._cells, self._shape, self._values, self._residuals, self._fitted, self._held_out)
        return self._state


class _State:
    """What follows from the cells evaluated so far."""

    def __init__(
        self,
        cells: NDArray[np.int64],
        shape: tuple[int, int],
        values: Scores,
        residuals: Scores,
        fitted: NDArray[np.bool_],
        held_out: NDArray[np.bool_],
    ) -> None:
        self._cells, self._shape, self._values = cells, shape, values
        self._residuals, self._fitted, self._held_out = residuals, fitted.copy(), held_out
        self._evaluated: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=0))

    def _kriged(self, known: NDArray[np.bool_]) -> tuple[Scores, NDArray[np.float64]]:
        """Values [classes, n] and kriging variances [n] by the ``known`` cells, which keep theirs and have none."""
        values, variance = self._values.copy(), np.zeros(len(self._cells))
        if not known.all():
            prediction = kriging.predict(self._cells[known], self._cells[~known])
            values[:, ~known] = prediction.of(self._values[:, known])
            variance[~known] = prediction.variance
        return values, variance

    @cached_property
    def _withheld(self) -> tuple[Scores, NDArray[np.float64]]:
        return self._kriged(self._fitted)

    @property
    def predicted(self) -> Scores:
        """[classes, n], held-out samples withheld."""
        return self._withheld[0]

    @property
    def variance(self) -> NDArray[np.float64]:
        """Of kriging with held-out samples withheld, [n]."""
        return self._withheld[1]

    @cached_property
    def _field(self) -> Scores | None:
        """The smoothed residuals, [classes, n]; None where there are none yet."""
        known = np.isfinite(self._residuals[0])
        if not known.any():
            return None

        def smooth(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
            stacked = numbers.reshape(-1, *self._shape)
            sigma = (0, SMOOTHING, SMOOTHING)
            return np.asarray(ndimage.gaussian_filter(stacked, sigma, mode="constant")).reshape(numbers.shape)

        weights = np.maximum(smooth(known.astype(np.float64)[None]), 1e-12)
        return np.asarray(smooth(np.where(known, self._residuals, 0.0)) / weights)

    @cached_property
    def roughness(self) -> NDArray[np.float64]:
        """[n]: the error to expect of a cell, over the class's range, the largest over the classes."""
        if self._field is None:
            return self.variance
        relative = self._field / np.maximum(self._spans, 1e-300)[:, None] ** 2
        return np.asarray(relative.max(axis=0) * self.variance**ROUGH)

    @cached_property
    def _spans(self) -> NDArray[np.float64]:
        """Each class's range over what is evaluated."""
        values = self._values[:, self._evaluated]
        return np.asarray(np.ptp(values, axis=1))

    @property
    def values(self) -> Scores:
        """[classes, n], by all that is evaluated."""
        return self._final[0]

    @cached_property
    def _final(self) -> tuple[Scores, NDArray[np.float64]]:
        return self._kriged(self._evaluated)

    @cached_property
    def _scales(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Each class's factor on its errors' variance, by held-out samples, and its logarithm's standard deviation.

        What residuals say (1, with UNCERTAINTY) and what held-out samples say (their mean squared error over what was
        expected of it, with its own standard error) are averaged, weighted by their precisions.  Where the two are
        farther apart than UNCERTAINTY explains, as where a lattice falls in step with the network's own strides,
        residuals are worth less.
        """
        assert self._field is not None
        held_out = np.flatnonzero(self._held_out & self._evaluated & ~self._fitted)
        classes = len(self._values)
        least = UNCERTAINTY / np.sqrt(len(self._cells))
        if len(held_out) < FEW:
            return np.ones(classes), np.full(classes, least)
        found = (self._values[:, held_out] - self.predicted[:, held_out]) ** 2
        expected = self._field[:, held_out] * self.variance[held_out] ** ROUGH
        found, expected = (np.maximum(each, 1e-300) for each in (found, expected))
        ratio = found.mean(axis=1) / expected.mean(axis=1)
        misfit = np.sqrt(np.mean((found - ratio[:, None] * expected) ** 2, axis=1) / len(held_out)) / found.mean(axis=1)
        uncertainty = np.maximum(misfit, LEAST_UNCERTAINTY / np.sqrt(len(held_out)))
        prior = np.maximum(least**2, np.log(ratio) ** 2 - uncertainty**2)
        trust = prior / (prior + uncertainty**2)
        return ratio**trust, np.sqrt(trust) * uncertainty

    @property
    def uncertainty(self) -> NDArray[np.float64]:
        """About the variances, [classes]."""
        return np.zeros(len(self._values)) if self._field is None else self._scales[1]

    def variances(self, z_score: float) -> Scores | None:
        """Of the errors, [classes, n], at ``sure`` standard errors above what is expected."""
        if self._evaluated.all():
            return np.zeros_like(self._values)
        if self._field is None:
            return None
        scale, uncertainty = self._scales
        return np.asarray((scale * np.exp(z_score * uncertainty))[:, None] * self._field * self._final[1] ** ROUGH)

    def ssim(self, z_score: float = 0.0) -> float | None:
        """The lowest over the classes; None where nothing is known of the errors, or the map has no window."""
        variances = self.variances(z_score)
        if variances is None or min(self._shape) < WINDOW:
            return None
        return lowest_ssim(self._final[0], variances, self._shape, self._spans)

    def estimate(self) -> Estimate:
        """The map from all that is evaluated."""
        variances = self.variances(0.0)
        error = None if variances is None else np.sqrt(variances)
        return Estimate(self._final[0], self._evaluated, error, self.ssim(), self.ssim(Z_SCORE))
