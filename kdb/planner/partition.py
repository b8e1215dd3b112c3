"""The partition of positions into batches: positions whose boxes have nearly the same extent in every layer."""

from __future__ import annotations

from collections import Counter

import numpy as np

from kdb.geometry import Footprint, IntArray
from kdb.planner.plan import LogicalPlan


def work_by_axis(plan: LogicalPlan) -> IntArray:
    """int64 [n, 2]: the operations that each position's extents along y and x stand for, in the layers before the cut.

    ``sum over layers of (operations a cell) * (length along this axis) * (mean length along the other)``.  A batch runs
    on its longest extents, so that positions of like work lose least by sharing one.  Near a border boxes are clipped,
    the earlier the nearer; elsewhere they differ by how a position falls on the layers' strides.
    """
    operations: Counter[Footprint] = Counter()  # a cell: many layers share a footprint
    footprints = plan.geometry.footprints
    for node in plan.network.nodes[: plan.cut]:
        footprint = footprints[node.name]
        if footprint is not None:
            # One a channel stands for the layers without multiply-adds.
            operations[footprint] += node.operator.macs(plan.network.input_shapes(node), node.shape, 1)
            operations[footprint] += node.shape.channels
    each = np.array(list(operations.values()), np.float64)
    heights, widths = (
        np.array([spans.lengths for spans in axis], np.float64).reshape(-1, len(plan.positions))
        for axis in ([footprint.y for footprint in operations], [footprint.x for footprint in operations])
    )
    # Whole numbers, exact in float64, so that equal extents are equal work and order falls to the positions.
    along = [(each * np.rint(b.mean(axis=1))) @ a for a, b in ((heights, widths), (widths, heights))]
    return np.stack(along, axis=1).astype(np.int64)


def partition(positions: IntArray, work: IntArray, members: IntArray, parts: int) -> list[IntArray]:
    """``members`` (indices into ``positions`` and ``work``, [n, 2] each) cut into ``parts`` near-equal groups.

    Halved, as a k-d tree is, along the axis over which their work spreads most; neighbours stay together where it is
    the same.  Works for lattices, regions and scattered positions alike.  Each group is in the order (y, x).
    """
    if parts <= 1 or len(members) <= 1:
        order = np.lexsort((positions[members, 1], positions[members, 0]))
        return [members[order]]
    low = parts // 2
    cut = len(members) * low // parts
    spread = np.ptp(work[members], axis=0)
    if not spread.any():
        spread = np.ptp(positions[members], axis=0)
    axis = int(spread[1] > spread[0])
    order = np.lexsort((positions[members, 1 - axis], positions[members, axis], work[members, axis]))
    left, right = members[order[:cut]], members[order[cut:]]
    return [*partition(positions, work, left, low), *partition(positions, work, right, parts - low)]
