"""The rules, in the order in which they are applied; one file each."""

from __future__ import annotations

from kdb.planner.rules import (
    constant_interior,
    cut_over,
    fold_batch_norm,
    fold_padding,
    freeze_context,
    incremental,
    incremental_aggregate,
    merge_pointwise,
    multi_query_batching,
    null_deltas,
    projective_field,
    rebatch,
    share_duplicates,
    share_prefixes,
)
from kdb.planner.rules.base import Context, Rule

RULES: tuple[Rule, ...] = (
    fold_padding.RULE,
    fold_batch_norm.RULE,
    merge_pointwise.RULE,
    share_prefixes.RULE,
    share_duplicates.RULE,
    freeze_context.RULE,
    incremental.RULE,
    incremental_aggregate.RULE,
    projective_field.RULE,
    multi_query_batching.RULE,
    cut_over.RULE,
    constant_interior.RULE,
    rebatch.RULE,
    null_deltas.RULE,
)

__all__ = ["RULES", "Context", "Rule"]
