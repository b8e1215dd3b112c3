"""A convolution of maps that are stacked becomes a sum of convolutions, where their deltas' boxes differ much.

The delta of a stack is on the union of the boxes: a decoder stacks a wide delta on that of a skip connection, which is
narrow, and the convolution behind it would be of many zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from weakref import WeakKeyDictionary

import numpy as np

from kdb.geometry import Size
from kdb.kernels.base import FloatArray, Origin, Weight
from kdb.operators.base import Operator
from kdb.operators.combine import Add, Concatenate
from kdb.operators.convolution import Convolution
from kdb.operators.network import Network, Node
from kdb.planner.plan import LogicalPlan
from kdb.planner.rules.base import Context, Rule
from kdb.planner.rules.rewriting import Layer

WORTH = 0.75
"""Of the seconds of stack and convolution, what the sum may take at most: estimates are no better."""
MOST = 4
"""Terms of a sum, at most."""
BATCH = 32
"""Positions at a time that costs are compared for."""
_made: WeakKeyDictionary[Network, dict[frozenset[str], Network]] = WeakKeyDictionary()
"""What was made of each network, so that plans for other positions share its views and its weights."""


@dataclass(frozen=True)
class _Sum:
    """A convolution ``node`` of a stack as a sum: the inputs of each term, and the first and last channel of each."""

    node: Node
    operator: Convolution
    terms: tuple[tuple[str, int, int], ...]

    @property
    def names(self) -> list[str]:
        """The layers of the terms."""
        return [f"{self.node.name}.term#{number}" for number in range(1, len(self.terms) + 1)]

    @property
    def sums(self) -> list[str]:
        """The layers that add one term after another; the last has the convolution's name."""
        return [f"{self.node.name}.sum#{number}" for number in range(1, len(self.terms) - 1)] + [self.node.name]

    def layers(self) -> Iterable[Layer]:
        """The terms, of which the first has the bias, and their sum."""
        for number, (name, (source, *_)) in enumerate(zip(self.names, self.terms, strict=True)):
            bias = None if number else self.operator.bias
            yield name, replace(self.operator, weight=self._weight(number), bias=bias), (source,)
        sum_ = self.names[0]
        for name, term in zip(self.sums, self.names[1:], strict=True):
            yield name, Add(), (sum_, term)
            sum_ = name

    def weights(self, network: Network) -> Mapping[str, Origin]:
        """The terms' parts of the weights."""
        weight = network.parameters[self.operator.weight]
        return {self._weight(i): partial(_part, weight, a, b) for i, (_, a, b) in enumerate(self.terms)}

    def _weight(self, number: int) -> str:
        _, start, stop = self.terms[number]
        return f"{self.operator.weight}[{start}:{stop}]"


def _part(weight: Weight, start: int, stop: int) -> FloatArray:
    return np.ascontiguousarray(weight.array[:, start:stop])


def apply(plan: LogicalPlan, context: Context) -> LogicalPlan | str:
    """``W [x, y] = W' x + W'' y``, where that is cheaper on the boxes of the deltas."""
    network = plan.network
    sums = [sum_ for node in network if (sum_ := _sum(network, node)) is not None]
    if not sums:
        return "no convolution reads a concatenation"
    split = _with(network, sums)
    before, after = plan.extents(), plan.with_network(split).extents()
    n = min(len(plan.positions), BATCH)

    def seconds(network: Network, names: Iterable[str], extents: Mapping[str, Size | None]) -> float:
        """Of the layers that change."""
        there = (network[name] for name in names if extents[name] is not None)
        choices = [context.costs.delta(network, node, extents, n) for node in there]
        return sum(float("inf") if choice is None else choice.seconds for choice in choices)

    worth = []
    for sum_ in sums:
        (stack,) = sum_.node.inputs
        only = len(network.readers(stack)) == 1
        now = seconds(network, [sum_.node.name, *([stack] if only else [])], before)
        then = seconds(split, [*sum_.names, *sum_.sums], after)
        if then < WORTH * now:
            worth.append(sum_)
    if not worth:
        return "the boxes of what is stacked are too much alike"
    return plan.with_network(_with(network, worth))


def _sum(network: Network, node: Node) -> _Sum | None:
    """A convolution of a stack as the sum of what it makes of each input; None for other layers."""
    operator: Operator = node.operator
    if not isinstance(operator, Convolution) or operator.groups != 1:
        return None
    stack = network[node.inputs[0]]
    if not isinstance(stack.operator, Concatenate) or not 1 < len(stack.inputs) <= MOST:
        return None
    channels = [shape.channels for shape in network.input_shapes(stack)]
    stops = list(accumulate(channels))
    terms = zip(stack.inputs, (stop - count for stop, count in zip(stops, channels, strict=True)), stops, strict=True)
    return _Sum(node, operator, tuple(terms))


def _with(network: Network, sums: Sequence[_Sum]) -> Network:
    """The network with these sums, the same one each time; stacks that nothing reads any more vanish."""
    made = _made.setdefault(network, {})
    key = frozenset(sum_.node.name for sum_ in sums)
    if key not in made:
        made[key] = _built(network, sums)
    return made[key]


def _built(network: Network, sums: Sequence[_Sum]) -> Network:
    of = {sum_.node.name: sum_ for sum_ in sums}
    layers: list[Layer] = []
    for node in network:
        if node.name in of:
            layers.extend(of[node.name].layers())
        else:
            layers.append((node.name, node.operator, node.inputs))
    added: dict[str, Origin] = {}
    for sum_ in sums:
        added |= sum_.weights(network)
    return Network.build(layers, network.parameters.extended(added))


RULE = Rule("distribute", "a convolution of stacked maps becomes a sum, where their deltas' boxes differ much", apply)
