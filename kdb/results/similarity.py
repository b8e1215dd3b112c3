"""Structural similarity (SSIM) of a heat map to the exact one, by scikit-image with its default window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import Size, spelled

WINDOW = 7
"""Length of SSIM's window in cells; SSIM is undefined for heat maps without an axis of this length."""


def windows(shape: Size) -> Size:
    """The extent of SSIM's window along each axis of a map with ``shape`` cells.

    It is WINDOW; along an axis that is shorter, 1: SSIM is then the mean of that of the slices across that axis, as it
    is for the frames of a video.
    """
    return tuple(WINDOW if length >= WINDOW else 1 for length in shape)


def ssim(values: NDArray[Any], exact: NDArray[Any], axes: int) -> float:
    """SSIM of raw scores [*cells] or [classes, *cells] with 1 to 3 ``axes`` of cells.

    The data range is the exact map's.  For several classes, the lowest over them.  Raises ValueError where every axis
    is shorter than WINDOW.
    """
    if max(exact.shape[-axes:]) < WINDOW:
        raise ValueError(
            f"a map of {spelled(exact.shape[-axes:])} cells has no SSIM, which takes {WINDOW} along an axis"
        )
    pairs = zip(_by_class(values, axes), _by_class(exact, axes), strict=True)
    return min(_structural_similarity(found, true, float(np.ptp(true)) or 1.0, channel_axis=0) for found, true in pairs)


def image_ssim(found: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """SSIM of coloured heat maps, uint8 [rows, columns, 3], as in section 4.3 of the paper.

    Raises ValueError for maps smaller than WINDOW.
    """
    return _structural_similarity(found, exact, 255, channel_axis=-1)


def _by_class(values: NDArray[Any], axes: int) -> NDArray[np.float64]:
    """The scores as float64 [classes, slices, *cells]: the axes of cells that are shorter than WINDOW make slices.

    A map without a class axis gets one of length 1.
    """
    shape = values.shape[-axes:]
    short = [-axes + axis for axis, width in enumerate(windows(shape)) if width == 1]
    long = [length for length in shape if length >= WINDOW]
    maps = np.asarray(values, np.float64).reshape(-1, *shape)
    return np.moveaxis(maps, short, range(1, 1 + len(short))).reshape(len(maps), -1, *long)


def _structural_similarity(found: NDArray[Any], exact: NDArray[Any], data_range: float, **options: int) -> float:
    # Imported here, since importing it takes as long as running a small query.
    from skimage.metrics import structural_similarity

    compare: Callable[..., Any] = structural_similarity
    return float(compare(found, exact, data_range=data_range, **options))
