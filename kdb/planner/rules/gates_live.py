"""Live gates: gates by means of the map follow them in the box of a change, and to first order outside of it.

Frozen context corrected to first order: where :mod:`kdb.planner.rules.freeze_context` leaves out what the gates change,
this computes it in the boxes that are computed anyway, and adds what it comes to elsewhere to the logits.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import networkx as nx
import numpy as np

from kdb.operators.base import Shape
from kdb.operators.gates import Adjoint, Corrected, LiveGate, Outside, Places
from kdb.operators.network import Network, Node
from kdb.operators.sources import Constant, Opaque
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.aggregates import is_gate
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import Layer

NOTHING = "#corrections"
"""The name of the corrections before the first gate, zeros; no layer or weight of a module's has such a name."""
_made: WeakKeyDictionary[Network, dict[int, Network | str]] = WeakKeyDictionary()
"""By the number of scores, what was made of each network, so that plans for other positions share its views."""


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """Make every gate live that repeats a vector over a map; :mod:`~kdb.planner.rules.freeze_context` has the rest."""
    scores = context.permissions.live
    if not scores:
        permitted = context.permissions.approximate
        return "no correction of these positions is permitted" if permitted else "the query has no APPROXIMATE"
    if not context.costs.backend.traits.computes_on_host:
        return "the host would wait for the device at every gate"
    made = _made.setdefault(plan.network, {})
    if scores not in made:
        made[scores] = _with_live_gates(plan.network, scores)
    found = made[scores]
    return found if isinstance(found, str) else plan.with_network(found)


def _with_live_gates(network: Network, scores: int) -> Network | str:
    """The network with live gates and the corrections of so many scores; or why not."""
    if any(isinstance(node.operator, Opaque) for node in network):
        return "no gradient is taken of layers outside the vocabulary"
    live = {node.name: node for node in network if _may_live(network, node)}
    if not live:
        return "no layer multiplies every cell by means of the map"
    output = network.output
    corrections = Shape(scores, output.shape.size)
    nothing = np.zeros((*corrections.size, scores), np.float32)
    layers: list[Layer] = []
    last = NOTHING
    for node in network:
        if node.name in live:
            continue
        inputs = list(node.inputs)
        for gate in (live[name] for name in dict.fromkeys(node.inputs) if name in live):
            name = gate.name if len(network.readers(gate.name)) == 1 else f"{gate.name}.{node.name}"
            size = tuple(length + 1 for length in gate.shape.size)
            adjoint = Adjoint(Shape(scores * gate.shape.channels, size), name)
            others = tuple(dict.fromkeys(other for other in node.inputs if other not in live))
            layers.append((f"{name}.adjoint", adjoint, ()))
            layers.append((name, LiveGate(gate.shape), (*gate.inputs, *others)))
            layers.append((f"{name}.outside", Outside(), (last, name, f"{name}.adjoint")))
            last = f"{name}.outside"
            inputs = [name if each == gate.name else each for each in inputs]
        layers.append((node.name, node.operator, tuple(inputs)))
        if node is network.source:
            layers.append((NOTHING, Constant(NOTHING, corrections), ()))
    places = f"{output.name}.places"
    layers.append((places, Places(Shape(scores * output.shape.channels, output.shape.size)), ()))
    layers.append((f"{output.name}.corrected", Corrected(), (output.name, last, places)))
    return Network.build(layers, network.parameters.extended({NOTHING: nothing}))


def _may_live(network: Network, node: Node) -> bool:
    """Whether it repeats a vector, which the image changes, over a map that is joined with others that it changes."""
    if not is_gate(network, node) or network.input_shapes(node)[0].cells > 1:
        return False
    changed = _changed(network)
    return node.name in changed and all(
        any(other in changed and not is_gate(network, network[other]) for other in reader.inputs)
        for reader in network.readers(node.name)
    )


def _changed(network: Network) -> frozenset[str]:
    return frozenset(nx.descendants(network.graph, network.source.name) | {network.source.name})


RULE = Rule(
    "gates_live", "gates by the whole map follow it inside boxes, and to first order outside", apply, exact=False
)
