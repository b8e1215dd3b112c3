"""The rules, in the order in which they are applied; one file each, and one line here."""

from __future__ import annotations

from importlib import import_module

from kdb.planner.rules.base import Context, Rule

_ORDER = (
    "fold_padding",
    "fold_batch_norm",
    "merge_pointwise",
    "merge_flatten",
    "coarse_first",
    "demand",
    "share_prefixes",
    "share_duplicates",
    "unreached",
    "few_positions",
    "distribute",
    "gates_live",
    "freeze_context",
    "incremental",
    "incremental_aggregate",
    "projective_field",
    "multi_query_batching",
    "cut_over",
    "constant_interior",
    "rebatch",
    "null_deltas",
)

RULES: tuple[Rule, ...] = tuple(import_module(f"{__name__}.{name}").RULE for name in _ORDER)

__all__ = ["RULES", "Context", "Rule"]
