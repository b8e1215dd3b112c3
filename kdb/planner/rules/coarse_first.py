"""A convolution of one tap behind a finer map is computed on the coarser one, as in a decoder that then mixes channels.

Both are linear, one over the cells of a channel and one over the channels of a cell, so that they commute; the weights
of an interpolated cell sum to one, so that a bias stays as it is.
"""

from __future__ import annotations

from kdb.operators.convolution import Convolution
from kdb.operators.indexing import SelectCells
from kdb.operators.network import Network, Node
from kdb.operators.resampling import Resample
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import Layer

COARSE = ".coarse"
"""What is appended to a layer's name for the convolution on the coarser map."""


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """``W up(x) + b = up(W x + b)``, where nothing else reads ``up(x)`` and W makes no more channels."""
    network = plan.network
    moved = {node.name for node in network if _commutes(network, node)}
    if not moved:
        return "no convolution of one tap follows a map that was made finer"
    layers: list[Layer] = []
    for node in network:
        if node.name in moved:
            finer = network[node.inputs[0]]
            layers.append((node.name + COARSE, node.operator, finer.inputs))
            layers.append((node.name, finer.operator, (node.name + COARSE,)))
        else:
            layers.append((node.name, node.operator, node.inputs))
    return plan.with_network(Network.build(layers, network.parameters))


def _commutes(network: Network, node: Node) -> bool:
    operator = node.operator
    if not isinstance(operator, Convolution) or set(operator.kernel + operator.stride) != {1} or any(operator.padding):
        return False
    finer = network[node.inputs[0]]
    if not isinstance(finer.operator, Resample | SelectCells) or len(network.readers(finer.name)) > 1:
        return False
    coarse = network.input_shapes(finer)[0]
    return coarse.cells < finer.shape.cells and operator.out_channels <= finer.shape.channels


RULE = Rule(
    "coarse_first",
    "a convolution of one tap behind a map that was made finer is computed before",
    apply,
    on_network=True,
)
