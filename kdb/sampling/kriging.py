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

NEIGHBOURS = 16
"""Evaluated cells that a prediction uses, the nearest ones."""
TREND = 3
"""Terms of the linear trend: 1, y and x."""

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

    sources: NDArray[np.int64]
    weights: FloatArray
    variance: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """The predicted values, float64 [classes, m], from the values of the known cells, [classes, n]."""
        m, k = self.sources.shape
        ends = np.arange(0, m * k + 1, k)
        matrix = csr_array((self.weights.reshape(-1), self.sources.reshape(-1), ends), (m, values.shape[1]))
        return np.asarray((matrix @ values.T).T)

    def part(self, cells: NDArray[np.int64]) -> Prediction:
        """The prediction of some of the m cells, by their indices."""
        return Prediction(self.sources[cells], self.weights[cells], self.variance[cells])


def predict(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> Prediction:
    """The prediction of cells ``wanted`` [m, 2] from cells ``known`` [n, 2], both (y, x) on one grid, without overlap.

    The known cells must not all lie on one line, which would leave the trend undetermined.
    """
    count = min(NEIGHBOURS, len(known))
    _, sources = cKDTree(known).query(wanted, k=count)
    # In sorted order, cells of a lattice with the same neighbourhood have equal offsets and share one solution.
    sources = np.sort(sources, axis=1)
    offsets = known[sources] - wanted[:, None]
    neighbourhoods, which = np.unique(offsets.reshape(len(wanted), -1), axis=0, return_inverse=True)
    weights, variance = _solve(neighbourhoods.reshape(-1, count, 2).astype(np.float64))
    return Prediction(sources, weights[which.reshape(-1)], variance[which.reshape(-1)])


def _solve(offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights [m, k] and variances [m] for neighbours at ``offsets`` [m, k, 2] from the predicted cell.

    Solves the kriging system ``[K T; T' 0] [w; mu] = [k; t]``: K is the covariance between neighbours, k that of the
    neighbours with the predicted cell, T the trend at the neighbours, and t = (1, 0, 0) that at the predicted cell.
    """
    m, count, _ = offsets.shape
    between = _cubed_length(offsets[:, :, None] - offsets[:, None])
    trend = np.concatenate([np.ones((m, count, 1)), offsets], axis=-1)
    system = np.zeros((m, count + TREND, count + TREND))
    system[:, :count, :count] = between
    system[:, :count, count:] = trend
    system[:, count:, :count] = trend.transpose(0, 2, 1)
    right = np.zeros((m, count + TREND))
    right[:, :count] = to_cell = _cubed_length(offsets)
    right[:, count] = 1
    weights = np.asarray(np.linalg.solve(system, right[..., None])[:, :count, 0], np.float64)
    # var(w'z - z0) = w'Kw - 2 w'k + K(0), with K(0) = 0: h^3 is positive definite on what the trend leaves.
    spread = np.matmul(weights[:, None], between)[:, 0]
    variance = ((spread - 2 * to_cell) * weights).sum(axis=1)
    return weights, np.asarray(np.maximum(variance, 0.0), np.float64)


def _cubed_length(offsets: FloatArray) -> FloatArray:
    """``h^3`` for offsets [..., 2] of length h."""
    squared = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
    return np.asarray(squared * np.sqrt(squared))
