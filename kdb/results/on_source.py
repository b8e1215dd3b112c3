"""Maps on the cells of their sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import Space

if TYPE_CHECKING:
    from kdb.results.maps import HeatMap


def on_source(heat_map: HeatMap) -> NDArray[np.float32]:
    """float32 [*source_size], or [classes, *source_size]: each cell of the source has the mean score of the patches
    that cover its centre; NaN where there is none.
    """
    axes = len(heat_map.size)
    start, extent = np.reshape(heat_map.source_box, (2, axes))
    values = heat_map.upsample()
    for axis, length in enumerate(heat_map.source_size):
        # The cell of the grid that the centre of each of the source's lies in.
        cells = np.floor((np.arange(length) + 0.5 - start[axis]) * heat_map.size[axis] / extent[axis]).astype(np.int64)
        inside = (cells >= 0) & (cells < heat_map.size[axis])
        at = values.ndim - axes + axis
        values = values.take(np.where(inside, cells, 0), axis=at)
        values[(..., ~inside, *(slice(None),) * (axes - 1 - axis))] = np.nan
    return values


def as_in_the_file(values: NDArray[np.float32], space: Space) -> tuple[NDArray[np.float32], Space]:
    """An array [.., *cells] with its last three axes in the file's order and direction, and the space of these."""
    leading = values.ndim - 3
    turn = np.eye(4)
    for axis, (of_file, backwards) in enumerate(space.turns):
        # From indices in the file to those in the array.
        turn[axis] = np.eye(4)[of_file] * (-1 if backwards else 1)
        turn[axis, 3] = values.shape[leading + axis] - 1 if backwards else 0
    values = np.flip(values, tuple(leading + axis for axis, (_, backwards) in enumerate(space.turns) if backwards))
    order = np.argsort([of_file for of_file, _ in space.turns])
    return values.transpose(*range(leading), *(leading + order)), Space(space.affine @ turn)
