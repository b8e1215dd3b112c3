"""Quantized operators.  Narrow integers are int32 here; their range follows from the type of the zero point."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from kdb.models.onnx.graph import Array, Node, as_tensor
from kdb.models.onnx.operators.layers import convolution, matmul
from kdb.models.onnx.operators.types import Operator

Tensor = torch.Tensor

_TYPES = {2: np.uint8, 3: np.int8, 4: np.uint16, 5: np.int16}


def _along(value: Tensor, x: Tensor, node: Node) -> Tensor:
    """A scale or zero point, a number or one per index of the node's axis, in a shape that broadcasts to ``x``."""
    if value.ndim == 0 or value.numel() == 1:
        return value.reshape(())
    axis = node.get("axis", 1) % x.ndim
    if value.ndim > 1:  # one per block of ``block_size`` along the axis
        return value.repeat_interleave(node.get("block_size"), axis)
    return value.reshape([-1 if k == axis else 1 for k in range(x.ndim)])


def _quantized(x: Tensor, scale: Tensor, zero: Tensor, kind: Any) -> Tensor:
    limits = np.iinfo(kind)
    return torch.clamp(torch.round(x / scale) + zero, float(limits.min), float(limits.max)).to(torch.int32)


def _quantize(node: Node, x: Tensor, scale: Tensor, zero: Array | None = None) -> Tensor:
    kind = zero.dtype if zero is not None else _TYPES.get(node.get("output_dtype", 0), np.uint8)
    point = torch.zeros(()) if zero is None else _along(as_tensor(zero), x, node)
    return _quantized(x, _along(scale, x, node), point, kind)


def _dequantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    y = x.to(torch.float32) if zero is None else (x - _along(zero, x, node)).to(torch.float32)
    return y * _along(scale, x, node)


def _centred(x: Tensor, zero: Tensor | None, axis: int) -> Tensor:
    """``x`` minus its zero point, as float32, which is exact for integers below 2^24."""
    if zero is None:
        return x.to(torch.float32)
    shape = [-1 if k == axis % x.ndim else 1 for k in range(x.ndim)] if zero.numel() > 1 else ()
    return (x - zero.reshape(shape)).to(torch.float32)


def _linear_convolution(
    node: Node,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    weight: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Array,
    bias: Tensor | None = None,
) -> Tensor:
    sums = convolution(node, _centred(x, x_zero, 1), _centred(weight, w_zero, 0))
    if bias is not None:
        sums = sums + bias.reshape(-1, *[1] * (x.ndim - 2))
    scale = (x_scale * w_scale).reshape(-1, *[1] * (x.ndim - 2))
    return _quantized(sums * scale, y_scale, as_tensor(y_zero), y_zero.dtype)


def _linear_product(
    node: Node,
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Array,
) -> Tensor:
    sums = matmul(node, _centred(a, a_zero, -2), _centred(b, b_zero, -1))
    return _quantized(sums * (a_scale * b_scale), y_scale, as_tensor(y_zero), y_zero.dtype)


def _integer_convolution(
    node: Node, x: Tensor, weight: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    return convolution(node, _centred(x, x_zero, 1), _centred(weight, w_zero, 0)).to(torch.int32)


def _integer_product(
    node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    return matmul(node, _centred(a, a_zero, -2), _centred(b, b_zero, -1)).to(torch.int32)


OPERATORS: dict[str, Operator] = {
    "QuantizeLinear": Operator(_quantize, plain=(2,)),
    "DequantizeLinear": Operator(_dequantize),
    "QLinearConv": Operator(_linear_convolution, plain=(7,)),
    "QLinearMatMul": Operator(_linear_product, plain=(7,)),
    "ConvInteger": Operator(_integer_convolution),
    "MatMulInteger": Operator(_integer_product),
}
