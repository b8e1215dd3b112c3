"""Positions asked for more than once are evaluated once: common subexpressions of the queries of a batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Keep the distinct positions, and for each position asked the index of its representative."""
    distinct, inverse = np.unique(plan.positions, axis=0, return_inverse=True)
    if len(distinct) == len(plan.positions):
        return "all positions are distinct"
    single = LogicalPlan.naive(plan.network, distinct, plan.patch, plan.bounded, plan.uniform)
    return replace(single, duplicates=inverse.reshape(-1), full_macs=plan.full_macs)


RULE = Rule("share_duplicates", "a position asked for twice is evaluated once", apply)
