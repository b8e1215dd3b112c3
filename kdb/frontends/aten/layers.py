"""Layers with weights, normalization and pooling."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kdb.frontends.aten.shape import selected
from kdb.frontends.aten.types import Ints, Translator, only_constants, refused
from kdb.frontends.axes import Atom, Traced, Unsupported, length
from kdb.frontends.builder import NCHW, Builder, only_tensor
from kdb.kernels.base import Instruction, Margins
from kdb.operators.base import Shape
from kdb.operators.convolution import Convolution
from kdb.operators.pointwise import Affine, Dense, Pointwise
from kdb.operators.pooling import AdaptiveAveragePool, AveragePool, GlobalMean, MaxPool, Pad


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
    only_constants(weight, bias)
    if weight.ndim == 3 and not transposed:
        return _along_channels(b, shape, x, weight, bias, stride[0], padding[0], dilation[0])
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


def _along_channels(
    b: Builder,
    shape: Ints,
    x: Traced,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Traced:
    """A one-dimensional convolution along a vector's channels, as a dense layer with a band matrix."""
    if weight.shape[:2] != (1, 1) or len(x.dims) != 3 or x.dims[1] or set(x.dims[2]) != set(x.channels):
        raise Unsupported("a one-dimensional convolution along another axis than the channels")
    taps = torch.arange(shape[-1])[:, None] * stride - padding + torch.arange(weight.shape[2]) * dilation
    inputs = length(x.dims[2])
    # The last column, for taps on the padding, is dropped.
    band = torch.zeros(shape[-1], inputs + 1, dtype=weight.dtype)
    band.scatter_add_(1, torch.where((taps >= 0) & (taps < inputs), taps, inputs), weight[0].expand(len(taps), -1))
    return _dense(b, x, band[:, :inputs], None if bias is None else bias.expand(shape[-1]))


def _dense(b: Builder, x: Traced, weight: torch.Tensor, bias: torch.Tensor | None) -> Traced:
    """``x W^T + b`` along the last dimension; the columns of W are put into the order of the channels in memory."""
    if weight.ndim != 2 or (bias is not None and bias.ndim != 1):
        raise Unsupported("a product with other than a matrix, or a sum with other than a vector")
    x = b.flattened(x, len(x.dims) - 1)
    last = x.dims[-1]
    if set(last) != set(x.channels):
        raise Unsupported("a matrix product along part of the channels")
    columns = np.argsort(x.channel_index(last).reshape(-1)) if last else np.zeros(1, np.int64)
    dense = Dense(
        b.weight(weight, "weight", columns),
        None if bias is None else b.weight(bias.expand(weight.shape[0]), "bias"),
        weight.shape[0],
    )
    out = (Atom("c", weight.shape[0]),) if weight.shape[0] > 1 else ()
    return replace(x, name=b.emit(dense, x.name), channels=out, dims=(*x.dims[:-1], out))


def _addmm(b: Builder, shape: Ints, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Traced:
    only_tensor([x])
    only_constants(weight, bias)
    return _dense(b, x, alpha * weight.T, beta * bias)


def _mm(b: Builder, shape: Ints, x: Any, weight: Any) -> Traced:
    only_tensor([x])
    only_constants(weight)
    return _dense(b, x, weight.T, None)


def _linear(b: Builder, shape: Ints, x: Any, weight: Any, bias: Any = None) -> Traced:
    only_tensor([x])
    only_constants(weight, bias)
    return _dense(b, x, weight, bias)


# --- normalization -----------------------------------------------------------------------------------------------


def _batch_norm(
    b: Builder, shape: Ints, x: Traced, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> tuple[Traced, None, None]:
    x = b.aligned(x)
    only_constants(weight, bias, mean, variance)
    if len(x.dims) < 2 or x.dims[1] != x.channels:
        raise Unsupported("batch normalization along another axis")
    scale = torch.rsqrt(variance.double() + eps) * (1 if weight is None else weight.double())
    shift = (0 if bias is None else bias.double()) - mean.double() * scale
    return b.like(Affine(b.weight(scale, "scale"), b.weight(shift, "shift")), x, x.name), None, None


def _layer_norm(
    b: Builder, shape: Ints, x: Traced, normalized: Ints, weight: Any, bias: Any, eps: float
) -> tuple[Traced, None, None]:
    only_constants(weight, bias)
    x = b.aligned(x)
    if len(normalized) != 1 or x.dims[-1] != x.channels:
        raise Unsupported("normalization over more than the channels")
    program = [Instruction("normalize", (0, float(eps)))]
    if weight is not None:
        program.append(Instruction("mul", (len(program), b.weight(weight, "weight"))))
    if bias is not None:
        program.append(Instruction("add", (len(program), b.weight(bias, "bias"))))
    return b.like(Pointwise(tuple(program)), x, x.name), None, None


def _softmax(function: str) -> Translator:
    def translate(b: Builder, shape: Ints, x: Traced, dim: int, half_to_float: bool) -> Traced:
        if half_to_float:
            raise Unsupported("a conversion to another dtype")
        x = b.aligned(x)
        if x.roles[dim] != "c":
            raise Unsupported("a softmax along another axis")
        return b.pointwise(function, x)

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
    """Output size of a pooling layer; under ``ceil_mode`` rounded up, but no window starts in the right padding."""
    sizes = []
    for n, k, s, p, g in zip(shape.size, *map(_pair, (kernel, stride, padding, dilation)), strict=True):
        span = n + 2 * p - ((k - 1) * g + 1)
        out = (-(-span // s) if ceil_mode else span // s) + 1
        sizes.append(out - 1 if ceil_mode and (out - 1) * s >= n + p else out)
    return sizes[0], sizes[1]


def _adaptive_max_pool(b: Builder, shape: Ints, x: Traced, size: Ints) -> tuple[Traced, None]:
    x = b.nchw(x)
    (height, width), (h, w) = b.shape(x.name).size, _pair(size)
    if height % h or width % w:
        raise Unsupported("windows of different sizes")
    kernel = (height // h, width // w)
    return b.map(MaxPool(kernel, kernel, (0, 0, 0, 0), (h, w)), x.name), None


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


def _pad(b: Builder, shape: Ints, x: Traced, padding: Ints, value: float = 0.0) -> Traced:
    """Padding before and after each dimension, from the last to the first; negative padding crops."""
    x = b.aligned(x)
    plain = len(x.dims) == 4 and all(role in (usual, "-") for role, usual in zip(x.roles, NCHW, strict=True))
    roles = NCHW if plain else x.roles  # axes of length one are identified by their position
    margins = {"y": (0, 0), "x": (0, 0)}
    for dim, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True), start=1):
        if (before, after) == (0, 0):
            continue
        role = roles[-dim]
        if role not in margins:
            raise Unsupported("padding along another axis than the map's")
        n = length(x.dims[-dim])
        x = selected(b, x, -dim, range(n)[max(-before, 0) : n - max(-after, 0)])
        margins[role] = max(before, 0), max(after, 0)
    (top, bottom), (left, right) = margins.values()
    if not any((top, bottom, left, right)):
        return x
    name = b.emit(Pad((top, left, bottom, right), float(value)), x.name)
    y, x_axis = (Atom(role, n) for role, n in zip("yx", b.shape(name).size, strict=True))
    axes = {"y": (y,), "x": (x_axis,)}
    dims = tuple(axes.get(role, dim) for role, dim in zip(roles, x.dims, strict=True))
    return replace(x, name=name, y=y, x=x_axis, dims=dims)


TRANSLATORS: dict[str, Translator] = {
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _mm,
    "linear": _linear,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "native_layer_norm": _layer_norm,
    "native_group_norm": refused("its statistics are those of the whole map"),
    "_native_batch_norm_legit": refused("its statistics are those of the whole map"),
    "_native_batch_norm_legit.no_stats": refused("its statistics are those of the whole map"),
    "bmm": refused("a product of two computed matrices, as attention is"),
    "_softmax": _softmax("softmax"),
    "_log_softmax": _softmax("log_softmax"),
    "max_pool2d_with_indices": _max_pool,
    "adaptive_max_pool2d": _adaptive_max_pool,
    "avg_pool2d": _average_pool,
    "_adaptive_avg_pool2d": _adaptive_average_pool,
    "adaptive_avg_pool2d": _adaptive_average_pool,
    "constant_pad_nd": _pad,
}
