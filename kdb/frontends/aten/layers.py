"""Layers with weights, normalization and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import torch

from kdb.frontends.aten.shape import selected
from kdb.frontends.aten.types import Ints, Translator, only_constants, refused
from kdb.frontends.axes import Atom, Traced, Unsupported, length
from kdb.frontends.builder import Builder, only_tensor
from kdb.geometry import Margins, Part, Size
from kdb.kernels.base import Instruction
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense
from kdb.operators.indexing import Interleave
from kdb.operators.pointwise import Affine, Pointwise, SelectChannels
from kdb.operators.pooling import AdaptiveAveragePool, AveragePool, GlobalMean, MaxPool, Pad


def _each(values: Ints, rank: int) -> tuple[int, ...]:
    """A number for each axis, of which PyTorch may be given one for all; of more, the last: see :func:`_pooling`."""
    return tuple(values[-rank:]) if len(values) >= rank else (values[0],) * rank


def _margins(padding: Ints, rank: int) -> Margins:
    return _each(padding, rank) * 2


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
    rank = len(x.axes)
    along_channels = weight.ndim == 3 and (rank > 1 or x.dims[-1] == x.channels != ())
    if along_channels and not transposed:  # of a vector, as a channel attention has it
        return _along_channels(b, shape, x, weight, bias, stride[0], padding[0], dilation[0])
    if weight.ndim != rank + 2:
        raise Unsupported(f"a {weight.ndim - 2}-dimensional convolution")
    x = b.usual(x)
    if transposed:
        if any(gap > 1 for gap in dilation):
            raise Unsupported("a transposed convolution with dilation")
        return _transposed(b, x, weight, bias, _each(stride, rank), _each(padding, rank), tuple(shape[2:]), groups)
    return b.map(
        Convolution(
            b.weight(weight, "weight"),
            None if bias is None else b.weight(bias, "bias"),
            weight.shape[0],
            tuple(weight.shape[2:]),
            _each(stride, rank),
            _margins(padding, rank),
            _each(dilation, rank),
            groups,
        ),
        x.name,
    )


def _transposed(
    b: Builder,
    x: Traced,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Size,
    padding: Size,
    size: Size,
    groups: int,
) -> Traced:
    """A transposed convolution as a convolution to ``stride`` times as many channels, which become cells.

    Cell ``o`` of the output reads the cells ``(o + p - k) / s`` of the input by the taps k for which that is a whole
    number: those with the phase ``(o + p) mod s``.  So the outputs of one phase are a convolution of ``ceil(K / s)``
    taps.
    """
    inputs, outer, *kernel = weight.shape
    given, rank = b.shape(x.name).size, len(stride)
    phases = math.prod(stride)
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    # [in, out / g, *K] -> [in, out / g, taps, phase, taps, phase, ..], with the taps in the order of the cells.
    ends = [
        end
        for k, t, s in zip(reversed(kernel), reversed(taps), reversed(stride), strict=True)
        for end in (0, t * s - k)
    ]
    split = torch.nn.functional.pad(weight, ends).reshape(
        inputs, outer, *(n for pair in zip(taps, stride, strict=True) for n in pair)
    )
    split = split.flip([2 + 2 * axis for axis in range(rank)])
    split = split.reshape(groups, inputs // groups, *split.shape[1:])
    order = (0, *(4 + 2 * axis for axis in range(rank)), 2, 1, *(3 + 2 * axis for axis in range(rank)))
    convolved = split.permute(order).reshape(phases * groups * outer, inputs // groups, *taps)
    first = tuple(min(p // s, t - 1) for p, s, t in zip(padding, stride, taps, strict=True))
    before = tuple(t - 1 - q for t, q in zip(taps, first, strict=True))
    counts = ((n - 1 + p) // s + 1 - q for n, p, s, q in zip(size, padding, stride, first, strict=True))
    after = tuple(max(c - n - a + t - 1, 0) for c, n, a, t in zip(counts, given, before, taps, strict=True))
    shift = None if bias is None else bias.reshape(groups, 1, outer).expand(groups, phases, outer).reshape(-1)
    name = b.emit(
        Convolution(
            b.weight(convolved, "weight"),
            None if shift is None else b.weight(shift, "bias"),
            len(convolved),
            tuple(taps),
            (1,) * rank,
            (*before, *after),
            (1,) * rank,
            groups,
        ),
        x.name,
    )
    if groups > 1 and phases > 1:  # [g, phase, out / g] -> [phase, g, out / g]
        places = np.arange(len(convolved)).reshape(groups, phases, outer).transpose(1, 0, 2)
        name = b.emit(SelectChannels(tuple(places.reshape(-1).tolist())), name)
    start = tuple(p - q * s for p, q, s in zip(padding, first, stride, strict=True))
    return b.map(Interleave(stride, Part(start, size)), name)


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


def _pooling(pool: Callable[..., Traced]) -> Translator:
    """The translator of a ``pool`` on PyTorch's usual layout.

    PyTorch takes pools of signals as pools of images of one row, [N, C, 1, L]: what is said of that row goes without
    saying.
    """

    @wraps(pool)
    def translate(b: Builder, shape: Ints, x: Traced, *arguments: Any, **named: Any) -> Traced:
        rows = len(x.dims) - len(x.usual)
        if rows <= 0 or any(x.dims[2 : 2 + rows]):
            return pool(b, shape, b.usual(x), *arguments, **named)
        signal = x.with_dims((*x.dims[:2], *x.dims[2 + rows :]))
        pooled = pool(b, shape, b.usual(signal), *arguments, **named)
        return pooled.with_dims((*pooled.dims[:2], *((),) * rows, *pooled.dims[2:]))

    return translate


def _with_indices(pool: Translator) -> Translator:
    """A pool that also says where its values come from, which inference does not need."""

    @wraps(pool)
    def translate(*given: Any, **named: Any) -> tuple[Traced, None]:
        return pool(*given, **named), None

    return translate


def _max_pool(
    b: Builder,
    shape: Ints,
    x: Traced,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = (0,),
    dilation: Ints = (1,),
    ceil_mode: bool = False,
) -> Traced:
    rank, stride = len(x.axes), stride or kernel
    size = _pooled(b.shape(x.name).size, kernel, stride, padding, dilation, ceil_mode)
    kernel, stride, dilation = (_each(each, rank) for each in (kernel, stride, dilation))
    return b.map(MaxPool(kernel, stride, _margins(padding, rank), size, dilation), x.name)


def _pooled(size: Size, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil_mode: bool) -> Size:
    """Output size of a pooling layer; under ``ceil_mode`` rounded up, but no window starts in the padding behind."""
    sizes = []
    by_axis = (_each(each, len(size)) for each in (kernel, stride, padding, dilation))
    for n, k, s, p, g in zip(size, *by_axis, strict=True):
        span = n + 2 * p - ((k - 1) * g + 1)
        out = (-(-span // s) if ceil_mode else span // s) + 1
        sizes.append(out - 1 if ceil_mode and (out - 1) * s >= n + p else out)
    return tuple(sizes)


def _adaptive_max_pool(b: Builder, shape: Ints, x: Traced, size: Ints) -> Traced:
    size, given = _each(size, len(x.axes)), b.shape(x.name).size
    kernel = _even(given, size)
    if kernel is None:
        raise Unsupported("windows of different sizes")
    return b.map(MaxPool(kernel, kernel, _margins((0,), len(size)), size), x.name)


def _even(given: Size, size: Size) -> Size | None:
    """The windows without gaps that make a map of ``size`` of one that is ``given``; None where they would differ."""
    if any(length % count for length, count in zip(given, size, strict=True)):
        return None
    return tuple(length // count for length, count in zip(given, size, strict=True))


def _average_pool(
    b: Builder,
    shape: Ints,
    x: Traced,
    kernel: Ints,
    stride: Ints = (),
    padding: Ints = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Traced:
    rank = len(x.axes)
    kernel, stride, padding = _each(kernel, rank), _each(stride or kernel, rank), _margins(padding, rank)
    pool = AveragePool(kernel, stride, padding, tuple(shape[-rank:]), (), count_include_pad, divisor)
    return b.map(pool, x.name)


def _adaptive_average_pool(b: Builder, shape: Ints, x: Traced, size: Ints) -> Traced:
    size, given = _each(size, len(x.axes)), b.shape(x.name).size
    if size == given:
        return x
    if math.prod(size) == 1:
        return b.map(GlobalMean(), x.name)
    kernel = _even(given, size)
    if kernel is not None:
        return b.map(AveragePool(kernel, kernel, _margins((0,), len(size)), size), x.name)
    return b.map(AdaptiveAveragePool(size), x.name)


def _pad(b: Builder, shape: Ints, x: Traced, padding: Ints, value: float = 0.0) -> Traced:
    """Padding before and after each dimension, from the last to the first; negative padding crops."""
    x = b.aligned(x)
    names = x.usual[2:]
    plain = len(x.dims) == len(x.usual)
    plain = plain and all(role in (usual, "-") for role, usual in zip(x.roles, x.usual, strict=True))
    roles = x.usual if plain else x.roles  # axes of length one are identified by their position
    margins = dict.fromkeys(names, (0, 0))
    for dim, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True), start=1):
        if (before, after) == (0, 0):
            continue
        role = roles[-dim]
        if role not in margins:
            raise Unsupported("padding along another axis than the map's")
        n = length(x.dims[-dim])
        x = selected(b, x, -dim, range(n)[max(-before, 0) : n - max(-after, 0)])
        margins[role] = max(before, 0), max(after, 0)
    around = (*(before for before, _ in margins.values()), *(after for _, after in margins.values()))
    if not any(around):
        return x
    name = b.emit(Pad(around, float(value)), x.name)
    axes = tuple(map(Atom, names, b.shape(name).size))
    by_role = {axis.role: (axis,) for axis in axes}
    dims = tuple(by_role.get(role, dim) for role, dim in zip(roles, x.dims, strict=True))
    return replace(x, name=name, axes=axes, dims=dims)


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
    **{f"max_pool{rank}d_with_indices": _with_indices(_pooling(_max_pool)) for rank in (2, 3)},
    **{f"adaptive_max_pool{rank}d": _with_indices(_pooling(_adaptive_max_pool)) for rank in (2, 3)},
    **{f"avg_pool{rank}d": _pooling(_average_pool) for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d": _pooling(_adaptive_average_pool) for rank in (1, 2, 3)},
    **{f"_adaptive_avg_pool{rank}d": _pooling(_adaptive_average_pool) for rank in (2, 3)},
    "constant_pad_nd": _pad,
}
