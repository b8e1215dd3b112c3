"""Arithmetic and activations: pointwise with a constant, or a join of two traced tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from kdb.frontends.aten.types import Ints, Translator, only_constants
from kdb.frontends.axes import Traced, Unsupported, length
from kdb.frontends.builder import Builder, only_tensor
from kdb.kernels.base import Instruction
from kdb.operators.base import Operator, Shape
from kdb.operators.combine import Add, Expand, Multiply
from kdb.operators.pointwise import Pointwise

FLOAT32_ROUNDING = float(np.finfo(np.float32).eps) / 2


def _unary(function: str) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced) -> Traced:
        return b.pointwise(function, x)

    return translate


def _program(*instructions: Instruction) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced) -> Traced:
        return b.like(Pointwise(instructions), x, x.name)

    return translate


def _relu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.pointwise("maximum", x, 0.0)


def _clamp(b: Builder, shape: Ints, x: Traced, low: float | None = None, high: float | None = None) -> Traced:
    if low is not None:
        x = b.pointwise("maximum", x, low)
    return x if high is None else b.pointwise("minimum", x, high)


def _clamp_min(b: Builder, shape: Ints, x: Traced, low: float) -> Traced:
    return b.pointwise("maximum", x, low)


def _clamp_max(b: Builder, shape: Ints, x: Traced, high: float) -> Traced:
    return b.pointwise("minimum", x, high)


def _hardtanh(b: Builder, shape: Ints, x: Traced, low: float = -1.0, high: float = 1.0) -> Traced:
    return _clamp(b, shape, x, low, high)


def _gelu(b: Builder, shape: Ints, x: Traced, *, approximate: str = "none") -> Traced:
    return b.pointwise("gelu" if approximate == "none" else "gelu_tanh", x)


def _leaky_relu(b: Builder, shape: Ints, x: Traced, slope: float = 0.01) -> Traced:
    return b.pointwise("leaky_relu", x, slope)


def _elu(b: Builder, shape: Ints, x: Traced, alpha: float = 1.0, scale: float = 1.0, steepness: float = 1.0) -> Traced:
    return b.pointwise("elu", x, alpha, scale, steepness)


def _celu(b: Builder, shape: Ints, x: Traced, alpha: float = 1.0) -> Traced:
    return b.pointwise("elu", x, alpha, 1.0, 1 / alpha)


def _silu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.like(Pointwise((Instruction("sigmoid", (0,)), Instruction("mul", (0, 1)))), x, x.name)


def _softplus(b: Builder, shape: Ints, x: Traced, beta: float = 1.0, threshold: float = 20.0) -> Traced:
    """Above the threshold PyTorch returns x itself, to which softplus rounds in float32 from about 14 on."""
    if math.log1p(math.exp(-max(threshold, 0.0))) > FLOAT32_ROUNDING * threshold:
        raise Unsupported(f"a threshold of {threshold:g}, above which it is cut off")
    program = (
        Instruction("mul", (0, float(beta))),
        Instruction("softplus", (1,)),
        Instruction("div", (2, float(beta))),
    )
    return b.like(Pointwise(program), x, x.name)


def _prelu(b: Builder, shape: Ints, x: Any, slope: Any) -> Traced:
    """``max(x, 0) + a min(x, 0)``."""
    only_tensor([x])
    only_constants(slope)
    x = b.aligned(x)
    if not _varying(x, slope) <= {"c"}:
        raise Unsupported("slopes along another axis than the channels")
    operand = float(slope) if slope.numel() == 1 else b.weight(slope.reshape(-1), "slope")
    program = (
        Instruction("maximum", (0, 0.0)),
        Instruction("minimum", (0, 0.0)),
        Instruction("mul", (2, operand)),
        Instruction("add", (1, 3)),
    )
    return b.like(Pointwise(program), x, x.name)


def _power(b: Builder, shape: Ints, x: Traced, exponent: float) -> Traced:
    return b.pointwise("pow", x, exponent)


def _sum(function: str) -> Translator:
    """``add`` is ``x + alpha y``, ``sub`` is ``x - alpha y``."""

    def translate(b: Builder, shape: Ints, x: Any, y: Any, alpha: float = 1) -> Traced:
        if isinstance(x, Traced) and isinstance(y, Traced):
            factor = -alpha if function == "sub" else alpha
            return join(b, Add(), x, y if factor == 1 else b.pointwise("mul", y, factor))
        if isinstance(x, Traced):
            return _with_constant(b, function, x, y if alpha == 1 else y * alpha)
        y = y if alpha == 1 else b.pointwise("mul", y, alpha)
        return _with_constant(b, "add", y if function == "add" else b.pointwise("neg", y), x)

    return translate


def _multiply(b: Builder, shape: Ints, x: Any, y: Any) -> Traced:
    if isinstance(x, Traced) and isinstance(y, Traced):
        return join(b, Multiply(), x, y)
    return _with_constant(b, "mul", x, y) if isinstance(x, Traced) else _with_constant(b, "mul", y, x)


def _divide(b: Builder, shape: Ints, x: Any, y: Any) -> Traced:
    if isinstance(y, Traced):
        return _multiply(b, shape, x, b.pointwise("reciprocal", y))
    return _with_constant(b, "div", x, y)


def _divide_rounded(b: Builder, shape: Ints, x: Any, y: Any, *, rounding_mode: str | None) -> Traced:
    if rounding_mode is not None:
        raise Unsupported("a division with rounding")
    return _divide(b, shape, x, y)


def _subtract_from(b: Builder, shape: Ints, x: Any, y: Any, alpha: float = 1) -> Traced:
    """``y - alpha x``."""
    only_tensor([x])
    only_constants(y)
    return _with_constant(b, "add", b.pointwise("mul", x, -alpha), y)


def _with_constant(b: Builder, function: str, x: Traced, y: Any) -> Traced:
    """``function(x, y)`` where y is a number, a vector over the channels, or a constant map."""
    if isinstance(y, torch.Tensor) and y.numel() == 1 and y.ndim <= len(x.dims):
        y = float(y)
    if isinstance(y, int | float):
        return b.pointwise(function, x, float(y))
    if not isinstance(y, torch.Tensor):
        raise Unsupported("arithmetic with the batch size")
    x = b.aligned(x)
    varying = _varying(x, y)
    if varying <= {"c"}:
        return b.pointwise(function, x, b.weight(y.reshape(-1), "operand"))
    if "n" in varying or function not in ("add", "sub", "mul", "div"):
        raise Unsupported("arithmetic along the batch")
    sizes = (1,) * (len(x.dims) - y.ndim) + tuple(y.shape)
    y = {"sub": torch.neg, "div": torch.reciprocal}.get(function, torch.clone)(y.reshape(sizes))
    shape = b.shape(x.name)
    _, channels, *axes = x.usual
    memory = [*axes, channels]  # the order of a map's axes there
    order = [x.roles.index(role) for role in memory if role in x.roles]
    other = [axis for axis in range(len(sizes)) if axis not in order]
    constant = y.permute(*other, *order).reshape([sizes[axis] for axis in order])
    constant = constant.reshape([sizes[x.roles.index(r)] if r in x.roles else 1 for r in memory])
    constant = constant.expand(*shape.size, shape.channels)
    operator = Add() if function in ("add", "sub") else Multiply()
    return b.like(operator, x, x.name, b.constant(constant, shape))


def _varying(x: Traced, y: torch.Tensor) -> set[str]:
    """The roles of the dimensions of ``x``, which is aligned, along which the constant ``y`` varies.

    Raises Unsupported if x is broadcast to the shape of y.
    """
    if y.ndim > len(x.dims):
        raise Unsupported("arithmetic with a constant that has more dimensions")
    sizes = (1,) * (len(x.dims) - y.ndim) + tuple(y.shape)
    if any(n not in (1, length(dim)) for n, dim in zip(sizes, x.dims, strict=True)):
        raise Unsupported("arithmetic that broadcasts the image")
    return {role for n, role in zip(sizes, x.roles, strict=True) if n > 1}


def join(b: Builder, operator: Operator, x: Traced, y: Traced) -> Traced:
    """``operator`` on two traced tensors, broadcast as PyTorch does; at most one of them may need expanding."""
    if len(x.dims) < len(y.dims):
        x, y = y, x
    x, y = b.aligned(x), b.aligned(y.with_dims(((),) * (len(x.dims) - len(y.dims)) + y.dims))
    for axis, (mine, theirs) in enumerate(zip(x.roles, y.roles, strict=True)):
        differ = mine != theirs and "-" not in (mine, theirs)
        # The same axis of a map in two places is an outer product of it with itself.
        elsewhere = mine != "-" and mine in y.roles and y.roles.index(mine) != axis
        if differ or elsewhere:
            raise Unsupported("arithmetic between tensors of different layouts")
    a, c = b.shape(x.name), b.shape(y.name)
    channels, *size = map(max, a.dimensions, c.dimensions)
    full = Shape(channels, tuple(size))
    if c == full != a:
        x, y, a, c = y, x, c, a
    if a != full:
        raise Unsupported("arithmetic that broadcasts both tensors")
    other = y.name if c == full else b.emit(Expand(full), y.name)
    return b.like(operator, x, x.name, other)


TRANSLATORS: dict[str, Translator] = {
    "relu": _relu,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
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
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "celu": _celu,
    "softplus": _softplus,
    "mish": _program(Instruction("softplus", (0,)), Instruction("tanh", (1,)), Instruction("mul", (0, 2))),
    "_prelu_kernel": _prelu,
    "pow.Tensor_Scalar": _power,
    "add.Tensor": _sum("add"),
    "add.Scalar": _sum("add"),
    "sub.Tensor": _sum("sub"),
    "sub.Scalar": _sum("sub"),
    "rsub.Tensor": _subtract_from,
    "rsub.Scalar": _subtract_from,
    "mul.Tensor": _multiply,
    "mul.Scalar": _multiply,
    "div.Tensor": _divide,
    "div.Scalar": _divide,
    "div.Tensor_mode": _divide_rounded,
    "div.Scalar_mode": _divide_rounded,
}
