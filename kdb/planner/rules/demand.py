"""Demand: a layer gives only what is read of it, as where the score reads a region of a dense output.

Demand goes backward, as deltas go forward: what a layer must give is the hull of what its readers require of it
(:meth:`~kdb.operators.base.Operator.requires`).  The network is cropped to that, layer by layer, so that views, deltas
and full evaluations are all of the smaller maps, and nothing outside of them exists that could be read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdb.geometry import Part
from kdb.operators.indexing import Crop, SelectCells
from kdb.operators.network import Network, Node
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import Layer

WORTH = 0.9
"""A part that has more than this share of a layer's cells is not worth the crop."""


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Crop every layer to what is read of it."""
    network = plan.network
    if not any(isinstance(node.operator, Crop | SelectCells) for node in network):
        return "no layer reads a part of another"
    parts = demanded(network)
    if all(name in parts and parts[name].extent == shape.size for name, shape in ((n.name, n.shape) for n in network)):
        return "all of every layer is read"
    return plan.with_network(_cropped(network, parts))


def demanded(network: Network) -> Mapping[str, Part]:
    """The part of each layer's map that is read, by name: the hull of its readers'; all, if it can't be cropped.

    Layers of which nothing is read are left out.
    """
    parts = {network.output.name: Part.whole(network.output.shape.size)}
    for node in reversed(network.nodes):
        if node.name not in parts:
            continue
        part = parts[node.name] = _worthwhile(network, node, parts[node.name])
        for source, read in zip(node.inputs, _requires(network, node, part), strict=True):
            if read is not None:
                parts[source] = parts[source].hull(read) if source in parts else read
    return parts


def _worthwhile(network: Network, node: Node, part: Part) -> Part:
    """The part, or the whole map where that is as good, or the layer gives nothing less."""
    whole = Part.whole(node.shape.size)
    if math.prod(part.extent) > WORTH * node.shape.cells:
        return whole
    return whole if node.operator.requires(part, network.input_shapes(node), node.shape) is None else part


def _requires(network: Network, node: Node, part: Part) -> tuple[Part | None, ...]:
    """The parts of its inputs that a layer reads for ``part`` of its own map; None for nothing."""
    shapes = network.input_shapes(node)
    found = node.operator.requires(part, shapes, node.shape)
    return tuple(Part.whole(shape.size) for shape in shapes) if found is None else found


def _cropped(network: Network, parts: Mapping[str, Part]) -> Network:
    """The network of the parts, with crops where a layer gives more than one of its readers reads."""
    layers: list[Layer] = []
    crops: dict[tuple[str, Part], str] = {}

    def given(source: str, read: Part) -> str:
        """The name of the layer that gives that part of ``source``."""
        if read == parts[source]:
            return source
        if (source, read) not in crops:
            crops[source, read] = name = f"{source}.part" + (f"#{n}" if (n := _count(crops, source)) else "")
            layers.append((name, Crop(read.of(parts[source])), (source,)))
        return crops[source, read]

    for node in network:
        if node.name not in parts:
            continue
        part, shapes = parts[node.name], network.input_shapes(node)
        reads = node.operator.requires(part, shapes, node.shape)
        if reads is None:
            whole = (Part.whole(shape.size) for shape in shapes)
            layers.append((node.name, node.operator, tuple(map(given, node.inputs, whole))))
        else:
            read = [(source, each) for source, each in zip(node.inputs, reads, strict=True) if each is not None]
            inputs = tuple(given(source, each) for source, each in read)
            layers.append((node.name, node.operator.cropped(part, [each for _, each in read], shapes), inputs))
    return Network.build(layers, network.parameters)


def _count(crops: Mapping[tuple[str, Part], str], source: str) -> int:
    """A number for the next crop of ``source``, after the first."""
    before = sum(name == source for name, _ in crops)
    return before + 1 if before else 0


RULE = Rule("demand", "a layer gives only what is read of it, as where a region is scored", apply, on_network=True)
