"""Arithmetic and activations: pointwise with a constant, or a join of two traced tensors."""

from __future__ import annotations

from typing import Any

import torch

from kdb.frontends.aten.types import Ints, Translator
from kdb.frontends.axes import Traced, Unsupported, length
from kdb.frontends.builder import Builder, only_tensor
from kdb.kernels.base import Instruction
from kdb.operators.base import Operator, Shape
from kdb.operators.combine import Add, Expand, Multiply
from kdb.operators.pointwise import Pointwise


def _unary(function: str, *defaults: float) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, *arguments: float) -> Traced:
        operands = (*arguments, *defaults[len(arguments) :])[: len(defaults)]
        return b.pointwise(function, x, *operands)

    return translate


def _program(*instructions: Instruction) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, *ignored: Any) -> Traced:
        return b.like(Pointwise(instructions), x, x.name)

    return translate


def _relu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.pointwise("maximum", x, 0.0)


def _clamp(b: Builder, shape: Ints, x: Traced, low: Any = None, high: Any = None) -> Traced:
    if isinstance(low, torch.Tensor | Traced) or isinstance(high, torch.Tensor | Traced):
        raise Unsupported("a clamp between tensors")
    if low is not None:
        x = b.pointwise("maximum", x, low)
    return x if high is None else b.pointwise("minimum", x, high)


def _hardtanh(b: Builder, shape: Ints, x: Traced, low: float = -1.0, high: float = 1.0) -> Traced:
    return _clamp(b, shape, x, low, high)


def _gelu(b: Builder, shape: Ints, x: Traced, *, approximate: str = "none") -> Traced:
    return b.pointwise("gelu" if approximate == "none" else "gelu_tanh", x)


def _celu(b: Builder, shape: Ints, x: Traced, alpha: float = 1.0) -> Traced:
    return b.pointwise("elu", x, alpha, 1.0, 1 / alpha)


def _silu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.like(Pointwise((Instruction("sigmoid", (0,)), Instruction("mul", (0, 1)))), x, x.name)


def _softplus(b: Builder, shape: Ints, x: Traced, beta: float = 1.0, threshold: float = 20.0) -> Traced:
    """Above the threshold PyTorch returns x itself, to which softplus rounds in float32."""
    program = (
        Instruction("mul", (0, float(beta))),
        Instruction("softplus", (1,)),
        Instruction("div", (2, float(beta))),
    )
    return b.like(Pointwise(program), x, x.name)


def _prelu(b: Builder, shape: Ints, x: Traced, slope: Any) -> Traced:
    """``max(x, 0) + a min(x, 0)``."""
    if isinstance(slope, Traced):
        raise Unsupported("a slope that depends on the image")
    x = b.aligned(x)
    operand = float(slope) if slope.numel() == 1 else b.weight(slope.reshape(-1), "slope")
    program = (
        Instruction("maximum", (0, 0.0)),
        Instruction("minimum", (0, 0.0)),
        Instruction("mul", (2, operand)),
        Instruction("add", (1, 3)),
    )
    return b.like(Pointwise(program), x, x.name)


def _power(b: Builder, shape: Ints, x: Any, exponent: Any) -> Traced:
    only_tensor([x])
    if not isinstance(exponent, int | float):
        raise Unsupported("a computed exponent")
    return b.pointwise("pow", x, exponent)


def _binary(function: str, joined: type[Operator]) -> Translator:
    """``add``, ``sub``, ``mul`` or ``div``: pointwise with a constant, or a join of two traced tensors."""

    def translate(b: Builder, shape: Ints, x: Any, y: Any, *, alpha: float = 1, rounding_mode: Any = None) -> Traced:
        if rounding_mode is not None:
            raise Unsupported("a division with rounding")
        if isinstance(y, torch.Tensor) and alpha != 1:
            y, alpha = y * alpha, 1
        if not isinstance(x, Traced) and alpha != 1:
            y, alpha = b.pointwise("mul", y, alpha), 1
        if isinstance(x, Traced) and isinstance(y, Traced):
            if function == "div":
                y = b.pointwise("reciprocal", y)
            sign = -alpha if function == "sub" else alpha
            return join(b, joined(), x, y if sign == 1 else b.pointwise("mul", y, sign))
        if isinstance(x, Traced):
            return _with_constant(b, function, x, y if alpha == 1 else y * alpha)
        if function in ("add", "mul"):
            return _with_constant(b, function, y, x)
        if function == "sub":  # x - y = -y + x
            return _with_constant(b, "add", b.pointwise("neg", y), x)
        return _with_constant(b, "mul", b.pointwise("reciprocal", y), x)

    return translate


def _rsub(b: Builder, shape: Ints, x: Any, y: Any, alpha: float = 1) -> Traced:
    only_tensor([x])
    return _with_constant(b, "add", b.pointwise("mul", x, -alpha), y)


def _with_constant(b: Builder, function: str, x: Traced, y: Any) -> Traced:
    """``function(x, y)`` where y is a number, a vector over the channels, or a constant map."""
    if isinstance(y, torch.Tensor) and y.numel() == 1 and y.ndim <= len(x.dims):
        y = float(y)
    if isinstance(y, int | float):
        return b.pointwise(function, x, float(y))
    if not isinstance(y, torch.Tensor) or y.ndim > len(x.dims):
        raise Unsupported("arithmetic with a constant that has more dimensions")
    x = b.aligned(x)
    sizes = (1,) * (len(x.dims) - y.ndim) + tuple(y.shape)
    if any(n not in (1, length(dim)) for n, dim in zip(sizes, x.dims, strict=True)):
        raise Unsupported("arithmetic that broadcasts the image")
    varying = {role for n, role in zip(sizes, x.roles, strict=True) if n > 1}
    if varying <= {"c"}:
        return b.pointwise(function, x, b.weight(y.reshape(-1), "operand"))
    if "n" in varying or function not in ("add", "sub", "mul", "div"):
        raise Unsupported("arithmetic along the batch")
    y = {"sub": torch.neg, "div": torch.reciprocal}.get(function, torch.clone)(y.reshape(sizes))
    shape = b.shape(x.name)
    order = [x.roles.index(role) for role in "yxc" if role in x.roles]
    other = [axis for axis in range(len(sizes)) if axis not in order]
    lengths = {"y": shape.height, "x": shape.width, "c": shape.channels}
    constant = y.permute(*other, *order).reshape([sizes[axis] for axis in order])
    constant = constant.reshape([sizes[x.roles.index(r)] if r in x.roles else 1 for r in "yxc"]).expand(
        [lengths[r] for r in "yxc"]
    )
    operator = Add() if function in ("add", "sub") else Multiply()
    return b.like(operator, x, x.name, b.constant(constant, shape))


def join(b: Builder, operator: Operator, x: Traced, y: Traced) -> Traced:
    """``operator`` on two traced tensors, broadcast as PyTorch does; at most one of them may need expanding."""
    if len(x.dims) < len(y.dims):
        x, y = y, x
    x, y = b.aligned(x), b.aligned(y.with_dims(((),) * (len(x.dims) - len(y.dims)) + y.dims))
    for mine, theirs in zip(x.roles, y.roles, strict=True):
        if mine != theirs and "-" not in (mine, theirs):
            raise Unsupported("arithmetic between tensors of different layouts")
    a, c = b.shape(x.name), b.shape(y.name)
    full = Shape(*map(max, a, c))
    if c == full != a:
        x, y, a, c = y, x, c, a
    if a != full:
        raise Unsupported("arithmetic that broadcasts both tensors")
    other = y.name if c == full else b.emit(Expand(full), y.name)
    return b.like(operator, x, x.name, other)


TRANSLATORS: dict[str, Translator] = {
    "relu": _relu,
    "clamp": _clamp,
    "clamp_min": lambda b, shape, x, low: _clamp(b, shape, x, low),
    "clamp_max": lambda b, shape, x, high: _clamp(b, shape, x, None, high),
    "hardtanh": _hardtanh,
    "gelu": _gelu,
    "silu": _silu,
    "sigmoid": _unary("sigmoid"),
    "tanh": _unary("tanh"),
    "exp": _unary("exp"),
    "log": _unary("log"),
    "sqrt": _unary("sqrt"),
    "reciprocal": _unary("reciprocal"),
    "abs": _unary("abs"),
    "neg": _unary("neg"),
    "erf": _unary("erf"),
    "rsqrt": _program(Instruction("sqrt", (0,)), Instruction("reciprocal", (1,))),
    "leaky_relu": _unary("leaky_relu", 0.01),
    "elu": _unary("elu", 1.0, 1.0, 1.0),
    "celu": _celu,
    "softplus": _softplus,
    "mish": _program(Instruction("softplus", (0,)), Instruction("tanh", (1,)), Instruction("mul", (0, 2))),
    "_prelu_kernel": _prelu,
    "pow.Tensor_Scalar": _power,
    "add": _binary("add", Add),
    "sub": _binary("sub", Add),
    "mul": _binary("mul", Multiply),
    "div": _binary("div", Multiply),
    "rsub": _rsub,
}
