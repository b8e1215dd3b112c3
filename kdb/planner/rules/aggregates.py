"""Where in a network the whole image first matters."""

from __future__ import annotations

from kdb.network import Network
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
