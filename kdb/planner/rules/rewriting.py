"""What network rules share: replacing a layer by another, wherever it is read."""

from __future__ import annotations

from collections.abc import Mapping

from kdb.kernels.base import Origin
from kdb.operators.base import Operator
from kdb.operators.network import Network

Layer = tuple[str, Operator, tuple[str, ...]]


def rewritten(
    network: Network,
    replaced: Mapping[str, tuple[Operator, tuple[str, ...]]],
    added: Mapping[str, Origin] | None = None,
) -> Network:
    """``network`` with some layers given another operator and inputs; layers that nothing reads any more vanish.

    ``added`` are the weights that the new operators name besides those there are.
    """
    layers: list[Layer] = []
    for node in network:
        operator, inputs = replaced.get(node.name, (node.operator, node.inputs))
        layers.append((node.name, operator, inputs))
    return Network.build(layers, network.parameters.extended(added or {}))
