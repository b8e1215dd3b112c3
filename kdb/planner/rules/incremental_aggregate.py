"""Means over the map and flattened maps are maintained as aggregates: the delta of a sum is the sum of the delta."""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.aggregates import first_aggregate, first_opaque
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Move the cut past the aggregates, to the first layer without a delta rule."""
    if plan.cut <= 1:
        return "the plan is not incremental"
    if plan.cut < first_aggregate(plan.network, plan.frozen):
        return "a layer without a delta rule comes before any aggregate"
    cut = first_opaque(plan.network, plan.frozen)
    return replace(plan, cut=cut) if cut > plan.cut else "no layer aggregates the map"


RULE = Rule("incremental_aggregate", "means and dense layers over the map take the sum of the delta", apply)
