"""Incremental view maintenance: layers carry deltas by their delta rules, up to the first whole-image aggregate."""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.aggregates import first_aggregate, first_opaque
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.conditioning import ill_conditioned, jumps


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Move the cut from the source to the first aggregate.

    Not where a layer would magnify rounding errors of deltas, or break ties by them.
    """
    if (node := ill_conditioned(plan.network)) is not None:
        return f"{node.name} is a logarithm, root or quotient of values that may be near zero, which magnifies rounding"
    if (because := jumps(plan.network)) is not None:
        return because
    cut = min(first_aggregate(plan.network, plan.frozen), first_opaque(plan.network, plan.frozen))
    if cut <= 1:
        return f"the first layer has no delta rule: {plan.network.nodes[1].operator.label}"
    return replace(plan, cut=cut)


RULE = Rule("incremental", "layers are maintained by their delta rules instead of evaluated in full", apply)
