"""The partition of positions into batches: nearby positions, whose boxes have nearly the same extent in every layer."""

from __future__ import annotations

import numpy as np

from kdb.geometry import IntArray


def partition(positions: IntArray, members: IntArray, parts: int) -> list[IntArray]:
    """``members`` (indices into ``positions`` [n, 2]) cut into ``parts`` near-equal groups of neighbours.

    Halved along the axis they spread over most, as a k-d tree does; works for lattices, regions and scattered
    positions alike.  Each group is in the order (y, x).
    """
    if parts <= 1 or len(members) <= 1:
        order = np.lexsort((positions[members, 1], positions[members, 0]))
        return [members[order]]
    low = parts // 2
    cut = len(members) * low // parts
    spread = np.ptp(positions[members], axis=0)
    axis = int(spread[1] > spread[0])
    order = np.lexsort((positions[members, 1 - axis], positions[members, axis]))
    left, right = members[order[:cut]], members[order[cut:]]
    return [*partition(positions, left, low), *partition(positions, right, parts - low)]
