"""Cut-over: once boxes fill the map, full evaluation of the remaining layers is cheaper than deltas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Move the cut to where deltas before it and full evaluation after it have the least estimated cost together."""
    if plan.cut <= 1:
        return "the plan is not incremental"
    network, costs = plan.network, context.costs
    extents = plan.extents()
    n = plan.mean_batch
    deltas, fulls = [0.0], [0.0]
    for node in network.nodes[1:]:
        delta = costs.delta(network, node, extents, n)
        deltas.append(0.0 if extents[node.name] is None else delta.seconds if delta else float("inf"))
        fulls.append(0.0 if extents[node.name] is None else costs.full(network, node, n).seconds)
    laid = np.array([costs.materialize(node.shape, n) for node in network])
    # A layer crosses every cut behind it, up to its last reader.
    own = np.arange(1, len(network) + 1)
    crossing = np.zeros(len(network) + 2)
    np.add.at(crossing, own, laid)
    np.subtract.at(crossing, np.maximum(np.array(network.last_read) + 1, own), laid)
    before, after = np.cumsum(deltas), np.cumsum(fulls[::-1])[::-1]
    totals = before + np.cumsum(crossing)[1:-1] + np.append(after[1:], 0.0)
    best, least = plan.cut, float("inf")
    for cut, total in enumerate(totals[: plan.cut].tolist(), start=1):
        parts = cut < len(network) and network.nodes[cut].operator.joined
        if not parts and total < least * (1 - 1e-9):
            best, least = cut, total
    if best == plan.cut:
        return "full evaluation from an earlier layer on would cost more"
    return replace(plan, cut=best)


RULE = Rule("cut_over", "where boxes fill the map, the rest of the network is evaluated in full", apply)
