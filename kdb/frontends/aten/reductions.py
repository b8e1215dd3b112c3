"""Sums, means, variances, norms and maxima over the map's axes or over the channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from kdb.frontends.aten.arithmetic import join
from kdb.frontends.aten.shape import selected
from kdb.frontends.aten.types import Ints, Translator
from kdb.frontends.axes import Traced, Unsupported, length
from kdb.frontends.builder import Builder
from kdb.kernels.base import Instruction
from kdb.operators.combine import Add
from kdb.operators.dense import Dense
from kdb.operators.pointwise import Pointwise
from kdb.operators.pooling import GlobalMean, MaxPool


def _axes(x: Traced, dims: Ints | int | None) -> tuple[int, ...]:
    """The dimensions that are reduced, as non-negative numbers in order; all if ``dims`` is None or empty."""
    named = [dims] if isinstance(dims, int) else list(dims or range(len(x.dims)))
    return tuple(sorted({dim % len(x.dims) for dim in named}))


def _without(x: Traced, axes: Sequence[int], keepdim: bool) -> Traced:
    """``x`` after a reduction of the dimensions ``axes``, which have length one or, without ``keepdim``, are gone."""
    dims = [() if axis in axes else dim for axis, dim in enumerate(x.dims) if keepdim or axis not in axes]
    return x.with_dims(dims)


def _over(x: Traced, axes: Sequence[int]) -> str:
    """What the dimensions are: 'map', 'channels', 'factor' (of the channels), or '' if all are of length one."""
    reduced = {atom for axis in axes for atom in x.dims[axis]}
    if not reduced:
        return ""
    if reduced == {*x.spatial}:
        return "map"
    if reduced <= {*x.channels}:
        return "channels" if reduced == {*x.channels} else "factor"
    raise Unsupported("a reduction over some of the axes")


def _mean(b: Builder, shape: Ints, x: Traced, dims: Ints | None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    axes = _axes(x, dims)
    over = _over(x, axes)
    if over == "map":
        return _without(x.vector(b.emit(GlobalMean(), x.name)), axes, keepdim)
    if over == "channels":
        return _without(_weighted(b, x, 1 / length(x.channels)), axes, keepdim)
    if over == "factor":
        count = length(tuple(atom for axis in axes for atom in x.dims[axis]))
        return b.pointwise("mul", _added(b, x, axes, keepdim), 1 / count)
    return _without(x, axes, keepdim)


def _sum(b: Builder, shape: Ints, x: Traced, dims: Ints | None, keepdim: bool = False, *, dtype: Any = None) -> Traced:
    axes = _axes(x, dims)
    over = _over(x, axes)
    if over == "map":
        return b.pointwise("mul", _mean(b, shape, x, axes, keepdim), b.shape(x.name).cells)
    if over == "factor":
        return _added(b, x, axes, keepdim)
    return _without(_weighted(b, x, 1.0) if over == "channels" else x, axes, keepdim)


def _weighted(b: Builder, x: Traced, factor: float) -> Traced:
    """``factor`` times the sum over all channels, as a dense layer with one output."""
    weight = b.weight(torch.full((1, length(x.channels)), factor), "weight")
    dims = tuple(tuple(atom for atom in dim if atom not in x.channels) for dim in x.dims)
    return replace(x, name=b.emit(Dense(weight, None, 1), x.name), channels=(), dims=dims)


def _added(b: Builder, x: Traced, axes: Sequence[int], keepdim: bool) -> Traced:
    """The sum over one factor of the channels, as split attention takes it."""
    if len(axes) != 1:
        raise Unsupported("a reduction over some of the channels")
    (axis,) = axes
    parts = [b.aligned(selected(b, x, axis, [i])) for i in range(length(x.dims[axis]))]
    total = parts[0]
    for part in parts[1:]:
        total = b.like(Add(), total, total.name, part.name)
    return _without(total, axes, keepdim)


def _variance(
    b: Builder, shape: Ints, x: Traced, dims: Ints | None = None, *, correction: float | None = 1, keepdim: bool = False
) -> Traced:
    axes = _axes(x, dims)
    count = length(tuple(atom for axis in axes for atom in x.dims[axis]))
    degrees = count - (1 if correction is None else correction)
    if degrees <= 0:
        raise Unsupported("a variance of too few values")
    opposite = b.pointwise("neg", _mean(b, shape, x, axes, True))
    squares = _squared(b, join(b, Add(), x, opposite))
    return b.pointwise("mul", _mean(b, shape, squares, axes, keepdim), count / degrees)


def _squared(b: Builder, x: Traced) -> Traced:
    return b.like(Pointwise((Instruction("mul", (0, 0)),)), x, x.name)


def _norm(
    b: Builder,
    shape: Ints,
    x: Traced,
    order: float = 2,
    dims: Ints | None = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
) -> Traced:
    if order != 2:
        raise Unsupported("a norm of another order than 2")
    return b.pointwise("sqrt", _sum(b, shape, _squared(b, x), dims, keepdim))


def _maximum(b: Builder, shape: Ints, x: Traced, dims: Ints | None = None, keepdim: bool = False) -> Traced:
    axes = _axes(x, dims)
    if _over(x, axes) not in ("map", ""):
        raise Unsupported("a maximum over the channels")
    size = b.shape(x.name).size
    name = b.emit(MaxPool(size, size, (0,) * (2 * len(size)), (1,) * len(size)), x.name)
    return _without(x.vector(name), axes, keepdim)


TRANSLATORS: dict[str, Translator] = {
    "mean.dim": _mean,
    "sum.dim_IntList": _sum,
    "var.correction": _variance,
    "linalg_vector_norm": _norm,
    "amax": _maximum,
}
