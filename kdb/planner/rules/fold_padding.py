"""Zero padding before a convolution becomes the convolution's own."""

from __future__ import annotations

from dataclasses import replace
from operator import add

from kdb.operators.base import Operator
from kdb.operators.convolution import Convolution
from kdb.operators.pooling import Pad
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """conv(pad(x)) -> conv'(x), where the padding is by zero."""
    network = plan.network
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    for node in network:
        if isinstance(node.operator, Convolution):
            source = network[node.inputs[0]]
            if isinstance(source.operator, Pad) and source.operator.value == 0:
                both = tuple(map(add, node.operator.padding, source.operator.padding))
                operator = replace(node.operator, padding=both)
                replaced[node.name] = (operator, source.inputs)
    if not replaced:
        return "no zero padding before a convolution"
    return plan.with_network(rewritten(network, replaced))


RULE = Rule("fold_padding", "zero padding becomes part of the convolution that reads it", apply, on_network=True)
