"""The structural similarity (SSIM) to expect of a heat map whose error is known by its variance only.

Wang et al., "Image quality assessment", 2004, with scikit-image's defaults: a uniform window of 7 x 7, K2 = 0.03.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kdb.results.similarity import WINDOW

CONTRAST = 0.03
"""K2 of SSIM, the constant of its contrast term."""

FloatArray = NDArray[np.float64]


AT_ONCE = 64
"""Maps whose similarity is computed at a time: of all together, the intermediates would be several times as large."""


def expected_ssim(values: FloatArray, variance: FloatArray, data_range: float) -> float:
    """The expected SSIM between an estimated heat map and the exact one.

    With an error that is independent of the map, this is the mean over all windows of ``(2 s + C) / (2 s + v + C)``:
    s is the map's variance within the window, v the mean variance of the error there, and C = (0.03 data_range)^2.

    Args:
        values: the estimated map, float64 [rows, columns], at least WINDOW on each side.
        variance: of the estimation error, float64 [rows, columns].
        data_range: the range (max - min) of the map.
    """
    return float(_expected(values[None], variance[None], np.array([data_range]))[0])


def expected_ssims(
    values: FloatArray, variances: FloatArray, shape: tuple[int, int], ranges: FloatArray | None = None
) -> FloatArray:
    """The :func:`expected_ssim` of each of several classes, float64 [classes].

    Args:
        values: the estimated maps, float64 [classes, rows * columns].
        variances: of their errors, of the same shape.
        shape: (rows, columns) of the maps.
        ranges: the data range of each class, float64 [classes]; by default that of ``values``.
    """
    ranges = np.ptp(values, axis=1) if ranges is None else ranges
    values, variances = values.reshape(-1, *shape), variances.reshape(-1, *shape)
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(values), AT_ONCE)]
    return np.concatenate([_expected(values[part], variances[part], ranges[part]) for part in parts])


def lowest_ssim(
    values: FloatArray, variances: FloatArray, shape: tuple[int, int], ranges: FloatArray | None = None
) -> float:
    """The lowest of :func:`expected_ssims`, of the same arguments."""
    return float(expected_ssims(values, variances, shape, ranges).min())


def _expected(values: FloatArray, variance: FloatArray, ranges: FloatArray) -> FloatArray:
    """The expected SSIM of each map [classes, rows, columns] with its data range [classes]; 1 where that is 0."""

    def windowed(maps: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(maps, (0, WINDOW, WINDOW)))

    area, edge = WINDOW**2, WINDOW // 2
    spread = (windowed(values**2) - windowed(values) ** 2) * (area / (area - 1))
    flat = ranges == 0
    contrast = (CONTRAST * np.where(flat, 1.0, ranges)) ** 2
    spread = 2 * np.maximum(spread, 0.0) + contrast[:, None, None]
    similarity = spread / (spread + windowed(variance))
    found = similarity[:, edge:-edge, edge:-edge].mean(axis=(1, 2))
    return np.asarray(np.where(flat, 1.0, found))
