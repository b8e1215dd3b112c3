"""Kriging on a grid: the best linear prediction of a cell from the evaluated cells nearest to it, and its variance.

The generalized covariance is cubic, ``K(h) = h^3``, and the trend linear (Matheron, "The intrinsic random functions and
their applications", 1973); the prediction equals that of a cubic radial basis function fitted to the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from kdb.geometry import IntArray

NEIGHBOURS = 8
"""Evaluated cells that a prediction uses, the nearest ones, for each axis: 8, 16 and 24 with one to three axes.

On smoothed noise twice as many take four times as long, and lower the error by a tenth or less.
"""
FLAT = 1e-9
"""Neighbours span all axes if their Gram determinant is more than this share of its bound, its diagonal's product."""
AT_ONCE = 2**22
"""Most distances between neighbours that are computed at a time: with 16 of them, those for 16,384 cells."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Weights that predict m cells, each from k of the n known cells.

    Attributes:
        sources: int64 [m, k]; indices of the known cells that each prediction uses.
        weights: float64 [m, k].
        variance: float64 [m]; of the prediction error, up to a factor for the roughness of the field.  It grows with
            the distance to the known cells.
    """

    sources: IntArray
    weights: FloatArray
    variance: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """The predicted values, float64 [classes, m], from the values of the known cells, [classes, n]."""
        m, k = self.sources.shape
        ends = np.arange(0, m * k + 1, k)
        matrix = csr_array((self.weights.reshape(-1), self.sources.reshape(-1), ends), (m, values.shape[1]))
        return np.asarray((matrix @ values.T).T)

    def part(self, cells: IntArray) -> Prediction:
        """The prediction of some of the m cells, by their indices."""
        return Prediction(self.sources[cells], self.weights[cells], self.variance[cells])


def predict(known: IntArray, wanted: IntArray) -> Prediction:
    """The prediction of cells ``wanted`` [m, axes] from cells ``known`` [n, axes] of one grid, without overlap.

    The known cells must span all axes: on one line of a plane, or in one plane of a volume, they would leave the trend
    undetermined.  Where the nearest ones do not, twice as many are used.
    """
    count = NEIGHBOURS * known.shape[1]
    while True:
        count = min(count, len(known))
        _, sources = cKDTree(known).query(wanted, k=count)
        # In sorted order, cells of a lattice with the same neighbourhood have equal offsets and share one solution.
        sources = np.sort(sources, axis=1)
        offsets = known[sources] - wanted[:, None]
        distinct, which = np.unique(offsets.reshape(len(wanted), -1), axis=0, return_inverse=True)
        neighbourhoods = distinct.reshape(-1, *offsets.shape[1:]).astype(np.float64)
        if count == len(known) or _span(neighbourhoods):
            break
        count *= 2
    weights, variance = _solve(neighbourhoods)
    return Prediction(sources, weights[which.reshape(-1)], variance[which.reshape(-1)])


def _span(offsets: FloatArray) -> bool:
    """Whether the neighbours at ``offsets`` [m, k, axes] of each of m cells span all axes."""
    centred = offsets - offsets.mean(axis=1, keepdims=True)
    gram = np.matmul(centred.transpose(0, 2, 1), centred)
    bound = np.diagonal(gram, axis1=1, axis2=2).prod(axis=1)
    return bool((np.linalg.det(gram) > FLAT * bound).all())


def _solve(offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights [m, k] and variances [m] for neighbours at ``offsets`` [m, k, axes] from the predicted cell."""
    parts = np.array_split(offsets, -(-len(offsets) * offsets.shape[1] ** 2 // AT_ONCE) or 1)
    weights, variances = zip(*map(_solve_part, parts), strict=True)
    return np.concatenate(weights), np.concatenate(variances)


def _solve_part(offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """:func:`_solve` of as many cells as are solved at a time.

    Solves the kriging system ``[K T; T' 0] [w; mu] = [k; t]``: K is the covariance between neighbours, k that of the
    neighbours with the predicted cell, T the trend at the neighbours, 1 and the offset along each axis, and
    t = (1, 0, ..) that at the predicted cell.
    """
    m, count, axes = offsets.shape
    terms = 1 + axes
    squared = (offsets**2).sum(axis=-1)
    between = _cubed(squared[:, :, None] + squared[:, None] - 2 * np.matmul(offsets, offsets.transpose(0, 2, 1)))
    trend = np.concatenate([np.ones((m, count, 1)), offsets], axis=-1)
    system = np.zeros((m, count + terms, count + terms))
    system[:, :count, :count] = between
    system[:, :count, count:] = trend
    system[:, count:, :count] = trend.transpose(0, 2, 1)
    right = np.zeros((m, count + terms))
    right[:, :count] = to_cell = _cubed(squared)
    right[:, count] = 1
    weights = np.asarray(np.linalg.solve(system, right[..., None])[:, :count, 0], np.float64)
    # var(w'z - z0) = w'Kw - 2 w'k + K(0), with K(0) = 0: h^3 is positive definite on what the trend leaves.
    spread = np.matmul(weights[:, None], between)[:, 0]
    variance = ((spread - 2 * to_cell) * weights).sum(axis=1)
    return weights, np.asarray(np.maximum(variance, 0.0), np.float64)


def _cubed(squared: FloatArray) -> FloatArray:
    """``h^3`` for ``squared`` lengths h^2, whole numbers, which sums and differences give without rounding."""
    return np.asarray(squared * np.sqrt(squared))
