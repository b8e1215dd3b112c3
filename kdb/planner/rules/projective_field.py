"""Projective field thresholding (section 4.1): boxes stop growing at a share of the map, what lies beyond is dropped.

Most of a change stays about the patch's centre: along a chain of convolutions it spreads like a Gaussian, by the square
root of their number, while boxes grow by the number itself (appendix D).
"""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Set the plan's threshold to the one that the query permits."""
    threshold = context.permissions.threshold
    if threshold is None:
        return "the query has no THRESHOLD"
    if plan.cut <= 1:
        return "the plan is not incremental"
    if threshold == 1:
        return "THRESHOLD 1 does not limit boxes"
    return replace(plan, threshold=threshold)


RULE = Rule("projective_field", "boxes take at most the share of a map that THRESHOLD says", apply, exact=False)
