"""Arithmetic, activations and reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Array, Node
from kdb.models.onnx.hosted import ints
from kdb.models.onnx.operators.types import Operator, Value, operand, together

Tensor = torch.Tensor


def _unary(function: Callable[[Tensor], Tensor]) -> Operator:
    return Operator(lambda node, x: function(x))


def _binary(function: Callable[[Any, Any], Tensor]) -> Operator:
    """An operator on two tensors, or a tensor and a number."""

    def apply(node: Node, x: Value, y: Value) -> Tensor:
        together(node, x, y)
        return function(operand(x), operand(y))

    return Operator(apply, scalars=True)


def _variadic(function: Callable[[Any, Any], Tensor]) -> Operator:
    def apply(node: Node, *values: Value) -> Any:
        together(node, *values)
        return reduce(function, map(operand, values))

    return Operator(apply, scalars=True)


# --- activations: of maximum, exp and the like, which kdb knows, and not of where ------------------------------------


def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return torch.clamp(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0.0, 1.0)


def _softplus(x: Tensor) -> Tensor:
    return torch.relu(x) + torch.log(torch.exp(-torch.abs(x)) + 1.0)


def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    return torch.relu(x) - slope * torch.relu(-x)


def _selu(node: Node, x: Tensor) -> Tensor:
    grown: Tensor = F.elu(x, node.get("alpha", 1.6732632423543772)) * node.get("gamma", 1.0507009873554805)
    return grown


def _thresholded(node: Node, x: Tensor) -> Tensor:
    return torch.where(x > node.get("alpha", 1.0), x, 0.0)


def _shrink(node: Node, x: Tensor) -> Tensor:
    bias, at = node.get("bias", 0.0), node.get("lambd", 0.5)
    return torch.where(x < -at, x + bias, torch.where(x > at, x - bias, 0.0))


def _gelu(x: Tensor, approximate: str) -> Tensor:
    return F.gelu(x, approximate=approximate)


def _clip(node: Node, x: Tensor, low: Array | None = None, high: Array | None = None) -> Tensor:
    bounds = [None if bound is None else bound.item() for bound in (low, high)]
    if bounds == [None, None]:
        return x
    if x.is_floating_point():
        bounds = [bound if bound is not None and math.isfinite(bound) else None for bound in bounds]
        return x if bounds == [None, None] else torch.clamp(x, *bounds)
    return torch.clamp(x, *bounds)


def _softmax(function: Callable[[Tensor, int], Tensor]) -> Operator:
    """Over an axis; before opset 13, over that axis and all that follow, flattened."""

    def apply(node: Node, x: Tensor) -> Tensor:
        if node.opset >= 13:
            return function(x, node.get("axis", -1))
        axis = node.get("axis", 1) % max(x.ndim, 1)
        if axis == x.ndim - 1:
            return function(x, axis)
        return function(x.flatten(axis), -1).reshape(x.shape)

    return Operator(apply)


# --- arithmetic ----------------------------------------------------------------------------------------------------


def _divide(x: Any, y: Any) -> Tensor:
    whole = not any(
        value.is_floating_point() if isinstance(value, Tensor) else isinstance(value, float) for value in (x, y)
    )
    return torch.div(x, y, rounding_mode="trunc") if whole else x / y


def _modulo(node: Node, x: Value, y: Value) -> Tensor:
    a, b = operand(x), operand(y)
    function: Any = torch.fmod if node.get("fmod", 0) else torch.remainder
    result: Tensor = function(a, b)
    return result


def _power(x: Any, y: Any) -> Tensor:
    result: Tensor = torch.pow(x, y)
    # The result has the type of the base, whatever the exponent's.
    return result.to(x.dtype) if isinstance(x, Tensor) else result


def _larger(x: Any, y: Any) -> Tensor:
    return _bound(x, y, torch.maximum, "min")


def _smaller(x: Any, y: Any) -> Tensor:
    return _bound(x, y, torch.minimum, "max")


def _bound(x: Any, y: Any, function: Callable[[Tensor, Tensor], Tensor], side: str) -> Tensor:
    if isinstance(x, Tensor) and isinstance(y, Tensor):
        return function(x, y)
    tensor, number = (x, y) if isinstance(x, Tensor) else (y, x)
    return torch.clamp(tensor, **{side: number})


def _mean(node: Node, *values: Value) -> Tensor:
    total = reduce(lambda a, b: a + b, map(operand, values))
    assert isinstance(total, Tensor)  # if all are constants, they are passed as tensors
    return total / len(values) if len(values) > 1 else total


def _where(node: Node, condition: Value, x: Value, y: Value) -> Tensor:
    together(node, condition, x, y)
    which = condition if isinstance(condition, Tensor) else torch.tensor(operand(condition))
    result: Tensor = torch.where(which, operand(x), operand(y))
    return result


# --- types ---------------------------------------------------------------------------------------------------------

# By the numbers of TensorProto.DataType.  All floating types are float32, all narrow integers int32, as constants are.
_TYPES: dict[int, torch.dtype] = {
    **dict.fromkeys((1, 10, 11, 16), torch.float32),
    **dict.fromkeys((2, 3, 4, 5, 6), torch.int32),
    **dict.fromkeys((7, 12, 13), torch.int64),
    9: torch.bool,
}


def _cast(node: Node, x: Tensor) -> Tensor:
    kind = _TYPES.get(node.get("to"))
    if kind is None:
        raise ModelError(f"{node} casts to a type that kdb does not support")
    return x if x.dtype == kind or (x.is_floating_point() and kind.is_floating_point) else x.to(kind)


# --- reductions ----------------------------------------------------------------------------------------------------


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    """Over the axes in the second argument; without it over all, or none if ``noop_with_empty_axes``."""

    def apply(node: Node, x: Tensor, axes: Array | None = None) -> Tensor:
        over = [axis % x.ndim for axis in ints(axes)]
        if not over and node.get("noop_with_empty_axes", 0):
            return x
        return function(x, over or list(range(x.ndim)), bool(node.get("keepdims", 1)))

    return Operator(apply, plain=(1,))


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _extreme(largest: bool) -> Operator:
    """ArgMax or ArgMin, which return the first of equal elements, or with ``select_last_index`` the last."""

    def apply(node: Node, x: Tensor) -> Tensor:
        axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))
        function = torch.argmax if largest else torch.argmin
        if not node.get("select_last_index", 0):
            return function(x, axis, keep)
        last: Tensor = x.shape[axis] - 1 - function(x.flip(axis), axis, keep)
        return last

    return Operator(apply)


def _cumulative(node: Node, x: Tensor, axis: Array) -> Tensor:
    (along,) = ints(axis)
    x = x.flip(along) if node.get("reverse", 0) else x
    y = x.cumsum(along, dtype=x.dtype)
    y = y - x if node.get("exclusive", 0) else y
    return y.flip(along) if node.get("reverse", 0) else y


def _top(node: Node, x: Tensor, k: Array) -> tuple[Tensor, Tensor]:
    # By a stable sort, since ONNX keeps the order of equal values and torch.topk does not.
    axis = node.get("axis", -1)
    order = torch.sort(x, dim=axis, descending=bool(node.get("largest", 1)), stable=True)
    (many,) = ints(k)
    return order.values.narrow(axis, 0, many), order.indices.narrow(axis, 0, many)


OPERATORS: dict[str, Operator] = {
    **{
        name: _unary(getattr(torch, name.lower()))
        for name in (
            *("Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Erf"),
            *("Floor", "Ceil", "Round", "Sign", "IsNaN"),
            *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh"),
        )
    },
    "Not": _unary(torch.logical_not),
    "Softplus": _unary(_softplus),
    "Softsign": _unary(lambda x: x * torch.reciprocal(torch.abs(x) + 1.0)),
    "Mish": _unary(lambda x: x * torch.tanh(_softplus(x))),
    "HardSwish": _unary(lambda x: x * torch.clamp(x / 6.0 + 0.5, 0.0, 1.0)),
    "HardSigmoid": Operator(_hard_sigmoid),
    "LeakyRelu": Operator(lambda node, x: F.leaky_relu(x, node.get("alpha", 0.01))),
    "Elu": Operator(lambda node, x: F.elu(x, node.get("alpha", 1.0))),
    "Celu": Operator(lambda node, x: F.celu(x, node.get("alpha", 1.0))),
    "Swish": Operator(lambda node, x: x * torch.sigmoid(x * node.get("alpha", 1.0))),
    "Selu": Operator(_selu),
    "PRelu": Operator(_prelu),
    "ThresholdedRelu": Operator(_thresholded),
    "Shrink": Operator(_shrink),
    "Gelu": Operator(lambda node, x: _gelu(x, node.get("approximate", "none"))),
    "Clip": Operator(_clip, plain=(1, 2)),
    "Softmax": _softmax(torch.softmax),
    "LogSoftmax": _softmax(torch.log_softmax),
    "Add": _binary(lambda x, y: x + y),
    "Sub": _binary(lambda x, y: x - y),
    "Mul": _binary(lambda x, y: x * y),
    "Div": _binary(_divide),
    "Pow": _binary(_power),
    "Mod": Operator(_modulo, scalars=True),
    "Equal": _binary(lambda x, y: x == y),
    "Less": _binary(lambda x, y: x < y),
    "LessOrEqual": _binary(lambda x, y: x <= y),
    "Greater": _binary(lambda x, y: x > y),
    "GreaterOrEqual": _binary(lambda x, y: x >= y),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(torch.logical_xor),
    "Max": _variadic(_larger),
    "Min": _variadic(_smaller),
    "Sum": _variadic(lambda x, y: x + y),
    "Mean": Operator(_mean, scalars=True),
    "Where": Operator(_where, scalars=True),
    "Cast": Operator(_cast),
    "CastLike": Operator(lambda node, x, like: x.to(like.dtype)),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keep)),
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "ReduceProd": _reduction(_product),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: (x * x).sum(axes, keep).sqrt()),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: (x * x).sum(axes, keep)),
    "ReduceLogSum": _reduction(lambda x, axes, keep: x.sum(axes, keep).log()),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keep)),
    "ArgMax": _extreme(True),
    "ArgMin": _extreme(False),
    "CumSum": Operator(_cumulative, plain=(1,)),
    "TopK": Operator(_top, plain=(1,)),
    "com.microsoft::Gelu": _unary(lambda x: _gelu(x, "none")),
    "com.microsoft::QuickGelu": Operator(lambda node, x: x * torch.sigmoid(x * node.get("alpha", 1.702))),
    "com.microsoft::FastGelu": Operator(lambda node, x, bias=None: _gelu(x if bias is None else x + bias, "tanh")),
    "com.microsoft::BiasGelu": Operator(lambda node, x, bias: _gelu(x + bias, "none")),
}
