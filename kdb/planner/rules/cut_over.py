"""Cut-over: once boxes fill the map, what is left is cheaper evaluated in full, without views to gather or subtract."""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Move the cut forward to where the estimated cost of deltas before and full evaluation after is least."""
    if plan.cut <= 1:
        return "the plan is not incremental"
    network, costs = plan.network, context.costs
    extents = plan.extents()
    n = plan.mean_batch
    deltas, fulls = [0.0], [0.0]
    for node in network.nodes[1:]:
        delta = costs.delta(network, node, extents, n)
        deltas.append(0.0 if extents[node.name] is None else delta.seconds if delta else float("inf"))
        fulls.append(costs.full(network, node, n).seconds)
    laid = {node.name: costs.materialize(node.shape, n) for node in network}
    best, least = plan.cut, float("inf")
    for cut in range(1, plan.cut + 1):
        moved = sum(laid[name] for name in replace(plan, cut=cut).crossing())
        total = sum(deltas[:cut]) + moved + sum(fulls[cut:])
        if total < least * (1 - 1e-9):
            best, least = cut, total
    if best == plan.cut:
        return "deltas are cheaper all the way"
    return replace(plan, cut=best)


RULE = Rule("cut_over", "where boxes fill the map, the rest of the network is evaluated in full", apply)
