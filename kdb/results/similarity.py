"""Structural similarity (SSIM) of a heat map to the exact one, by scikit-image with its default window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 7
"""Side of SSIM's window in cells; SSIM is undefined for smaller heat maps."""


def ssim(values: NDArray[Any], exact: NDArray[Any], axes: int = 2) -> float:
    """SSIM of raw scores of cells along so many ``axes``, with or without a leading class axis.

    The exact map's range is the data range.

    For several classes, the lowest over them.  Raises ValueError for maps smaller than WINDOW.
    """
    pairs = zip(_by_class(values, axes), _by_class(exact, axes), strict=True)
    return min(_structural_similarity(found, true, float(np.ptp(true)) or 1.0) for found, true in pairs)


def image_ssim(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """SSIM of coloured heat maps, uint8 [rows, columns, 3], as in section 4.3 of the paper.

    Raises ValueError for maps smaller than WINDOW.
    """
    return _structural_similarity(found, exact, 255, channel_axis=-1)


def _by_class(values: NDArray[Any], axes: int) -> NDArray[np.float64]:
    """The scores as float64 [classes, *cells]; a map without a class axis gets one of length 1."""
    return np.asarray(values, np.float64).reshape(-1, *values.shape[-axes:])


def _structural_similarity(found: NDArray[Any], exact: NDArray[Any], data_range: float, **options: int) -> float:
    # Imported here, since importing it takes as long as running a small query.
    from skimage.metrics import structural_similarity

    compare: Callable[..., Any] = structural_similarity
    return float(compare(found, exact, data_range=data_range, **options))
