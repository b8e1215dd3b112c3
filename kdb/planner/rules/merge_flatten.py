"""A dense layer reads the map that was flattened for it: of a delta there are fewer cells than of the map."""

from __future__ import annotations

from kdb.operators.base import Operator
from kdb.operators.dense import Dense, DenseMap, Flatten
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import rewritten


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """W flatten(x) -> W x; a Flatten that nothing else reads vanishes."""
    network = plan.network
    replaced: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    for node in network:
        dense = node.operator
        if isinstance(dense, Dense) and isinstance(network[node.inputs[0]].operator, Flatten):
            on_map = DenseMap(dense.weight, dense.bias, dense.out_channels)
            replaced[node.name] = on_map, network[node.inputs[0]].inputs
    return plan.with_network(rewritten(network, replaced)) if replaced else "no dense layer reads a flattened map"


RULE = Rule("merge_flatten", "a dense layer reads the map that was flattened for it", apply, on_network=True)
