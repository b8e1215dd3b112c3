"""The constant interior: cells whose window sees nothing but a patch of one colour have the same value everywhere.

In such cells a layer's new output is a constant, and its delta is that constant minus the view; the delta rule is
applied to the cells around them only.
"""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Mark the layers in which the cells around the interior, in strips, cost less than the whole boxes."""
    if plan.cut <= 1:
        return "the plan is not incremental"
    if not plan.uniform:
        return "the patch is not of one colour"
    if not context.costs.backend.traits.computes_on_host:
        return "the cells around the interior take several launches, which cost a device more than the interior saves"
    network, costs = plan.network, context.costs
    extents, inside = plan.extents(), plan.geometry.enclosed
    found, cheaper = False, set()
    for node in network.nodes[1 : plan.cut]:
        if not node.operator.divisible or node.name not in inside or not inside[node.name].areas.any():
            continue
        cores = plan.cores(node)
        if not any(core.part for core in cores):
            continue
        found = True
        whole = costs.delta(network, node, extents, plan.mean_batch)
        assert whole is not None, "the cut lies before any layer without a delta rule"
        if costs.ring(network, node, whole.kernel, cores) < whole.seconds * len(cores):
            cheaper.add(node.name)
    if not found:
        return "no layer has a window that lies inside the patch at every position of a batch"
    if not cheaper:
        return "the cells around the interior cost as much as the whole boxes"
    return replace(plan, interior=frozenset(cheaper))


RULE = Rule("constant_interior", "cells that see nothing but a patch of one colour are set to a constant", apply)
