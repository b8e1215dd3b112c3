"""Where in a network the whole map first matters, by the properties that operators declare."""

from __future__ import annotations

from collections.abc import Callable

from kdb.operators.network import Network, Node


def first_aggregate(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, except those ``frozen``, that gathers the whole map; the number of layers if none."""
    return _first(network, frozen, lambda node: node.operator.gathers)


def first_opaque(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, except those ``frozen``, without a delta rule; the number of layers if none."""
    return _first(network, frozen, lambda node: not node.operator.has_delta_rule)


def first_spread(network: Network, frozen: frozenset[str] = frozenset()) -> int:
    """Index of the first layer, except those ``frozen``, that makes a change anywhere a change of every cell.

    This is a gate by the means of the map, or a layer without a delta rule; the number of layers if there is none.
    """
    return _first(network, frozen, lambda node: is_gate(network, node) or not node.operator.has_delta_rule)


def gates(network: Network) -> frozenset[str]:
    """The layers that repeat a few cells over a whole map, and the layers that only such layers read."""
    found: set[str] = set()
    for node in reversed(network.nodes[1:-1]):
        if is_gate(network, node) or all(reader.name in found for reader in network.readers(node.name)):
            found.add(node.name)
    return frozenset(found)


def is_gate(network: Network, node: Node) -> bool:
    """Whether it repeats a few cells over a whole map."""
    return node.operator.broadcasts and network.input_shapes(node)[0].size != node.shape.size


def _first(network: Network, frozen: frozenset[str], wanted: Callable[[Node], bool]) -> int:
    found = (i for i, node in enumerate(network) if node.name not in frozen and wanted(node))
    return next(found, len(network))
