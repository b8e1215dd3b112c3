"""Applies the rules in order, timed, each result verified; keeps what happened for EXPLAIN."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from kdb.errors import ExecutionError
from kdb.operators.network import Network
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules import RULES, Context, Rule
from kdb.system.threads import checkpoint

log = logging.getLogger(__name__)

SETTLED = "the model itself evaluates all positions"
"""Why a rule leaves a plan alone that needs no other."""

Memo = MutableMapping[Network, dict[str, Network | str]]
"""What the rules on networks made of each, by name: a new network, or why not.  Best a WeakKeyDictionary."""


@dataclass(frozen=True)
class Applied:
    """What became of one rule: fired or not, why not, and the seconds it took."""

    rule: Rule
    fired: bool
    reason: str
    seconds: float


def optimize(
    plan: LogicalPlan,
    context: Context,
    switches: Mapping[str, bool] | None = None,
    rules: Sequence[Rule] = RULES,
    memo: Memo | None = None,
) -> tuple[LogicalPlan, tuple[Applied, ...]]:
    """``plan`` after all rules whose switch is not off.

    With a ``memo``, networks that were rewritten before are not rewritten again, so that the weights which rules derive
    are derived once.

    Raises ExecutionError where a rule leaves a plan that does not verify: a defect of that rule, never the user's.
    """
    history: list[Applied] = []
    for rule in rules:
        checkpoint()
        start = time.perf_counter()
        off = not (switches or {}).get(rule.name, True)
        result = "switched off" if off else SETTLED if plan.by_model else _apply(rule, plan, context, memo)
        seconds = 0.0 if off else time.perf_counter() - start
        if isinstance(result, str):
            history.append(Applied(rule, False, result, seconds))
        else:
            plan = result
            history.append(Applied(rule, True, "", seconds))
        log.debug("rule %s: %s", rule.name, history[-1].reason or "applied")
    return plan, tuple(history)


def _apply(rule: Rule, plan: LogicalPlan, context: Context, memo: Memo | None) -> LogicalPlan | str:
    """The rule's plan, verified, or its reason; from the memo where it is there."""
    known = memo.setdefault(plan.network, {}) if memo is not None and rule.on_network else {}
    if rule.name in known:
        held = known[rule.name]
        return held if isinstance(held, str) else plan.with_network(held)
    try:
        result = rule.apply(plan, context)  # building a network checks it too
        if not isinstance(result, str):
            result.verify(since=plan)
    except ValueError as error:
        fix = f"SET rule.{rule.name} = off"
        raise ExecutionError(f"rule {rule.name} left an unsound plan: {error}; {fix}") from error
    known[rule.name] = result if isinstance(result, str) else result.network
    return result
