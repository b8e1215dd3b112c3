"""The structural similarity (SSIM) to expect of a heat map whose error is known by its variance only.

Wang et al., "Image quality assessment", 2004, with scikit-image's defaults: a uniform window, 7 cells along each axis
(:func:`kdb.results.similarity.windows`), K2 = 0.03.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kdb.geometry import Size
from kdb.results.similarity import windows

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
        values: the estimated map, float64 [*cells], of 1 to 3 axes, one of them at least as long as the window.
        variance: of the estimation error, of the same shape.
        data_range: the range (max - min) of the map.
    """
    return float(_expected(values[None], variance[None], np.array([data_range]))[0])


def expected_ssims(
    values: FloatArray, variances: FloatArray, shape: Size, ranges: FloatArray | None = None
) -> FloatArray:
    """The :func:`expected_ssim` of each of several classes, float64 [classes].

    Args:
        values: the estimated maps, float64 [classes, n].
        variances: of their errors, of the same shape.
        shape: of the maps, cells along each axis; n in all.
        ranges: the data range of each class, float64 [classes]; by default that of ``values``.
    """
    ranges = np.ptp(values, axis=1) if ranges is None else ranges
    values, variances = values.reshape(-1, *shape), variances.reshape(-1, *shape)
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(values), AT_ONCE)]
    return np.concatenate([_expected(values[part], variances[part], ranges[part]) for part in parts])


def lowest_ssim(values: FloatArray, variances: FloatArray, shape: Size, ranges: FloatArray | None = None) -> float:
    """The lowest of :func:`expected_ssims`, of the same arguments."""
    return float(expected_ssims(values, variances, shape, ranges).min())


def _expected(values: FloatArray, variance: FloatArray, ranges: FloatArray) -> FloatArray:
    """The expected SSIM of each map [classes, *cells] with its data range [classes]; 1 where that is 0."""

    shape = values.shape[1:]
    window = windows(shape)

    def windowed(maps: FloatArray) -> FloatArray:
        return np.asarray(ndimage.uniform_filter(maps, (0, *window)))

    count = math.prod(window)
    spread = (windowed(values**2) - windowed(values) ** 2) * (count / (count - 1))
    flat = ranges == 0
    contrast = (CONTRAST * np.where(flat, 1.0, ranges)) ** 2
    spread = 2 * np.maximum(spread, 0.0) + contrast.reshape(-1, *[1] * len(shape))
    similarity = spread / (spread + windowed(variance))
    inside = tuple(slice(width // 2, length - width // 2) for width, length in zip(window, shape, strict=True))
    found = similarity[:, *inside].mean(axis=tuple(range(1, similarity.ndim)))
    return np.asarray(np.where(flat, 1.0, found))
