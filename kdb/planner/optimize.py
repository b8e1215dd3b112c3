"""Applies the rules in order, timed, each result verified; keeps what happened for EXPLAIN."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdb.errors import ExecutionError
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules import RULES, Context, Rule


@dataclass(frozen=True)
class Applied:
    """What became of one rule: fired or not, why not, and the seconds it took."""

    rule: Rule
    fired: bool
    reason: str
    seconds: float


def optimize(
    plan: LogicalPlan, context: Context, switches: Mapping[str, bool] | None = None, rules: Sequence[Rule] = RULES
) -> tuple[LogicalPlan, tuple[Applied, ...]]:
    """``plan`` after all rules whose switch is not off.

    Raises ExecutionError where a rule leaves a plan that does not verify: a defect of that rule, never the user's.
    """
    history = []
    for rule in rules:
        start = time.perf_counter()
        if not (switches or {}).get(rule.name, True):
            history.append(Applied(rule, False, "switched off", 0.0))
            continue
        result = rule.apply(plan, context)
        if isinstance(result, str):
            history.append(Applied(rule, False, result, time.perf_counter() - start))
            continue
        try:
            result.verify()
        except ValueError as error:
            raise ExecutionError(
                f"rule {rule.name} left an unsound plan: {error}; SET rule.{rule.name} = off"
            ) from error
        plan = result
        history.append(Applied(rule, True, "", time.perf_counter() - start))
    return plan, tuple(history)
