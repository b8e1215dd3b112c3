"""Removes a final softmax or sigmoid: kdb applies the activation itself, and needs the logits before it."""

from __future__ import annotations

from dataclasses import replace

from kdb.operators.network import Network
from kdb.operators.pointwise import Pointwise

# The softmax of log-probabilities is that of the logits.
_ACTIVATIONS = {"softmax": "softmax", "log_softmax": "softmax", "sigmoid": "sigmoid"}


def without_activation(network: Network) -> tuple[Network, str | None]:
    """The network without its last layer, if that is a softmax, log-softmax or sigmoid, and the activation's name.

    Otherwise the network itself and None.
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
        return network, None  # without its reader, the layer before would not be the last one
    return replace(network, nodes=nodes), activation
