"""Plans how a graph is computed: by which function each node is, on tensors or on arrays, and which are constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError
from kdb.models.onnx import reference
from kdb.models.onnx.budget import Budget
from kdb.models.onnx.graph import Array, Graph, Node, as_tensor
from kdb.models.onnx.hosted import HOSTED, objects, shape_of
from kdb.models.onnx.operators import OPERATORS
from kdb.models.onnx.rewrite import for_any_batch


@dataclass(frozen=True)
class Call:
    """A node and the function that computes it, which is called with the node and its arguments.

    ``plain`` says for each input whether it is an array rather than a tensor, ``hosted`` whether the output is.
    """

    node: Node
    function: Callable[..., Any]
    plain: tuple[bool, ...]
    hosted: bool = False


@dataclass(frozen=True)
class Plan:
    """The calls in order, and the constants that they read."""

    graph: Graph
    calls: tuple[Call, ...]
    constants: Mapping[str, Array]


def plan(graph: Graph) -> Plan:
    """The plan of a graph.

    Raises ModelError if a node reads an undefined tensor or cannot be evaluated, and if the result does not depend on
    the image.
    """
    budget = Budget.of_constants(graph.constants.values())
    constants, hosted, known, calls = dict(graph.constants), set[str](), {graph.image, *graph.constants}, []
    for node in graph.nodes:
        if unknown := [name for name in node.inputs if name and name not in known]:
            raise ModelError(f"{node} takes '{unknown[0]}', which nothing gives")
        known.update(node.outputs)
        if (opened := for_any_batch(node, constants, graph)) is not None:
            node, argument = opened
            name = f"{node.name}.open"
            node, constants[name] = replace(node, inputs=(node.inputs[0], name)), argument
        call = call_of(node, constants, hosted)
        if all(name in constants for name in node.inputs if name):
            constants.update(computed(call, constants, budget))
            continue
        calls.append(call)
        if call.hosted:
            hosted.update(node.outputs)
    if graph.result not in known:
        raise ModelError(f"no node computes its output '{graph.result}'")
    if graph.result in constants or graph.result in hosted:
        raise ModelError("its output does not depend on its input: there is nothing to explain")
    return Plan(graph, tuple(calls), constants)


def call_of(node: Node, constants: Mapping[str, Array], hosted: set[str]) -> Call:
    """The call of a node, given which tensors are constant and which are arrays on the host.

    Raises ModelError if neither kdb nor onnx can evaluate the operator.
    """
    fixed = [name in constants for name in node.inputs if name]
    arrays = [name in constants or name in hosted for name in node.inputs]
    if node.op in ("Shape", "Size") and not all(fixed):
        return Call(node, shape_of if node.op == "Shape" else _size, (False,), hosted=True)
    if node.op in HOSTED and not all(fixed) and all(arrays):
        return Call(node, HOSTED[node.op], (True,) * len(arrays), hosted=True)
    operator = OPERATORS.get(node.op)
    if operator is None or not all(arrays[k] or not node.inputs[k] for k in operator.plain if k < len(arrays)):
        return _by_reference(node, constants)
    number = [operator.scalars and not all(fixed) and _is_number(constants.get(name)) for name in node.inputs]
    plain = tuple(bool(node.inputs[k]) and (k in operator.plain or number[k]) for k in range(len(arrays)))
    return Call(node, operator.function, plain)


def _size(node: Node, x: torch.Tensor) -> Array:
    return objects([x.numel()]).reshape(())


def _is_number(array: Array | None) -> bool:
    return array is not None and array.size == 1 and array.ndim <= 1


def _by_reference(node: Node, constants: Mapping[str, Array]) -> Call:
    if node.op not in OPERATORS and node.op not in reference.OPERATORS:
        domain = node.op.rpartition("::")[0]
        raise ModelError(f"{node} is an operator" + (f" of '{domain}'" if domain else "") + " that kdb does not have")
    text, given = reference.packed(node, constants)
    taken = replace(node, inputs=given, outputs=tuple(name for name in node.outputs if name))
    return Call(taken, lambda node, *values: tuple(reference.evaluate(list(values), text)), (False,) * len(given))


def computed(call: Call, constants: Mapping[str, Array], budget: Budget) -> dict[str, Array]:
    """The outputs, by name, of a node that does not depend on the image; raises ModelError if they are too large."""
    values: list[Any] = []
    for name, plain in zip(call.node.inputs, call.plain, strict=True):
        values.append(None if not name else constants[name] if plain else as_tensor(constants[name]))
    try:
        with torch.no_grad(), budget:
            made = call.function(call.node, *values)
    except ModelError as error:
        if str(call.node) in str(error):
            raise
        raise ModelError(f"{call.node}: {error}") from error
    except Exception as error:  # a damaged file may hold arguments of any kind
        raise ModelError(f"{call.node} cannot be computed: {error}") from error
    outputs = made if isinstance(made, tuple) else (made,)
    budget.check(sizes := [output.numel() * output.element_size() for output in outputs])  # of views, such as Expand's
    budget.left -= sum(sizes)
    named = zip(call.node.outputs, outputs, strict=False)
    return {name: np.array(output.numpy()) for name, output in named if name}
