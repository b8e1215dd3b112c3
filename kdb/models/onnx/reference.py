"""Evaluates operators without a PyTorch function by onnx's reference evaluator, which is slow but correct.

In a trace they are one custom operator, of which only the output shapes are known; it is outside kdb's vocabulary, so
that it and what depends on it are evaluated in full.
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

_OPERATORS = """
    AffineGrid Attention BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CausalConvWithState CenterCropPad
    Col2Im Compress CumProd DFT DeformConv Det DynamicQuantizeLinear EyeLike GRU GatherElements GatherND GlobalLpPool
    GridSample Hardmax IsInf LSTM LinearAttention LpPool MaxUnpool MeanVarianceNormalization
    NonMaxSuppression NonZero OneHot RMSNormalization RNN ReverseSequence RoiAlign RotaryEmbedding Scatter
    ScatterElements ScatterND SwiGLU TensorScatter Unique
"""
_OF_ML = """
    ArrayFeatureExtractor Binarizer FeatureVectorizer Imputer LinearClassifier LinearRegressor Normalizer SVMClassifier
    SVMRegressor Scaler
"""
OPERATORS = frozenset(_OPERATORS.split()).union(f"ai.onnx.ml::{name}" for name in _OF_ML.split())
"""What the evaluator is asked for: numbers made of numbers.  It also has operators that open images (ImageDecoder, by
any of Pillow's formats), match patterns, or walk trees, which may have no end."""

_TYPES: dict[torch.dtype, int] = {torch.float32: 1, torch.int32: 6, torch.int64: 7, torch.bool: 9}
_SMALL = 64
"""Most elements of a constant that is stored in the node, since it may determine a shape."""


def packed(node: Node, constants: Mapping[str, Array]) -> tuple[str, tuple[str, ...]]:
    """A node with its small constants, serialized as text, and the names of its other inputs.

    Raises ModelError if the reference evaluator does not have the operator.
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
    except Exception as error:  # for unknown operators the evaluator raises various exceptions
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


def shapes(inputs: list[torch.Tensor], node: str) -> list[tuple[list[Any], torch.dtype]]:
    """The shapes and types of the outputs, by onnx's shape inference, to which symbolic sizes are names."""
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
            raise ModelError(f"the output shape of node '{proto.name}' ({proto.op_type}) cannot be inferred")
        outputs.append((shape, types[kind.elem_type]))
    return outputs


def _empty(inputs: list[torch.Tensor], node: str) -> list[torch.Tensor]:
    return [torch.empty(shape, dtype=dtype) for shape, dtype in shapes(inputs, node)]


def _named(size: Any, sizes: dict[str, Any]) -> str:
    name = str(size)
    sizes[name] = size
    return name


evaluate: Any = torch.library.custom_op(
    "onnx_reference::node", _evaluate, mutates_args=(), schema="(Tensor[] inputs, str node) -> Tensor[]"
)
"""Computes the outputs of a node that was :func:`packed`."""
evaluate.register_fake(_empty)
