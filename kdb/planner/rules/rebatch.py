"""Re-batching: maps that cross the cut are gathered from several batches, for full evaluation in larger batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kdb.kernels.work import ELEMENT
from kdb.operators.network import Node
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Form groups of batches that fit a worker's buffer, smaller ones towards the end, so that workers end together."""
    if len(plan.batches) <= 1:
        return "there is only one batch"
    if plan.cut >= len(plan.network):
        return "no layer is evaluated in full"
    crossing = sum(plan.network[name].shape.elements for name in plan.crossing()) * ELEMENT
    positions = min(context.buffer_positions, max(context.buffer_bytes // crossing, 1))
    largest = max(len(batch) for batch in plan.batches)
    fits = max(positions // largest, 1)
    groups: list[tuple[int, ...]] = []
    first, count = 0, len(plan.batches)
    shares = 2 * context.threads if context.threads > 1 else 1  # one worker has no other to wait for
    while first < count:
        # Guided self-scheduling (Polychronopoulos and Kuck 1987), by half a worker's share of what is left.
        stop = first + min(fits, -(-(count - first) // shares))
        groups.append(tuple(range(first, stop)))
        first = stop
    return replace(plan, groups=tuple(groups), full_batch=full_batch(plan.network.nodes[plan.cut :], context))


def full_batch(nodes: Sequence[Node], context: Context) -> int:
    """How many positions a full evaluation of ``nodes`` takes at a time."""
    widest = max(node.shape.elements for node in nodes) * ELEMENT
    traits = context.costs.backend.traits
    return context.batch_size or max(min(traits.full_batch_bytes // widest, traits.full_batch), 1)


RULE = Rule("rebatch", "batches are gathered before the layers that are evaluated in full", apply)
