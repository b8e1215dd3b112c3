"""Structural similarity (SSIM) of a map to one that is known only with an error.

Wang et al., "Image quality assessment", 2004, with the windows and constants of scikit-image: 7 x 7, uniform, .01, .03.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kdb.sampling.similarity import WINDOW

CONTRAST = 0.03

FloatArray = NDArray[np.float64]


def expected_ssim(values: FloatArray, variance: FloatArray, span: float) -> float:
    """The SSIM to expect between a map [rows, cols] and the true one, whose difference has ``variance`` [rows, cols].

    ``span`` is the data range.  With an error that is independent of the map, the mean over all windows of
    ``(2 s + C) / (2 s + v + C)``: s the map's variance in the window, v the mean variance of the error there, and
    ``C = (.03 span)^2``.
    """
    if span == 0:
        return 1.0
    area = WINDOW**2
    mean = ndimage.uniform_filter(values, WINDOW)
    spread = (ndimage.uniform_filter(values**2, WINDOW) - mean**2) * (area / (area - 1))
    spread = 2 * np.maximum(spread, 0.0) + (CONTRAST * span) ** 2
    similarity = spread / (spread + ndimage.uniform_filter(variance, WINDOW))
    edge = WINDOW // 2
    return float(similarity[edge:-edge, edge:-edge].mean())


def lowest_ssim(
    values: FloatArray, variances: FloatArray, shape: tuple[int, int], spans: FloatArray | None = None
) -> float:
    """The lowest :func:`expected_ssim` of several classes' maps, ``values`` and ``variances`` [classes, rows * cols].

    ``spans`` [classes] are the data ranges, by default those of the values.
    """
    spans = np.ptp(values, axis=1) if spans is None else spans
    maps = (each.reshape(-1, *shape) for each in (values, variances))
    return min(expected_ssim(m, v, s) for m, v, s in zip(*maps, spans.tolist(), strict=True))
