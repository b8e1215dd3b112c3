"""Rewrites graphs so that they return logits rather than probabilities, for any batch size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kdb.models.onnx.graph import Array, Graph, Node

_TRANSPARENT = ("Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze")
"""Operators that may follow the last activation, since they keep the order of the classes."""
_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}


def without_activation(graph: Graph) -> tuple[Graph, str | None]:
    """The graph without a final Softmax, LogSoftmax or Sigmoid, and the activation's name; None if there is none.

    A softmax must be over the classes, as far as shapes are known.  LogSoftmax is a softmax too, since the softmax of
    log-probabilities is that of the logits.
    """
    made = {output: node for node in graph.nodes for output in node.outputs if output}
    node = made.get(graph.result)
    while node is not None and node.op in _TRANSPARENT:
        node = made.get(node.inputs[0])
    if node is None or node.op not in _ACTIVATIONS or not _over_classes(node, graph.shapes):
        return graph, None
    bypassed = replace(node, op="Identity", attributes={})
    nodes = tuple(bypassed if each is node else each for each in graph.nodes)
    return replace(graph, nodes=nodes), _ACTIVATIONS[node.op]


def _over_classes(node: Node, shapes: Mapping[str, tuple[int | None, ...]]) -> bool:
    if node.op == "Sigmoid":
        return True
    together = node.opset < 13  # over the axis and all that follow
    axis = node.get("axis", 1 if together else -1)
    shape = shapes.get(node.inputs[0]) or shapes.get(node.outputs[0])
    if shape is None:
        return axis in (1, -1)
    axis %= len(shape)
    others = [n for k, n in enumerate(shape) if k != axis and not (together and k > axis)]
    return axis > 0 and all(n == 1 for n in others[1:])


def for_any_batch(node: Node, constants: Mapping[str, Array], graph: Graph) -> tuple[Node, Array] | None:
    """A Reshape or Squeeze that was exported for a fixed batch size, and its second argument, for any batch size.

    For the batch size of the file the result is the same: a shape that begins with the length of the first axis copies
    it, by ONNX's zero, and a Squeeze of all axes of length one leaves out the first.  None if the node needs no change.
    """
    batch, shape = graph.image_shape[0], graph.shapes.get(node.inputs[0]) if node.inputs else None
    if batch is None:
        return None
    if node.op == "Reshape" and node.inputs[1] in constants:
        sizes = constants[node.inputs[1]].reshape(-1)
        # Shapes may be unknown: a first axis of unknown length is taken for the batch.
        first = shape[0] if shape and shape[0] is not None else batch
        if len(sizes) > 1 and sizes[0] == first and -1 in sizes and not (node.get("allowzero", 0) and 0 in sizes):
            return replace(node, attributes={}), np.array([0, *sizes[1:]])
    if node.op == "Squeeze" and not any(node.inputs[1:]) and batch == 1 and shape and None not in shape:
        return node, np.array([axis for axis, n in enumerate(shape) if n == 1 and axis > 0], np.int64)
    return None
