"""Operators that have no function here, node by node by onnx's own reference evaluator: slow, but what ONNX says.

To torch, and so to a trace, all of them are one operator that knows nothing but the shapes of its outputs; kdb's walk
puts it and what follows into the tail that is evaluated in full.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError
from kdb.models.onnx.graph import Array, Node, as_tensor

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")

_TYPES: dict[torch.dtype, int] = {torch.float32: 1, torch.int32: 6, torch.int64: 7, torch.bool: 9}
_SMALL = 64
"""Elements of a constant that becomes part of the node, since it may decide a shape."""


def packed(node: Node, constants: Mapping[str, Array]) -> tuple[str, tuple[str, ...]]:
    """A node as text, with its small constants, and the names of the inputs that it still needs.

    Raises ModelError where the reference evaluator does not know the operator.
    """
    onnx: Any = import_module("onnx")
    helper = onnx.helper
    proto = onnx.NodeProto()
    proto.ParseFromString(node.proto)
    inside = [name for name in dict.fromkeys(proto.input) if name in constants and constants[name].size <= _SMALL]
    given = tuple(name for name in dict.fromkeys(proto.input) if name and name not in inside)
    unknown = onnx.TypeProto()
    graph = helper.make_graph(
        [proto],
        "node",
        [helper.make_value_info(name, unknown) for name in given],
        [helper.make_value_info(name, unknown) for name in proto.output if name],
        [onnx.numpy_helper.from_array(np.asarray(constants[name]), name) for name in inside],
    )
    opsets = [helper.make_opsetid("", node.opset), helper.make_opsetid("ai.onnx.ml", 3)]
    text = base64.b64encode(helper.make_model(graph, opset_imports=opsets).SerializeToString()).decode()
    try:
        _evaluator(text)
    except Exception as error:  # whatever the evaluator says of a node that it does not know
        raise ModelError(f"{node} is an operator that neither kdb nor onnx can evaluate") from error
    return text, given


@lru_cache(maxsize=256)
def _evaluator(text: str) -> Any:
    return import_module("onnx.reference").ReferenceEvaluator(_unpacked(text))


def _unpacked(text: str) -> Any:
    model = import_module("onnx").ModelProto()
    model.ParseFromString(base64.b64decode(text))
    return model


def _evaluate(inputs: list[torch.Tensor], node: str) -> list[torch.Tensor]:
    evaluator = _evaluator(node)
    feeds = {name: tensor.numpy() for name, tensor in zip(evaluator.input_names, inputs, strict=True)}
    return [as_tensor(np.asarray(output)) for output in evaluator.run(None, feeds)]


def _shapes(inputs: list[torch.Tensor], node: str) -> list[torch.Tensor]:
    """Empty tensors like the outputs, by onnx's inference of shapes; sizes that are symbols keep their names."""
    onnx: Any = import_module("onnx")
    model = _unpacked(node)
    sizes: dict[str, Any] = {}
    for value, tensor in zip(model.graph.input, inputs, strict=True):
        dims = [n if isinstance(n, int) else _named(n, sizes) for n in tensor.shape]
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, _TYPES[tensor.dtype], dims))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    outputs = []
    for value in inferred.graph.output:
        kind = value.type.tensor_type
        shape: list[Any] = [d.dim_value if d.HasField("dim_value") else sizes.get(d.dim_param) for d in kind.shape.dim]
        types = {number: dtype for dtype, number in _TYPES.items()}
        if not kind.HasField("shape") or None in shape or kind.elem_type not in types:
            proto = model.graph.node[0]
            raise ModelError(f"the shape of what node '{proto.name}' ({proto.op_type}) gives is not known beforehand")
        outputs.append(torch.empty(shape, dtype=types[kind.elem_type]))
    return outputs


def _named(size: Any, sizes: dict[str, Any]) -> str:
    name = str(size)
    sizes[name] = size
    return name


evaluate: Any = torch.library.custom_op(
    "onnx_reference::node", _evaluate, mutates_args=(), schema="(Tensor[] inputs, str node) -> Tensor[]"
)
"""The outputs, copies of whatever they are, of a node that was :func:`packed`."""
evaluate.register_fake(_shapes)
