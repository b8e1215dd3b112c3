"""The partition of positions into batches: positions whose boxes have nearly the same extent in every layer."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from kdb.geometry import Footprint, IntArray, Spans
from kdb.planner.plan import LogicalPlan


def work_by_axis(plan: LogicalPlan) -> IntArray:
    """int64 [n, axes]: the operations that each position's extents stand for, in the layers before the cut.

    ``sum over layers of (operations a cell) * (length along this axis) * (mean length along each other)``.  A batch
    runs on its longest extents, so that positions of like work lose least by sharing one.  Near a border boxes are
    clipped, the earlier the nearer; elsewhere they differ by how a position falls on the layers' strides.
    """
    operations: Counter[Footprint] = Counter()  # a cell: many layers share a footprint
    n, footprints = len(plan.positions), plan.geometry.footprints
    for node in plan.network.nodes[: plan.cut]:
        footprint = footprints[node.name]
        if footprint is not None:
            # One a channel stands for the layers without multiply-adds.
            operations[footprint] += node.operator.macs(plan.network.input_shapes(node), node.shape, 1)
            operations[footprint] += node.shape.channels
    counts: dict[int, IntArray] = {}

    def mean_length(spans: Spans) -> int:
        """Over the positions, rounded."""
        if id(spans.shared) not in counts:
            counts[id(spans.shared)] = np.bincount(spans.of(np.arange(n)), minlength=len(spans.start))
        return round(float(spans.lengths @ counts[id(spans.shared)]) / n)

    # By which spans are whose: one entry, as a rule.
    sums: list[dict[int, tuple[Spans, IntArray]]] = [{} for _ in plan.positions.T]
    for footprint, each in operations.items():
        means = [mean_length(spans) for spans in footprint.spans]
        for axis, spans in enumerate(footprint.spans):
            # Whole numbers, so that equal extents are equal work and order falls to the positions.
            work = each * math.prod(means[:axis] + means[axis + 1 :]) * spans.lengths
            first, total = sums[axis].get(id(spans.shared), (spans, np.zeros_like(work)))
            sums[axis][id(spans.shared)] = first, total + work
    along = [sum((spans.spread(total) for spans, total in of.values()), np.zeros(n, np.int64)) for of in sums]
    return np.stack(along, axis=1)


def partition(positions: IntArray, work: IntArray, members: IntArray, parts: int) -> list[IntArray]:
    """``members`` (indices into ``positions`` and ``work``, [n, axes] each) cut into ``parts`` near-equal groups.

    Halved, as a k-d tree is, along the axis over which their work spreads most; neighbours stay together where it is
    the same.  Works for lattices, regions and scattered positions alike.  Each group is in the order of its positions.
    """
    if parts <= 1 or len(members) <= 1:
        return [members[np.lexsort(positions[members].T[::-1])]]
    low = parts // 2
    cut = len(members) * low // parts
    spread = np.ptp(work[members], axis=0)
    if not spread.any():
        spread = np.ptp(positions[members], axis=0)
    axis = int(np.argmax(spread))
    others = np.delete(positions[members], axis, axis=1).T[::-1]
    order = np.lexsort((*others, positions[members, axis], work[members, axis]))
    left, right = members[order[:cut]], members[order[cut:]]
    return [*partition(positions, work, left, low), *partition(positions, work, right, parts - low)]
