"""A model that ends in probabilities, as one of logits: kdb computes both, and a softmax of a softmax is neither."""

from __future__ import annotations

from dataclasses import replace

from kdb.operators.network import Network
from kdb.operators.pointwise import Pointwise

# The softmax of logarithms of probabilities is that of the logits.
_ACTIVATIONS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid"}


def without_activation(network: Network) -> tuple[Network, str | None]:
    """The network without a softmax over the classes, its logarithm or a sigmoid as the last layer, and which it was.

    The network as it is, and None, where it ends in none of them.
    """
    last = network.output
    if not isinstance(last.operator, Pointwise):
        return network, None
    *before, function = last.operator.program
    activation = _ACTIVATIONS.get(function.function)
    if activation is None:
        return network, None
    nodes = network.nodes[:-1]
    if before:
        nodes += (replace(last, operator=replace(last.operator, program=tuple(before))),)
    elif nodes[-1].name != last.inputs[0]:
        return network, None  # what lies between would no longer be read, and another layer be the last
    return replace(network, nodes=nodes), activation
