"""Kriging on a grid: the best linear prediction of a cell from the evaluated ones next to it, and how far to trust it.

The generalized covariance is cubic, ``K(h) = h^3``, and the trend linear (Matheron, "The intrinsic random functions and
their applications", 1973); the prediction is that of a cubic radial basis function fitted to the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

NEIGHBOURS = 16
TREND = 3
"""Terms of the trend: one, y and x."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prediction:
    """How m cells are predicted from k known ones each: ``sources`` int64 [m, k], ``weights`` float64 [m, k].

    ``variance`` float64 [m] is that of the error, in units of the field's own roughness; it grows with the distance to
    what is known.
    """

    sources: NDArray[np.int64]
    weights: FloatArray
    variance: FloatArray

    def of(self, values: FloatArray) -> FloatArray:
        """The cells' values [classes, m], given those of the known ones [classes, n]."""
        return np.asarray(np.einsum("mk,cmk->cm", self.weights, values[:, self.sources]))


def predict(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> Prediction:
    """Cells ``wanted`` [m, 2] from those that are ``known`` [n, 2], (y, x) on one grid; none is in both.

    The known ones must not lie on one line.
    """
    count = min(NEIGHBOURS, len(known))
    _, sources = cKDTree(known).query(wanted, k=count)
    sources = np.sort(sources, axis=1)  # in one order, so that cells of a lattice are seen to be in one situation
    offsets = known[sources] - wanted[:, None]
    situations, which = np.unique(offsets.reshape(len(wanted), -1), axis=0, return_inverse=True)
    weights, variance = _solve(situations.reshape(-1, count, 2).astype(np.float64))
    return Prediction(sources, weights[which.reshape(-1)], variance[which.reshape(-1)])


def _solve(offsets: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weights [m, k] and variances [m] for neighbours at ``offsets`` [m, k, 2].

    ``[K T; T' 0] [w; mu] = [k; t]``: K between the neighbours, k to them, T their trend, t that of the cell, (1, 0, 0).
    """
    m, count, _ = offsets.shape
    between = _cubed(offsets[:, :, None] - offsets[:, None])
    trend = np.concatenate([np.ones((m, count, 1)), offsets], axis=-1)
    system = np.zeros((m, count + TREND, count + TREND))
    system[:, :count, :count] = between
    system[:, :count, count:] = trend
    system[:, count:, :count] = trend.transpose(0, 2, 1)
    right = np.zeros((m, count + TREND))
    right[:, :count] = to_known = _cubed(offsets)
    right[:, count] = 1
    weights = np.asarray(np.linalg.solve(system, right[..., None])[:, :count, 0], np.float64)
    # var(w'z - z0) = w'Kw - 2 w'k + K(0) for a covariance K that is positive on what the trend leaves; K(0) = 0.
    spread = np.matmul(weights[:, None], between)[:, 0]
    variance = ((spread - 2 * to_known) * weights).sum(axis=1)
    return weights, np.asarray(np.maximum(variance, 0.0), np.float64)


def _cubed(offsets: FloatArray) -> FloatArray:
    """``h^3`` of the lengths of [..., 2]."""
    squared = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
    return np.asarray(squared * np.sqrt(squared))
