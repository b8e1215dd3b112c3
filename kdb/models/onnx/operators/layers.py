"""Layers with weights, and normalization."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Node
from kdb.models.onnx.operators.types import Operator
from kdb.models.onnx.operators.windows import Windows

Tensor = torch.Tensor

CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

# --- convolutions and dense layers -------------------------------------------------------------------------------


def convolution(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Conv along one to three axes."""
    windows = Windows.of(node, x.shape[2:], weight.shape[2:])
    padding = windows.before
    if not windows.symmetric:
        x, padding = windows.padded(x, 0.0), (0,) * len(padding)
    function = CONVOLUTIONS[x.ndim - 2]
    y: Tensor = function(x, weight, bias, windows.stride, padding, windows.dilation, node.get("group", 1))
    return y


def _transposed(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """ConvTranspose: computed for all that the windows reach, then cropped or padded to the output size."""
    size, rank = x.shape[2:], x.ndim - 2
    automatic = node.get("auto_pad", "NOTSET")
    windows = Windows.of(
        Node(node.name, node.op, (), (), {**node.attributes, "auto_pad": "NOTSET"}), size, weight.shape[2:]
    )
    extra = tuple(node.get("output_padding", (0,) * rank))
    wanted = node.get("output_shape")
    if wanted is None and automatic.startswith("SAME"):
        wanted = [n * s for n, s in zip(size, windows.stride, strict=True)]
    before, behind = list(windows.before), list(windows.behind)
    if wanted is not None:
        for axis, (n, s, span) in enumerate(zip(size, windows.stride, windows.spans, strict=True)):
            total = s * (n - 1) + extra[axis] + span - list(wanted)[axis - rank]
            less, more = total // 2, total - total // 2
            before[axis], behind[axis] = (less, more) if automatic == "SAME_UPPER" else (more, less)
    elif automatic == "VALID":
        before, behind = [0] * rank, [0] * rank
    function = _TRANSPOSED[rank]
    y: Tensor = function(x, weight, None, windows.stride, 0, 0, node.get("group", 1), windows.dilation)
    cut = [n for axis in reversed(range(rank)) for n in (-before[axis], extra[axis] - behind[axis])]
    y = F.pad(y, cut) if any(cut) else y
    return y if bias is None else y + bias.reshape(-1, *[1] * rank)


def _gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.t() if node.get("transA", 0) else a
    weight = b if node.get("transB", 0) else b.t()
    weight = weight if node.get("alpha", 1.0) == 1 else weight * node.get("alpha")
    if c is None:
        return F.linear(a, weight)
    c = c if node.get("beta", 1.0) == 1 else c * node.get("beta")
    if c.ndim == 2 and isinstance(c.shape[0], int) and c.shape[0] == 1:
        c = c[0]
    return F.linear(a, weight, c) if tuple(c.shape) == (weight.shape[0],) else F.linear(a, weight) + c


def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """MatMul; a product with a matrix is a dense layer along the last axis."""
    return F.linear(a, b.t()) if b.ndim == 2 and a.ndim >= 2 else torch.matmul(a, b)


def _einsum(node: Node, *operands: Tensor) -> Tensor:
    return torch.einsum(node.get("equation"), *operands)


# --- normalization -----------------------------------------------------------------------------------------------


def _batch_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if not node.get("spatial", 1):
        raise ModelError(f"{node} normalizes each location separately (spatial = 0), which kdb does not support")
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, node.get("epsilon", 1e-5))


def _instance_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5))


def _layer_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    axis = node.get("axis", -1) % x.ndim
    shape = list(x.shape[axis:])
    scale, bias = scale.expand(shape), None if bias is None else bias.expand(shape)
    return F.layer_norm(x, shape, scale, bias, node.get("epsilon", 1e-5))


def _group_norm(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups, channels = node.get("num_groups"), x.shape[1]
    if scale.shape[0] != channels:  # one per group, as before opset 21
        scale, bias = (each.repeat_interleave(channels // groups) for each in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


def _local_response(node: Node, x: Tensor) -> Tensor:
    """``x (bias + alpha / size sum)^-beta``; the sum of squares of nearby channels is a convolution with ones."""
    size, channels = node.get("size"), x.shape[1]
    apart = torch.arange(channels)[None, :] - torch.arange(channels)[:, None]
    near = (apart >= -((size - 1) // 2)) & (apart <= size // 2)
    weight = near.to(x.dtype).reshape(channels, channels, *[1] * (x.ndim - 2))
    sums = CONVOLUTIONS[x.ndim - 2](x * x, weight)
    factor: Tensor = (node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * sums) ** -node.get("beta", 0.75)
    return x * factor


def _lp_norm(node: Node, x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, node.get("p", 2), node.get("axis", -1), keepdim=True)
    return torch.where(norm == 0, 0.0, x / norm)


# --- what ONNX Runtime fuses -------------------------------------------------------------------------------------


def _fused_convolution(
    node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None, added: Tensor | None = None
) -> Tensor:
    y = convolution(node, x, weight, bias)
    y = y if added is None else y + added
    kind, values = node.get("activation", ""), node.get("activation_params", ())
    functions: dict[str, Any] = {
        "": lambda y: y,
        "Relu": torch.relu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "LeakyRelu": lambda y: F.leaky_relu(y, *values),
        "Clip": lambda y: torch.clamp(y, *values),
        "HardSigmoid": lambda y: torch.clamp(values[0] * y + values[1], 0.0, 1.0),
    }
    if kind not in functions:
        raise ModelError(f"{node} is fused with '{kind}', which kdb does not support")
    activated: Tensor = functions[kind](y)
    return activated


OPERATORS: dict[str, Operator] = {
    "Conv": Operator(convolution),
    "ConvTranspose": Operator(_transposed),
    "Gemm": Operator(_gemm),
    "MatMul": Operator(matmul),
    "Einsum": Operator(_einsum),
    "BatchNormalization": Operator(_batch_norm),
    "InstanceNormalization": Operator(_instance_norm),
    "LayerNormalization": Operator(_layer_norm),
    "GroupNormalization": Operator(_group_norm),
    "LRN": Operator(_local_response),
    "LpNormalization": Operator(_lp_norm),
    "com.microsoft::FusedConv": Operator(_fused_convolution),
}
