"""Where in a network the whole image first matters."""

from __future__ import annotations

from collections.abc import Callable

from kdb.operators.combine import Expand
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Flatten
from kdb.operators.pooling import AdaptiveAveragePool, GlobalMean
from kdb.operators.sources import Opaque


def first_aggregate(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, but for those ``frozen``, that gathers the whole map; the number of layers if none."""
    kinds = (GlobalMean, AdaptiveAveragePool, Flatten)
    return _first(network, lambda node: isinstance(node.operator, kinds) and node.name not in frozen)


def first_opaque(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, but for those ``frozen``, without a delta rule; the number of layers if none."""
    return _first(network, lambda node: isinstance(node.operator, Opaque) and node.name not in frozen)


def first_spread(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, but for those ``frozen``, that brings what changed to every cell.

    A gate by means over the map, or whatever it is that lies outside the vocabulary; the number of layers if none does.
    """

    def spreads(node: Node) -> bool:
        return node.name not in frozen and (_is_gate(network, node) or isinstance(node.operator, Opaque))

    return _first(network, spreads)


def gates(network: Network) -> frozenset[str]:
    """Layers that bring a few cells to the whole of a map, and those that feed nothing else."""
    found: set[str] = set()
    for node in reversed(network.nodes[1:-1]):
        if _is_gate(network, node) or all(reader.name in found for reader in network.readers(node.name)):
            found.add(node.name)
    return frozenset(found)


def _is_gate(network: Network, node: Node) -> bool:
    return isinstance(node.operator, Expand) and network.input_shapes(node)[0].size != node.shape.size


def _first(network: Network, wanted: Callable[[Node], bool]) -> int:
    return next((i for i, node in enumerate(network) if wanted(node)), len(network))
