"""Positions where the patch equals the image are not evaluated: their score is that of the unmodified image."""

from __future__ import annotations

from dataclasses import replace

from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Mark the plan; the executor finds the positions once it has the pixels."""
    if not context.costs.backend.traits.computes_on_host:
        return "finding them would make the host wait for the device before every batch"
    return replace(plan, drop_null=True)


RULE = Rule("null_deltas", "positions whose patch equals the image are not evaluated", apply)
