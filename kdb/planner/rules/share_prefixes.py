"""A concatenation that begins with the inputs of an earlier one reuses it, as each layer of a dense block can."""

from __future__ import annotations

from kdb.operators.base import Operator
from kdb.operators.combine import Concatenate
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """[a, b], [a, b, c] -> s = [a, b], [s, c]: long runs of channels are copied instead of many short ones."""
    stacks: dict[tuple[str, ...], str] = {}
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    for node in plan.network:
        if not isinstance(node.operator, Concatenate):
            continue
        for length in range(len(node.inputs) - 1, 1, -1):
            earlier = stacks.get(node.inputs[:length])
            if earlier is not None:
                replaced[node.name] = (node.operator, (earlier, *node.inputs[length:]))
                break
        stacks.setdefault(node.inputs, node.name)
    if not replaced:
        return "no concatenation begins with the inputs of an earlier one"
    return plan.with_network(rewritten(plan.network, replaced))


RULE = Rule(
    "share_prefixes", "a concatenation that begins with the inputs of an earlier one reuses it", apply, on_network=True
)
