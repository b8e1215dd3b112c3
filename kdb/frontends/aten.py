"""ATen nodes -> operators: a table of small translators.

Each takes the builder, the output's shape in the trace, and the node's arguments with traced tensors in place; it
returns the traced output, or raises Unsupported.  ``Tensor`` arguments that do not depend on the image are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kdb.frontends.axes import BATCH, Atom, Traced, Unsupported, length
from kdb.frontends.builder import Builder, only_tensor
from kdb.kernels.base import Instruction, Margins
from kdb.operators.base import Operator, Shape
from kdb.operators.combine import Add, Concatenate, Expand, Multiply
from kdb.operators.convolution import Convolution
from kdb.operators.locationwise import Affine, Dense, LocationWise, SelectChannels
from kdb.operators.pooling import AdaptiveAveragePool, AveragePool, GlobalMean, MaxPool, Pad

Ints = Sequence[int]
Translator = Callable[..., Any]


def _pair(values: Ints) -> tuple[int, int]:
    return (values[0], values[-1])


def _margins(padding: Ints) -> Margins:
    y, x = _pair(padding)
    return (y, x, y, x)


# --- convolutions and dense layers -------------------------------------------------------------------------------


def _convolution(
    b: Builder,
    shape: Ints,
    x: Traced,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Traced:
    if transposed or weight.ndim != 4:
        raise Unsupported("a transposed convolution" if transposed else f"a {weight.ndim - 2}-dimensional convolution")
    x = b.nchw(x)
    return b.map(
        Convolution(
            b.weight(weight, "weight"),
            None if bias is None else b.weight(bias, "bias"),
            weight.shape[0],
            (weight.shape[2], weight.shape[3]),
            _pair(stride),
            _margins(padding),
            _pair(dilation),
            groups,
        ),
        x.name,
    )


def _dense(b: Builder, x: Traced, weight: torch.Tensor, bias: torch.Tensor | None) -> Traced:
    """``x W^T + b`` along the last dimension; columns are permuted once where the channels lie otherwise in memory."""
    x = b.flattened(x, len(x.dims) - 1)
    last = x.dims[-1]
    if set(last) != set(x.channels):
        raise Unsupported("a product along part of the channels")
    columns = np.argsort(x.channel_index(last).reshape(-1)) if last else np.zeros(1, np.int64)
    dense = Dense(
        b.weight(weight[:, torch.from_numpy(columns)], "weight"),
        None if bias is None else b.weight(bias, "bias"),
        weight.shape[0],
    )
    out = (Atom("c", weight.shape[0]),) if weight.shape[0] > 1 else ()
    return replace(x, name=b.emit(dense, x.name), channels=out, dims=(*x.dims[:-1], out))


def _addmm(b: Builder, shape: Ints, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Traced:
    only_tensor([x])
    if isinstance(bias, Traced) or isinstance(weight, Traced) or bias.ndim != 1:
        raise Unsupported("a product of two computed matrices")
    return _dense(b, x, alpha * weight.T, beta * bias)


def _mm(b: Builder, shape: Ints, x: Any, weight: Any) -> Traced:
    only_tensor([x])
    if isinstance(weight, Traced):
        raise Unsupported("a product of two computed matrices")
    return _dense(b, x, weight.T, None)


def _linear(b: Builder, shape: Ints, x: Any, weight: Any, bias: Any = None) -> Traced:
    only_tensor([x])
    if isinstance(weight, Traced) or isinstance(bias, Traced):
        raise Unsupported("a product of two computed matrices")
    return _dense(b, x, weight, bias)


# --- normalization -----------------------------------------------------------------------------------------------


def _batch_norm(
    b: Builder, shape: Ints, x: Traced, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> tuple[Traced, None, None]:
    x = b.aligned(x)
    if len(x.dims) < 2 or x.roles[1] not in "c-":
        raise Unsupported("batch normalization along another axis")
    scale = torch.rsqrt(variance.double() + eps) * (1 if weight is None else weight.double())
    shift = (0 if bias is None else bias.double()) - mean.double() * scale
    return b.like(Affine(b.weight(scale, "scale"), b.weight(shift, "shift")), x, x.name), None, None


def _layer_norm(
    b: Builder, shape: Ints, x: Traced, normalized: Ints, weight: Any, bias: Any, eps: float
) -> tuple[Traced, None, None]:
    x = b.aligned(x)
    if len(normalized) != 1 or x.dims[-1] != x.channels:
        raise Unsupported("normalization over more than the channels")
    program = [Instruction("normalize", (0, float(eps)))]
    if weight is not None:
        program.append(Instruction("mul", (len(program), b.weight(weight, "weight"))))
    if bias is not None:
        program.append(Instruction("add", (len(program), b.weight(bias, "bias"))))
    return b.like(LocationWise(tuple(program)), x, x.name), None, None


def _softmax(function: str) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, dim: int, half_to_float: bool = False) -> Traced:
        x = b.aligned(x)
        if x.roles[dim] != "c":
            raise Unsupported("a softmax along another axis")
        return b.location_wise(function, x)

    return translate


# --- pooling -----------------------------------------------------------------------------------------------------


def _max_pool(
    b: Builder,
    shape: Ints,
    x: Traced,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = (0, 0),
    dilation: Ints = (1, 1),
    ceil_mode: bool = False,
) -> tuple[Traced, None]:
    x = b.nchw(x)
    size = _pooled(b.shape(x.name), kernel, stride or kernel, padding, dilation, ceil_mode)
    pool = MaxPool(_pair(kernel), _pair(stride or kernel), _margins(padding), size, _pair(dilation))
    return b.map(pool, x.name), None


def _pooled(
    shape: Shape, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool
) -> tuple[int, int]:
    """Output size of a pool: rounded up under ``ceil_mode``, but no window starts beyond input and left margin."""
    sizes = []
    for n, k, s, p, g in zip(shape.size, *map(_pair, (kernel, stride, padding, dilation)), strict=True):
        span = n + 2 * p - ((k - 1) * g + 1)
        out = (-(-span // s) if ceil_mode else span // s) + 1
        sizes.append(out - 1 if ceil_mode and (out - 1) * s >= n + p else out)
    return sizes[0], sizes[1]


def _average_pool(
    b: Builder,
    shape: Ints,
    x: Traced,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Traced:
    x = b.nchw(x)
    pool = AveragePool(
        _pair(kernel), _pair(stride or kernel), _margins(padding), _pair(shape[-2:]), (1, 1), count_include_pad, divisor
    )
    return b.map(pool, x.name)


def _adaptive_average_pool(b: Builder, shape: Ints, x: Traced, size: Ints) -> Traced:
    x = b.nchw(x)
    (height, width), (h, w) = b.shape(x.name).size, _pair(size)
    if (h, w) == (height, width):
        return x
    if (h, w) == (1, 1):
        return b.map(GlobalMean(), x.name)
    if height % h == width % w == 0:
        kernel = (height // h, width // w)
        return b.map(AveragePool(kernel, kernel, (0, 0, 0, 0), (h, w)), x.name)
    return b.map(AdaptiveAveragePool((h, w)), x.name)


def _mean(b: Builder, shape: Ints, x: Traced, dims: Ints, keepdim: bool = False, dtype: Any = None) -> Traced:
    rank = len(x.dims)
    axes = {d % rank for d in dims} if dims else set(range(rank))
    reduced = [atom for axis in axes for atom in x.dims[axis]]
    if {*reduced} != {atom for atom in (x.y, x.x) if atom is not None}:
        raise Unsupported("a mean over other axes than the map's")
    name = b.emit(GlobalMean(), x.name) if reduced else x.name
    kept = [() if axis in axes else dim for axis, dim in enumerate(x.dims) if keepdim or axis not in axes]
    return replace(x, name=name, y=None, x=None, dims=tuple(kept))


def _pad(b: Builder, shape: Ints, x: Traced, padding: Ints, value: float = 0.0) -> Traced:
    x = b.nchw(x)
    if (len(padding) > 4 and any(padding[4:])) or min(padding) < 0:
        raise Unsupported("padding along another axis or by a negative number")
    left, right, top, bottom = (*padding, 0, 0)[:4]
    return b.map(Pad((top, left, bottom, right), float(value)), x.name) if any(padding) else x


# --- arithmetic --------------------------------------------------------------------------------------------------


def _unary(function: str, *defaults: float) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, *arguments: float) -> Traced:
        operands = (*arguments, *defaults[len(arguments) :])[: len(defaults)]
        return b.location_wise(function, x, *operands)

    return translate


def _program(*instructions: Instruction) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, *ignored: Any) -> Traced:
        return b.like(LocationWise(instructions), x, x.name)

    return translate


def _relu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.location_wise("maximum", x, 0.0)


def _clamp(b: Builder, shape: Ints, x: Traced, low: Any = None, high: Any = None) -> Traced:
    if isinstance(low, torch.Tensor | Traced) or isinstance(high, torch.Tensor | Traced):
        raise Unsupported("a clamp between tensors")
    if low is not None:
        x = b.location_wise("maximum", x, low)
    return x if high is None else b.location_wise("minimum", x, high)


def _hardtanh(b: Builder, shape: Ints, x: Traced, low: float = -1.0, high: float = 1.0) -> Traced:
    return _clamp(b, shape, x, low, high)


def _gelu(b: Builder, shape: Ints, x: Traced, *, approximate: str = "none") -> Traced:
    return b.location_wise("gelu" if approximate == "none" else "gelu_tanh", x)


def _celu(b: Builder, shape: Ints, x: Traced, alpha: float = 1.0) -> Traced:
    return b.location_wise("elu", x, alpha, 1.0, 1 / alpha)


def _silu(b: Builder, shape: Ints, x: Traced) -> Traced:
    return b.like(LocationWise((Instruction("sigmoid", (0,)), Instruction("mul", (0, 1)))), x, x.name)


def _power(b: Builder, shape: Ints, x: Any, exponent: Any) -> Traced:
    only_tensor([x])
    if not isinstance(exponent, int | float):
        raise Unsupported("a computed exponent")
    return b.location_wise("pow", x, exponent)


def _binary(function: str, joined: type[Operator] | None) -> Translator:
    """``add``, ``sub``, ``mul``, ``div``: with a constant by location, with another traced tensor by a join."""

    def translate(b: Builder, shape: Ints, x: Any, y: Any, *, alpha: float = 1, rounding_mode: Any = None) -> Traced:
        if rounding_mode is not None:
            raise Unsupported("a rounded quotient")
        if isinstance(y, torch.Tensor) and alpha != 1:
            y, alpha = y * alpha, 1
        if not isinstance(x, Traced) and alpha != 1:
            y, alpha = b.location_wise("mul", y, alpha), 1
        if isinstance(x, Traced) and isinstance(y, Traced):
            if joined is None:
                raise Unsupported("a quotient of two computed tensors")
            sign = -alpha if function == "sub" else alpha
            return _join(b, joined(), x, y if sign == 1 else b.location_wise("mul", y, sign))
        if isinstance(x, Traced):
            return _with_constant(b, function, x, y if alpha == 1 else y * alpha)
        if function in ("add", "mul"):
            return _with_constant(b, function, y, x)
        if function == "sub":  # x - y = -y + x
            return _with_constant(b, "add", b.location_wise("neg", y), x)
        return _with_constant(b, "mul", b.location_wise("reciprocal", y), x)

    return translate


def _rsub(b: Builder, shape: Ints, x: Any, y: Any, alpha: float = 1) -> Traced:
    only_tensor([x])
    return _with_constant(b, "add", b.location_wise("mul", x, -alpha), y)


def _with_constant(b: Builder, function: str, x: Traced, y: Any) -> Traced:
    """``f(x, y)`` for a number, a parameter over the channels, or a constant map."""
    if isinstance(y, torch.Tensor) and y.numel() == 1 and y.ndim <= len(x.dims):
        y = float(y)
    if isinstance(y, int | float):
        return b.location_wise(function, x, float(y))
    if not isinstance(y, torch.Tensor) or y.ndim > len(x.dims):
        raise Unsupported("arithmetic with a constant that has more dimensions")
    x = b.aligned(x)
    sizes = (1,) * (len(x.dims) - y.ndim) + tuple(y.shape)
    if any(n not in (1, length(dim)) for n, dim in zip(sizes, x.dims, strict=True)):
        raise Unsupported("arithmetic that broadcasts the image")
    varying = {role for n, role in zip(sizes, x.roles, strict=True) if n > 1}
    if varying <= {"c"}:
        return b.location_wise(function, x, b.weight(y.reshape(-1), "operand"))
    if "n" in varying or function not in ("add", "sub", "mul", "div"):
        raise Unsupported("arithmetic along the batch")
    y = {"sub": torch.neg, "div": torch.reciprocal}.get(function, torch.clone)(y.reshape(sizes))
    shape = b.shape(x.name)
    order = [x.roles.index(role) for role in "yxc" if role in x.roles]
    other = [axis for axis in range(len(sizes)) if axis not in order]
    lengths = {"y": shape.height, "x": shape.width, "c": shape.channels}
    laid = y.permute(*other, *order).reshape([sizes[axis] for axis in order])
    laid = laid.reshape([sizes[x.roles.index(r)] if r in x.roles else 1 for r in "yxc"]).expand(
        [lengths[r] for r in "yxc"]
    )
    operator = Add() if function in ("add", "sub") else Multiply()
    return b.like(operator, x, x.name, b.constant(laid, shape))


def _join(b: Builder, operator: Operator, x: Traced, y: Traced) -> Traced:
    """Two traced tensors, aligned from the right; the one with fewer cells or channels is expanded."""
    if len(x.dims) < len(y.dims):
        x, y = y, x
    x, y = b.aligned(x), b.aligned(y.with_dims(((),) * (len(x.dims) - len(y.dims)) + y.dims))
    for mine, theirs in zip(x.roles, y.roles, strict=True):
        if mine != theirs and "-" not in (mine, theirs):
            raise Unsupported("a join of two layouts")
    a, c = b.shape(x.name), b.shape(y.name)
    full = Shape(*map(max, a, c))
    if c == full != a:
        x, y, a, c = y, x, c, a
    if a != full:
        raise Unsupported("a join that expands both operands")
    other = y.name if c == full else b.emit(Expand(full), y.name)
    return b.like(operator, x, x.name, other)


# --- shape -------------------------------------------------------------------------------------------------------


def _concatenate(b: Builder, shape: Ints, parts: Sequence[Any], dim: int = 0) -> Traced:
    only_tensor(parts)
    aligned = [b.aligned(b.flattened(part, dim)) for part in parts]
    first = aligned[0]
    dim %= len(first.dims)
    for part in aligned:
        others = [role for axis, role in enumerate(part.roles) if axis != dim]
        # A dimension of length one is the channels' only where no other is: stacking adds an axis of its own.
        if part.dims[dim] != part.channels or others != [r for axis, r in enumerate(first.roles) if axis != dim]:
            raise Unsupported("a concatenation along another axis")
    name = b.emit(Concatenate(), *(part.name for part in aligned))
    channels = (Atom("c", b.shape(name).channels),)
    dims = tuple(channels if axis == dim else d for axis, d in enumerate(first.dims))
    return replace(first, name=name, channels=channels, dims=dims)


def _select_range(b: Builder, x: Traced, dim: int, indices: range) -> Traced:
    """``x`` with only ``indices`` along a dimension made of channels."""
    dim %= len(x.dims)
    if len(indices) == length(x.dims[dim]):
        return x
    index = x.channel_index(x.dims[dim])[indices.start : indices.stop : indices.step]
    rest = tuple(atom for atom in x.channels if atom not in x.dims[dim])
    name = b.emit(SelectChannels(tuple(int(i) for i in index.reshape(-1))), x.name)
    part = (Atom("c", len(indices)),) if len(indices) > 1 else ()
    dims = tuple(part if axis == dim else d for axis, d in enumerate(x.dims))
    return replace(x, name=name, channels=(*part, *rest), dims=dims)


def _split(b: Builder, shape: Ints, x: Traced, sizes: int | Ints, dim: int = 0) -> list[Traced]:
    total = length(x.dims[dim])
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    stops = np.cumsum(sizes)
    return [_select_range(b, x, dim, range(int(e - n), int(e))) for n, e in zip(sizes, stops, strict=True)]


EVERYTHING = 2**63 - 1


def _slice(
    b: Builder, shape: Ints, x: Traced, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Traced:
    # The batch is open-ended: only a slice without a bound takes all of it.
    bound = EVERYTHING if x.dims[dim] and x.dims[dim][0].role == "n" else length(x.dims[dim])
    if start in (None, 0) and (end is None or (isinstance(end, int) and end >= bound)) and step == 1:
        return x
    if x.dims[dim] and x.dims[dim][0].role != "c":
        raise Unsupported("a slice of another axis than the channels")
    return _select_range(b, x, dim, range(length(x.dims[dim]))[slice(start, end, step)])


def _select(b: Builder, shape: Ints, x: Traced, dim: int, index: int) -> Traced:
    dim %= len(x.dims)
    x = _select_range(b, x, dim, range(index % length(x.dims[dim]), index % length(x.dims[dim]) + 1))
    return x.with_dims([d for axis, d in enumerate(x.dims) if axis != dim])


def _permute(b: Builder, shape: Ints, x: Traced, order: Ints) -> Traced:
    return x.with_dims([x.dims[axis] for axis in order])


def _transpose(b: Builder, shape: Ints, x: Traced, a: int, c: int) -> Traced:
    order = list(range(len(x.dims)))
    order[a], order[c] = order[c], order[a]
    return _permute(b, shape, x, order)


def _view(b: Builder, shape: Ints, x: Traced, *ignored: Any) -> Traced:
    try:
        return x.viewed(shape)
    except Unsupported:  # cut where the channels' factors are not, as by the second of two shuffles
        return b.merged(x).viewed(shape)


def _expand(b: Builder, shape: Ints, x: Traced, *ignored: Any) -> Traced:
    if [length(dim) for dim in x.dims] == list(shape):
        return x
    x = b.nchw(x)
    if len(shape) != 4 or x.roles[0] != "n":
        raise Unsupported("an expansion")
    return b.map(Expand(Shape(*shape[1:])), x.name)


def _as_strided(b: Builder, shape: Ints, x: Traced, size: Ints, stride: Ints, offset: int | None = None) -> Traced:
    """Only what exports of channels-last vectors have: the same shape, with other strides along axes of length one."""
    lengths = [length(dim) for dim in x.dims]
    if lengths != list(shape) or offset or x.dims[0] != (BATCH,) or sum(n > 1 for n in lengths) > 2:
        raise Unsupported("a tensor by its strides")
    return x


def _same(b: Builder, shape: Ints, x: Traced, *ignored: Any, **keywords: Any) -> Traced:
    if keywords.get("dtype") not in (None, torch.float32, torch.float64):
        raise Unsupported("another number type")
    return x


TRANSLATORS: dict[str, Translator] = {
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _mm,
    "linear": _linear,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_layer_norm": _layer_norm,
    "_softmax": _softmax("softmax"),
    "_log_softmax": _softmax("log_softmax"),
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_average_pool,
    "adaptive_avg_pool2d": _adaptive_average_pool,
    "mean.dim": _mean,
    "constant_pad_nd": _pad,
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
    "pow.Tensor_Scalar": _power,
    "add": _binary("add", Add),
    "sub": _binary("sub", Add),
    "mul": _binary("mul", Multiply),
    "div": _binary("div", None),
    "rsub": _rsub,
    "cat": _concatenate,
    "split_with_sizes": _split,
    "split": _split,
    "slice": _slice,
    "select": _select,
    "permute": _permute,
    "transpose": _transpose,
    "view": _view,
    "_unsafe_view": _view,
    "reshape": _view,
    "squeeze": _view,
    "unsqueeze": _view,
    "as_strided": _as_strided,
    "expand": _expand,
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "lift_fresh_copy": _same,
    "_to_copy": _same,
    "contiguous": _same,
}
