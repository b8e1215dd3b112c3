"""Positions whose change reaches nothing that is read have the score of the unmodified image: one stands for all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from kdb.operators.indexing import Crop
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Keep the positions that reach the output, and one of the others."""
    if not any(isinstance(node.operator, Crop) for node in plan.network):
        return "the score reads all of the output"
    footprint = plan.geometry.footprints[plan.network.output.name]
    assert footprint is not None, "the output depends on the source"
    reaching = footprint.areas > 0
    if (~reaching).sum() < 2:
        return "every position reaches what is read"
    kept = reaching.copy()
    kept[np.argmin(reaching)] = True
    index = np.cumsum(kept) - 1
    index[~reaching] = index[np.argmin(reaching)]
    asked = index if plan.duplicates is None else index[plan.duplicates]
    single = LogicalPlan.naive(plan.network, plan.positions[kept], plan.patch, plan.bounded, plan.uniform)
    return replace(single, duplicates=asked, full_macs=plan.full_macs)


RULE = Rule("unreached", "positions that do not reach what is scored are answered by the unmodified image", apply)
