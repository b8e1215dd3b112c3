"""What is changed of a graph so that it is a model as kdb wants it: for any batch, of logits and not probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from kdb.models.onnx.graph import Array, Graph, Node

_TRANSPARENT = ("Identity", "Dropout", "Cast", "Flatten", "Reshape", "Squeeze")
"""What may stand behind the last activation: the classes keep their order."""
_ACTIVATIONS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}


def without_activation(graph: Graph) -> tuple[Graph, str | None]:
    """The graph without a last Softmax, LogSoftmax or Sigmoid, and the activation that it was; None without one.

    A softmax counts where it is over the classes, as far as shapes are known.  The softmax of logarithms of
    probabilities is the softmax of the logits, so LogSoftmax counts as one.
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
    together = node.opset < 13  # the axis and all behind it
    axis = node.get("axis", 1 if together else -1)
    shape = shapes.get(node.inputs[0]) or shapes.get(node.outputs[0])
    if shape is None:
        return axis in (1, -1)
    axis %= len(shape)
    others = [n for k, n in enumerate(shape) if k != axis and not (together and k > axis)]
    return axis > 0 and all(n == 1 for n in others[1:])


def for_any_batch(node: Node, constants: Mapping[str, Array], graph: Graph) -> tuple[Node, Array] | None:
    """A Reshape or a Squeeze of a file with a fixed batch, and its second argument, for any; None where it may stay.

    For the batch of the file it means the same: a shape that begins with what the first axis already is may as well
    copy it, by ONNX's zero; and of all axes of length one, the first is one only there.
    """
    batch, shape = graph.image_shape[0], graph.shapes.get(node.inputs[0]) if node.inputs else None
    if batch is None:
        return None
    if node.op == "Reshape" and node.inputs[1] in constants:
        sizes = constants[node.inputs[1]].reshape(-1)
        # What is known of shapes has gaps. A first axis of unknown length is taken for the batch.
        first = shape[0] if shape and shape[0] is not None else batch
        if len(sizes) > 1 and sizes[0] == first and -1 in sizes and not (node.get("allowzero", 0) and 0 in sizes):
            return replace(node, attributes={}), np.array([0, *sizes[1:]])
    if node.op == "Squeeze" and not any(node.inputs[1:]) and batch == 1 and shape and None not in shape:
        return node, np.array([axis for axis, n in enumerate(shape) if n == 1 and axis > 0], np.int64)
    return None
