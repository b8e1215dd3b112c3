"""Concatenation, selection and reshapes, most of which only rearrange axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from kdb.frontends.aten.types import Ints, Translator
from kdb.frontends.axes import BATCH, Atom, Traced, Unsupported, length
from kdb.frontends.builder import Builder, only_tensor
from kdb.geometry import AXES, Part
from kdb.operators.base import Shape
from kdb.operators.combine import Concatenate, Expand
from kdb.operators.indexing import Interleave, SelectCells
from kdb.operators.pointwise import SelectChannels
from kdb.operators.resampling import Interpolation, Resample
from kdb.operators.sequences import Join


def _concatenate(b: Builder, shape: Ints, parts: Sequence[Any], dim: int = 0) -> Traced:
    only_tensor(parts)
    dim %= len(parts[0].dims)
    cells = any(part.spatial and part.dims[dim] == part.spatial for part in parts) or dim == 2
    if cells and len(parts[0].dims) == 3 < len(parts[0].usual):  # [N, C, cells] or [N, cells, C]
        return _joined(b, [b.raveled(part, dim) for part in parts], dim, 0)
    along = {part.axes.index(axis) for part in parts for axis in part.spatial if part.dims[dim] == (axis,)}
    if len(along) == 1:
        return _joined(b, parts, dim, along.pop())
    aligned = [b.aligned(b.flattened(part, dim)) for part in parts]
    first = aligned[0]
    for part in aligned:
        others = [role for axis, role in enumerate(part.roles) if axis != dim]
        # A dimension of length one may be a new axis that stacking added; then the other axes differ.
        if part.dims[dim] != part.channels or others != [r for axis, r in enumerate(first.roles) if axis != dim]:
            raise Unsupported("a concatenation along another axis")
    name = b.emit(Concatenate(), *(part.name for part in aligned))
    channels = (Atom("c", b.shape(name).channels),)
    dims = tuple(channels if axis == dim else d for axis, d in enumerate(first.dims))
    return replace(first, name=name, channels=channels, dims=dims)


def _joined(b: Builder, parts: Sequence[Traced], dim: int, number: int) -> Traced:
    """The parts one behind another along a dimension that is the map's axis of that number."""
    parts = [b.aligned(part) for part in parts]
    first, role = parts[0], AXES[len(parts[0].axes)][number]
    layouts = {tuple(role if axis == dim else own for axis, own in enumerate(part.roles)) for part in parts}
    if len(layouts) > 1 or any(part.roles[dim] not in (role, "-") for part in parts):
        raise Unsupported("a concatenation of unlike layouts")
    name = b.emit(Join(number), *(part.name for part in parts))
    axis = Atom(role, b.shape(name).size[number])
    axes = tuple(axis if place == number else own for place, own in enumerate(first.axes))
    dims = tuple((axis,) if place == dim else own for place, own in enumerate(first.dims))
    return replace(first, name=name, axes=axes, dims=dims)


def selected(b: Builder, x: Traced, dim: int, indices: Sequence[int]) -> Traced:
    """``x`` with the ``indices`` along ``dim``, in their order; ``dim`` consists of channels, or is an axis of the
    map.
    """
    dim %= len(x.dims)
    if BATCH in x.dims[dim]:
        raise Unsupported("a selection of images of the batch")
    if tuple(indices) == tuple(range(length(x.dims[dim]))):
        return x
    if len(x.dims[dim]) > 1 and x.dims[dim] == x.spatial:  # cells in a row
        x = b.raveled(x, dim)
    if x.dims[dim] in [(axis,) for axis in x.spatial]:
        return _selected_cells(b, x, dim, indices)
    index = x.channel_index(x.dims[dim])[list(indices)]
    rest = tuple(atom for atom in x.channels if atom not in x.dims[dim])
    name = b.emit(SelectChannels(tuple(int(i) for i in index.reshape(-1))), x.name)
    part = (Atom("c", len(indices)),) if len(indices) > 1 else ()
    dims = tuple(part if axis == dim else d for axis, d in enumerate(x.dims))
    return replace(x, name=name, channels=(*part, *rest), dims=dims)


def _selected_cells(b: Builder, x: Traced, dim: int, indices: Sequence[int]) -> Traced:
    (axis,) = x.dims[dim]
    cells = [tuple(range(n)) for n in b.shape(x.name).size]
    cells[x.axes.index(axis)] = tuple(indices)
    part = Atom(axis.role, len(indices)) if len(indices) > 1 else None
    axes = tuple(part if each is axis else each for each in x.axes)
    dims = tuple((() if part is None else (part,)) if i == dim else d for i, d in enumerate(x.dims))
    return replace(x, name=b.emit(SelectCells(tuple(cells)), x.name), axes=axes, dims=dims)


def _split(b: Builder, shape: Ints, x: Traced, sizes: int | Ints, dim: int = 0) -> list[Traced]:
    total = length(x.dims[dim])
    if isinstance(sizes, int):
        sizes = [min(sizes, total - start) for start in range(0, total, sizes)]
    stops = np.cumsum(sizes)
    return [selected(b, x, dim, range(int(e - n), int(e))) for n, e in zip(sizes, stops, strict=True)]


EVERYTHING = 2**63 - 1
"""The end of a slice without one."""


def _is_whole(start: int | None, end: int | None, step: int) -> bool:
    """Whether a slice takes all there is, whatever the length."""
    return start in (None, 0) and end in (None, EVERYTHING) and step == 1


def _slice(
    b: Builder, shape: Ints, x: Traced, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Traced:
    if _is_whole(start, end, step):
        return x
    return selected(b, x, dim, range(length(x.dims[dim]))[slice(start, end, step)])


def _slice_scatter(
    b: Builder,
    shape: Ints,
    x: Traced,
    part: Traced,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Traced:
    """``x`` with a slice replaced by ``part``, as an in-place operation on the slice leaves it."""
    only_tensor([x, part])
    dim %= len(x.dims)
    if _is_whole(start, end, step):
        return part
    if BATCH in x.dims[dim]:
        raise Unsupported("an assignment to part of the batch")
    if step != 1:
        raise Unsupported("an assignment with a step")
    count = length(x.dims[dim])
    taken = range(count)[slice(start, end)]
    before, after = range(taken.start), range(taken.stop, count)
    pieces = [selected(b, x, dim, before)] if before else []
    pieces.append(part)
    pieces += [selected(b, x, dim, after)] if after else []
    return _concatenate(b, shape, pieces, dim) if len(pieces) > 1 else part


def _select(b: Builder, shape: Ints, x: Traced, dim: int, index: int) -> Traced:
    dim %= len(x.dims)
    x = selected(b, x, dim, [index % length(x.dims[dim])])
    return x.with_dims([d for axis, d in enumerate(x.dims) if axis != dim])


def _index_select(b: Builder, shape: Ints, x: Any, dim: int, index: Any) -> Traced:
    only_tensor([x])
    if not isinstance(index, torch.Tensor):
        raise Unsupported("indices that depend on the image")
    return selected(b, x, dim, (index % length(x.dims[dim])).reshape(-1).tolist())


def _index(b: Builder, shape: Ints, x: Any, indices: Sequence[Any]) -> Traced:
    """``x[:, :, rows, columns]`` for constant integers whose shapes broadcast to a grid."""
    only_tensor([x])
    given = {dim: index for dim, index in enumerate(indices) if index is not None}
    if not all(isinstance(index, torch.Tensor) for index in given.values()):
        raise Unsupported("indices that depend on the image")
    wide = [[axis for axis, n in enumerate(reversed(index.shape)) if n > 1] for index in given.values()]
    varying = [axis for axes in wide for axis in axes]
    in_order = sorted(varying, reverse=True) == varying and len(set(varying)) == len(varying)
    adjacent = list(given) == list(range(min(given), max(given) + 1))
    if not (in_order and adjacent and max(map(len, wide)) <= 1):
        raise Unsupported("indexing of single cells")
    if any(index.dtype not in (torch.int64, torch.int32) for index in given.values()):
        raise Unsupported("indexing by a mask")
    for dim, index in given.items():
        x = _index_select(b, shape, x, dim, index)
    return x if [length(dim) for dim in x.dims] == list(shape) else _view(b, shape, x)


def _nearest(rank: int) -> Translator:
    """By the output's ``size``, and the factors by which coordinates are scaled where they are not their quotient."""
    upsample = getattr(torch.ops.aten, f"upsample_nearest{rank}d").default

    def translate(
        b: Builder,
        shape: Ints,
        x: Traced,
        size: Ints,
        first: float | None = None,
        second: float | None = None,
        third: float | None = None,
    ) -> Traced:
        return _copied(b, x, lambda numbers: upsample(numbers, size, *(first, second, third)[:rank]))

    return translate


def _nearest_vec(rank: int) -> Translator:
    """By the output's ``size``, or by ``factors``, one an axis."""
    upsample = getattr(torch.ops.aten, f"upsample_nearest{rank}d").vec

    def translate(b: Builder, shape: Ints, x: Traced, size: Ints | None, factors: Sequence[float] | None) -> Traced:
        return _copied(b, x, lambda numbers: upsample(numbers, size, factors))

    return translate


def _copied(b: Builder, x: Traced, upsample: Callable[[torch.Tensor], torch.Tensor]) -> Traced:
    """Each output cell copies an input cell; which one, PyTorch computes on a map of the cells' indices."""
    x = b.usual(x)
    size = b.shape(x.name).size
    numbers = torch.arange(math.prod(size), dtype=torch.float64).reshape(1, 1, *size)
    places = np.unravel_index(upsample(numbers)[0, 0].long().numpy(), size)
    # Along each axis the cells that are copied do not depend on where that is on the others.
    along = (np.moveaxis(each, axis, -1).reshape(-1, each.shape[axis])[0] for axis, each in enumerate(places))
    return b.map(SelectCells(tuple(tuple(cells.tolist()) for cells in along)), x.name)


def _linear(b: Builder, shape: Ints, x: Traced, size: Ints | None, aligned: bool, factors: Any) -> Traced:
    """By the output's ``size``, or by ``factors``, one an axis."""
    x = b.usual(x)
    given = b.shape(x.name).size
    lengths = zip(given, shape[2:], factors or (None,) * len(given), strict=True)
    along = (Interpolation.whole(long, made, aligned, factor) for long, made, factor in lengths)
    return b.map(Resample(tuple(along)), x.name)


def _pixel_shuffle(b: Builder, shape: Ints, x: Traced, factor: int) -> Traced:
    """Of PyTorch's channels (c, i, j) those of one cell come to lie together."""
    x = b.usual(x)
    channels, size = b.shape(x.name)
    factors = (factor,) * len(size)
    places = np.arange(channels).reshape(-1, factor**2).T.reshape(-1)
    name = b.emit(SelectChannels(tuple(places.tolist())), x.name)
    return b.map(Interleave(factors, Part.whole(tuple(factor * n for n in size))), name)


def _permute(b: Builder, shape: Ints, x: Traced, order: Ints) -> Traced:
    return x.with_dims([x.dims[axis] for axis in order])


def _transpose(b: Builder, shape: Ints, x: Traced, a: int, c: int) -> Traced:
    order = list(range(len(x.dims)))
    order[a], order[c] = order[c], order[a]
    return _permute(b, shape, x, order)


def _view(b: Builder, shape: Ints, x: Traced, how: Ints | int | None = None) -> Traced:
    """A view, squeeze or unsqueeze: the output's shape says all that ``how``, a size or an axis, does."""
    try:
        return x.viewed(shape)
    except Unsupported:  # it splits the channels in another way, as the second of two channel shuffles does
        try:
            return b.merged(x).viewed(shape)
        except Unsupported:
            return b.folded(x, shape).viewed(shape)


def _expand(b: Builder, shape: Ints, x: Traced, size: Ints, *, implicit: bool = False) -> Traced:
    """Repeated along axes of length one, to the output's shape; ``size`` has -1 where that does not change."""
    if [length(dim) for dim in x.dims] == list(shape):
        return x
    x = b.usual(x)
    if len(shape) != len(x.usual) or x.roles[0] != "n":
        raise Unsupported("an expansion of this shape")
    return b.map(Expand(Shape(shape[1], tuple(shape[2:]))), x.name)


def _as_strided(b: Builder, shape: Ints, x: Traced, size: Ints, stride: Ints, offset: int | None = None) -> Traced:
    """Only views of the same shape, as exports of channels-last vectors have: strides differ on axes of length one."""
    lengths = [length(dim) for dim in x.dims]
    steps = [step for n, step in zip(lengths[1:], stride[1:], strict=True) if n > 1]
    in_order = stride[0] == np.prod(lengths[1:]) and len(steps) <= 1 and all(step == 1 for step in steps)
    if lengths != list(shape) or offset or x.dims[0] != (BATCH,) or not in_order:
        raise Unsupported("a view by strides")
    return x


def _same(b: Builder, shape: Ints, x: Traced, *, memory_format: Any = None) -> Traced:
    """The same values, whatever their order in memory."""
    return x


def _to_copy(
    b: Builder,
    shape: Ints,
    x: Traced,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool | None = None,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Traced:
    """The same values in another place: a network has none of its own."""
    if layout not in (None, torch.strided):
        raise Unsupported("a conversion to another layout")
    return x


TRANSLATORS: dict[str, Translator] = {
    "cat": _concatenate,
    "split_with_sizes": _split,
    "split.Tensor": _split,
    "slice.Tensor": _slice,
    "slice_scatter": _slice_scatter,
    "select.int": _select,
    "index_select": _index_select,
    "index.Tensor": _index,
    "_unsafe_index.Tensor": _index,
    **{f"upsample_nearest{rank}d": _nearest(rank) for rank in (1, 2, 3)},
    **{f"upsample_nearest{rank}d.vec": _nearest_vec(rank) for rank in (1, 2, 3)},
    **{f"upsample_{name}d.vec": _linear for name in ("linear1", "bilinear2", "trilinear3")},
    "pixel_shuffle": _pixel_shuffle,
    "permute": _permute,
    "transpose.int": _transpose,
    "view": _view,
    "_unsafe_view": _view,
    "squeeze": _view,
    "squeeze.dim": _view,
    "squeeze.dims": _view,
    "unsqueeze": _view,
    "as_strided": _as_strided,
    "expand": _expand,
    "clone": _same,
    "alias": _same,
    "detach": _same,
    "_to_copy": _to_copy,
}
