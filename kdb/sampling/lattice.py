"""Nested lattices over the grid of a heat map: each level halves the area per evaluated cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEVELS = 5
STEP = 4
"""Distance in cells between neighbours on the coarsest lattice."""


def levels(rows: int, columns: int) -> NDArray[np.int64]:
    """The level of each cell of a grid, int64 [rows, columns], from 0 (coarsest) to LEVELS - 1.

    Level 0: every fourth cell of both axes, and the last row and column, so that no cell is extrapolated; 1: the
    centres of the squares between them; 2: the remaining cells whose row and column are even; 3: the centres between
    those; 4: all others.
    """
    y, x = (axis.astype(np.int64) for axis in np.mgrid[:rows, :columns])
    found = np.full((rows, columns), 4, np.int64)
    found[(y % 2 == 1) & (x % 2 == 1)] = 3
    found[(y % 2 == 0) & (x % 2 == 0)] = 2
    found[(y % STEP == 2) & (x % STEP == 2)] = 1
    coarse_y, coarse_x = ((axis % STEP == 0) | (axis == last) for axis, last in ((y, rows - 1), (x, columns - 1)))
    found[coarse_y & coarse_x] = 0
    return found
