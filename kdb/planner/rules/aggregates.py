"""Where in a network the whole image first matters."""

from __future__ import annotations

from kdb.network import Network, Node
from kdb.operators.combine import Expand
from kdb.operators.leaves import Opaque
from kdb.operators.locationwise import Flatten
from kdb.operators.pooling import AdaptiveAveragePool, GlobalMean


def first_aggregate(network: Network) -> int:
    """Index of the first layer that gathers the whole map; the number of layers if none does."""
    kinds = (GlobalMean, AdaptiveAveragePool, Flatten)
    return next((i for i, node in enumerate(network) if isinstance(node.operator, kinds)), len(network))


def first_opaque(network: Network) -> int:
    """Index of the first layer without a delta rule; the number of layers if there is none."""
    return next((i for i, node in enumerate(network) if isinstance(node.operator, Opaque)), len(network))


def first_spread(network: Network) -> int:
    """Index of the first layer that brings what changed to every cell; the number of layers if none does.

    A gate by means over the map, or whatever it is that lies outside the vocabulary.
    """

    def spreads(node: Node) -> bool:
        if isinstance(node.operator, Expand):
            return network.input_shapes(node)[0].size != node.shape.size
        return isinstance(node.operator, Opaque)

    return next((i for i, node in enumerate(network) if spreads(node)), len(network))
