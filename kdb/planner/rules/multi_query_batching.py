"""Multi-query batching: positions with similar boxes share each kernel's launch, with boxes of one size in a layer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from kdb.kernels.work import ELEMENT
from kdb.planner.partition import partition, work_by_axis
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule

CLEARLY = 0.9
"""Of the seconds of the usual size, what another may take at most to be taken."""


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Partition the positions into batches of nearly equal size and similar work, the same number for each worker."""
    n = len(plan.positions)
    size = context.batch_size or _batch_size(plan, context)
    parts = -(-n // size)
    # Every worker should have the same number of batches, unless they would get too small to share anything.
    if context.batch_size is None and n >= 2 * context.threads:
        parts = -(-parts // context.threads) * context.threads
    if parts >= n:
        return "there are too few positions to batch"
    batches = tuple(partition(plan.positions, work_by_axis(plan), np.arange(n), parts))
    return replace(plan, batches=batches, groups=tuple((i,) for i in range(parts)), full_batch=size)


def _batch_size(plan: LogicalPlan, context: Context) -> int:
    """The device's size at which all batches together are expected to take least: calls against longer extents.

    Sizes whose largest delta fills half of a worker's buffer do not count, since several deltas are alive at a time;
    nor do others than the usual one, if there is one, that are not clearly faster.
    """
    traits = context.costs.backend.traits
    sizes, usual = traits.batch_sizes, traits.usual_batch
    n, network = len(plan.positions), plan.network
    if usual is not None and n <= sizes[0]:
        return usual
    work, members = work_by_axis(plan), np.arange(n)

    def seconds(size: int) -> float:
        parts = -(-n // size)
        batched = replace(plan, batches=tuple(partition(plan.positions, work, members, parts)))
        extents, each = batched.extents(), batched.mean_batch
        cells = ((node, extents[node.name]) for node in network.nodes[: plan.cut])
        largest = max(node.shape.channels * math.prod(extent) for node, extent in cells if extent is not None)
        if size > sizes[0] and ELEMENT * largest * each > context.buffer_bytes // 2:
            return float("inf")
        choices = (context.costs.delta(network, node, extents, each) for node in network.nodes[1 : plan.cut])
        return len(batched.batches) * sum(choice.seconds for choice in choices if choice is not None)

    times = {size: seconds(size) for size in sizes}
    best = min(sizes, key=lambda size: times[size])
    return best if usual is None or times[best] < CLEARLY * times[usual] else usual


RULE = Rule(
    "multi_query_batching", "positions with similar boxes run as one batch, with boxes of one size in each layer", apply
)
