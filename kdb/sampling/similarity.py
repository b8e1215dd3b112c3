"""Structural similarity (SSIM) of a heat map to the exact one, by scikit-image with its defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 7
"""Cells a side of SSIM's window; a smaller map has none."""


def ssim(values: NDArray[Any], exact: NDArray[Any]) -> float:
    """Of raw values [rows, cols] or [classes, rows, cols], by the exact map's range; the lowest over the classes."""
    layers = zip(_classes(values), _classes(exact), strict=True)
    return min(_structural(found, true, float(np.ptp(true)) or 1.0) for found, true in layers)


def image_ssim(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """Of maps as they are coloured, uint8 [rows, cols, 3], as the paper has it (section 4.3)."""
    return _structural(found, exact, 255, channel_axis=-1)


def _classes(values: NDArray[Any]) -> NDArray[np.float64]:
    """With a class axis, be it of one."""
    return np.asarray(values, np.float64).reshape(-1, *values.shape[-2:])


def _structural(found: NDArray[Any], exact: NDArray[Any], span: float, **options: int) -> float:
    from skimage.metrics import structural_similarity  # as slow to import as a small query is to run

    compare: Callable[..., Any] = structural_similarity
    return float(compare(found, exact, data_range=span, **options))
