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


def expected_ssim(values: FloatArray, variance: FloatArray, data_range: float) -> float:
    """The expected SSIM between an estimated heat map and the exact one.

    With an error that is independent of the map, this is the mean over all windows of ``(2 s + C) / (2 s + v + C)``:
    s is the map's variance within the window, v the mean variance of the error there, and C = (0.03 data_range)^2.

    Args:
        values: the estimated map, float64 [rows, columns], at least WINDOW on each side.
        variance: of the estimation error, float64 [rows, columns].
        data_range: the range (max - min) of the map.
    """
    if data_range == 0:
        return 1.0
    area = WINDOW**2
    mean = ndimage.uniform_filter(values, WINDOW)
    spread = (ndimage.uniform_filter(values**2, WINDOW) - mean**2) * (area / (area - 1))
    spread = 2 * np.maximum(spread, 0.0) + (CONTRAST * data_range) ** 2
    similarity = spread / (spread + ndimage.uniform_filter(variance, WINDOW))
    edge = WINDOW // 2
    return float(similarity[edge:-edge, edge:-edge].mean())


def lowest_ssim(
    values: FloatArray, variances: FloatArray, shape: tuple[int, int], ranges: FloatArray | None = None
) -> float:
    """The lowest :func:`expected_ssim` over several classes.

    Args:
        values: the estimated maps, float64 [classes, rows * columns].
        variances: of their errors, of the same shape.
        shape: (rows, columns) of the maps.
        ranges: the data range of each class, float64 [classes]; by default that of ``values``.
    """
    ranges = np.ptp(values, axis=1) if ranges is None else ranges
    maps = (each.reshape(-1, *shape) for each in (values, variances))
    return min(expected_ssim(m, v, r) for m, v, r in zip(*maps, ranges.tolist(), strict=True))
