"""Updates that change nothing are dropped: where the patch equals the image, the score is the baseline."""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Mark the plan; which positions they are is seen when the pixels are."""
    if not context.costs.backend.traits.computes_on_host:
        return "finding them would make the host wait for the device before every batch"
    return replace(plan, drop_null=True)


RULE = Rule("null_deltas", "positions whose patch equals the image are not evaluated", apply)
