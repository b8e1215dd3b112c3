"""Finds layers that magnify the rounding errors of deltas without limit.

A layer that carries a delta computes with ``view + delta``, whose error is relative to the larger of the two.  If they
nearly cancel, the logarithm, a root or the reciprocal of the sum has an error that full inference does not have.

On maps, where each position changes cells by the thousand, no delta passes such a layer (:func:`ill_conditioned`).  On
vectors view and delta rarely cancel: there each position is watched while it is evaluated (:func:`watched`), and
evaluated in full where they do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from kdb.kernels.base import Operand, Program
from kdb.operators.network import Network, Node
from kdb.operators.pointwise import Pointwise
from kdb.operators.pooling import MaxPool
from kdb.operators.sources import Opaque

SAFE = 1e-2
"""For inputs of at least this value, derivatives are at most some hundreds, like those of other layers."""
LEAST_EPS = 1e-7
"""What a normalization adds to the variance, for it to be safe: PyTorch's 1e-5 is, and so is the 1e-6 of ConvNeXt."""
NEVER_NEGATIVE = frozenset({"abs", "exp", "sigmoid", "softplus", "softmax", "sqrt"})


def ill_conditioned(network: Network) -> Node | None:
    """The first layer on maps that takes a logarithm, root or quotient of values that may come near zero, or None.

    A normalization of each cell divides by its deviation.
    """
    return next((node for node in _magnifying(network) if node.shape.cells > 1), None)


def jumps(network: Network) -> str | None:
    """In words, what shows any rounding, however small; None if nothing does.

    Under a patch of one colour whole regions of a map are equal, for one, but not if they are sums of views and deltas.
    """
    return next(
        (node.operator.jumps for node in network if isinstance(node.operator, Opaque) and node.operator.jumps), None
    )


def watched(network: Network) -> frozenset[str]:
    """The layers whose inputs are watched for cancellation: on vectors, and those outside the vocabulary.

    What the latter do with small numbers is not known; a group norm, for one, divides by their deviation.
    """
    vectors = [node for node in network if node.shape.cells == 1]
    found = {node.name for node in _magnifying(network) if node.shape.cells == 1}
    found |= {node.name for node in vectors if isinstance(node.operator, Pointwise) and _normalizes(node.operator)}
    return frozenset(found | {node.name for node in network if isinstance(node.operator, Opaque)})


def _magnifying(network: Network) -> Iterator[Node]:
    """The layers that take a logarithm, root or quotient of values that may come near zero, in order."""
    least: dict[str, float] = {}  # a lower bound of each layer's values
    for node in network:
        least[node.name] = -math.inf
        if isinstance(node.operator, Pointwise):
            found = _least_of(node.operator.program, least[node.inputs[0]])
            if found is None:
                yield node
            least[node.name] = -math.inf if found is None else found
        elif isinstance(node.operator, MaxPool):
            least[node.name] = least[node.inputs[0]]


def _normalizes(operator: Pointwise) -> bool:
    return any(instruction.function == "normalize" for instruction in operator.program)


def _least_of(program: Program, given: float) -> float | None:
    """A lower bound of the program's value, if ``given`` is one of its input; None where rounding is magnified."""
    least = [given]  # of each register

    def bound(operand: Operand) -> float:
        if isinstance(operand, str):
            return -math.inf
        return least[operand] if isinstance(operand, int) else operand

    for instruction in program:
        name, operands = instruction.function, instruction.operands
        bounds = [bound(operand) for operand in operands]
        if name in ("log", "sqrt", "reciprocal") and bounds[0] < SAFE:
            return None
        if name == "div" and isinstance(operands[1], int) and bounds[1] < SAFE:
            return None
        if name == "normalize" and bounds[1] < LEAST_EPS:
            return None
        if name == "pow" and not (isinstance(operands[1], float) and operands[1] >= 1) and bounds[0] < SAFE:
            return None
        least.append(_least(name, operands, bounds))
    return least[-1]


def _least(name: str, operands: tuple[Operand, ...], bounds: list[float]) -> float:
    """A lower bound of an instruction's result, given its operands'."""
    if name == "maximum":
        return max(bounds)
    if name == "minimum":
        return min(bounds)
    if name == "add":
        return sum(bounds)
    if name in NEVER_NEGATIVE or (name == "pow" and isinstance(operands[1], float) and operands[1] % 2 == 0):
        return 0.0
    if name == "mul" and operands[0] == operands[1]:
        return 0.0
    if name == "mul" and min(bounds) >= 0:
        return bounds[0] * bounds[1]
    return -math.inf
