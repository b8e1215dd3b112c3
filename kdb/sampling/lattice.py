"""Nested lattices over the grid of a heat map, coarse to fine: cubic ones, each before the centres of its cubes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdb.geometry import Size

STEP = {1: 16, 2: 4, 3: 4}
"""Distance in cells between neighbours on the coarsest lattice, by the number of axes.

It has a sixteenth of the cells of a line or a plane, and a sixty-fourth of those of a volume.
"""


def levels(shape: Size) -> NDArray[np.int64]:
    """The level of each cell of a grid of ``shape``, int64 [*shape], from 0 (coarsest) on.

    Level 0: every STEP-th cell of each axis, and the last one, so that no cell is extrapolated; 1: the centres of the
    cubes between them; 2: the rest of the cubic lattice of half the step; 3: its centres; and so on to the last level,
    all others.  In a plane each level halves the area per cell.  On a line the centres are all that there is of the
    next lattice, so that even levels after 0 are empty; in a volume, levels divide what a cell stands for by 2 and 4.
    """
    found, level = np.full(shape, -1, np.int64), 0
    axes, step = np.indices(shape), STEP[len(shape)]
    last = np.reshape(shape, (-1, *[1] * len(shape))) - 1
    found[((axes % step == 0) | (axes == last)).all(axis=0)] = level
    while step > 1:
        for rest in (0, step // 2):
            found[(found < 0) & (axes % step == rest).all(axis=0)] = level
            level += 1
        step //= 2
    found[found < 0] = level
    return found
