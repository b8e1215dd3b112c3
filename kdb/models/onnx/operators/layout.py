"""Shapes, selection and concatenation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from kdb.errors import ModelError
from kdb.models.onnx.graph import Array, Node, as_tensor, bounded
from kdb.models.onnx.hosted import ints, shape_of, slices
from kdb.models.onnx.operators.types import Operator

Tensor = torch.Tensor

_FEW = 16
"""Most indices that are selected one by one and concatenated, which kdb has operators for, rather than gathered."""


def _reshape(node: Node, x: Tensor, shape: Array) -> Tensor:
    sizes = ints(shape)
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if isinstance(n, int) and n == 0 else n for axis, n in enumerate(sizes)]
    if -1 not in sizes[1:] and _elements(sizes[1:]) == _elements(x.shape[1:]) is not None:
        sizes[0] = x.shape[0]  # the only size that fits, whatever batch size the file was exported for
    return x.reshape(sizes)


def _elements(sizes: Sequence[Any]) -> int | None:
    """The product of sizes; None if there are none or one is symbolic."""
    return math.prod(sizes) if sizes and all(isinstance(n, int) for n in sizes) else None


def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1:
        return x.flatten(1) if x.ndim > 1 else x.reshape(-1, 1)
    return (
        x.reshape(1, -1) if axis == 0 else x.flatten(axis).flatten(0, axis - 1) if axis < x.ndim else x.reshape(-1, 1)
    )


def _squeeze(node: Node, x: Tensor, axes: Array | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def _unsqueeze(node: Node, x: Tensor, axes: Array) -> Tensor:
    rank = x.ndim + len(ints(axes))
    for axis in sorted(axis % rank for axis in ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(node.get("perm", tuple(reversed(range(x.ndim)))))


def _expand(node: Node, x: Tensor, shape: Array) -> Tensor:
    """Expand; unlike PyTorch's, the shape may have ones where the tensor has not."""
    sizes = ints(shape)
    sizes = [1] * (x.ndim - len(sizes)) + sizes
    mine = [1] * (len(sizes) - x.ndim) + list(x.shape)
    wanted = [m if isinstance(n, int) and n == 1 else n for n, m in zip(sizes, mine, strict=True)]
    return x.expand(*bounded(wanted, node))


def _concat(node: Node, *parts: Tensor) -> Tensor:
    axis = node.get("axis") % parts[0].ndim
    if axis:
        parts = _with_batch(parts)
    return torch.cat(parts, axis)


def _with_batch(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Repeat constants for one image, such as a class token in a file with a fixed batch, for each image."""
    batch = next((n for part in parts if not (isinstance(n := part.shape[0], int) and n == 1)), None)
    if batch is None:
        return tuple(parts)
    return tuple(
        part.expand(batch, *part.shape[1:]) if isinstance(n := part.shape[0], int) and n == 1 else part
        for part in parts
    )


def _split(node: Node, x: Tensor, sizes: Array | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    if sizes is not None:
        return torch.split(x, ints(sizes), axis)
    return torch.split(x, -(-x.shape[axis] // len(node.outputs)), axis)


def _slice(
    node: Node, x: Tensor, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Tensor:
    for axis, cut in enumerate(slices(x.ndim, starts, ends, axes, steps)):
        n = x.shape[axis]
        if isinstance(n, int):
            x = _taken(x, axis, range(n)[cut])
        elif cut != slice(None):
            x = x[(slice(None),) * axis + (cut,)]
    return x


def _taken(x: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """``x`` at non-negative ``indices`` along an axis, by slicing if possible."""
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    if not len(indices):
        return x.narrow(axis, 0, 0)
    if step > 0 and list(indices) == list(range(indices[0], indices[-1] + 1, step)):
        whole = len(indices) == x.shape[axis]
        return x if whole else x[(slice(None),) * axis + (slice(indices[0], indices[-1] + 1, step),)]
    if len(indices) <= _FEW:
        return torch.cat([x.narrow(axis, index, 1) for index in indices], axis)
    return x.index_select(axis, torch.tensor(list(indices)))


def _gather(node: Node, x: Tensor, indices: Array) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    flat = [index + x.shape[axis] if index < 0 else index for index in ints(indices)]
    if indices.ndim == 0:
        return x.select(axis, flat[0])
    y = _taken(x, axis, flat)
    return y if indices.ndim == 1 else y.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _pad(node: Node, x: Tensor, pads: Array, value: Array | None = None, axes: Array | None = None) -> Tensor:
    """Pad: with a constant along any axes; by reflection, edge values or wrapping along the axes of the map."""
    amounts, over = ints(pads), ints(axes) if axes is not None else list(range(x.ndim))
    pairs: list[tuple[int, int]] = [(0, 0)] * x.ndim
    for k, axis in enumerate(over):
        pairs[axis] = amounts[k], amounts[k + len(over)]
    bounded([n + sum(pair) if isinstance(n, int) else 1 for n, pair in zip(x.shape, pairs, strict=True)], node)
    first = next((axis for axis, pair in enumerate(pairs) if any(pair)), None)
    if first is None:
        return x
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}.get(
        node.get("mode", "constant")
    )
    if mode is None:
        raise ModelError(f"{node} pads by '{node.get('mode')}', which kdb does not support")
    if mode == "constant":
        flat = [n for pair in reversed(pairs[first:]) for n in pair]
        return F.pad(x, flat, value=0.0 if value is None else value.item())
    flat = [n for pair in reversed(pairs[2:]) for n in pair]
    if first < 2 or x.ndim > 5:
        raise ModelError(f"{node} pads the batch or the channels by '{node.get('mode')}'")
    return F.pad(x, flat, mode=mode)


def _tile(node: Node, x: Tensor, repeats: Array) -> Tensor:
    bounded([n * times for n, times in zip(x.shape, ints(repeats), strict=True) if isinstance(n, int)], node)
    return x.repeat(*ints(repeats))


def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    (n, c, h, w), b = x.shape, node.get("blocksize")
    if node.get("mode", "DCR") == "DCR":
        x = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(n, c // (b * b), h * b, w * b)


def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    (n, c, h, w), b = x.shape, node.get("blocksize")
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    x = x.reshape(n, c, h // b, b, w // b, b).permute(order)
    return x.reshape(n, c * b * b, h // b, w // b)


def _constant_of_shape(node: Node, shape: Array) -> Tensor:
    value: Any = as_tensor(node.get("value")).reshape(-1)[0] if "value" in node.attributes else torch.tensor(0.0)
    return torch.full(tuple(bounded(ints(shape), node)), value.item(), dtype=value.dtype)


def _range(node: Node, start: Array, limit: Array, step: Array) -> Tensor:
    a, b, c = (value.item() for value in (start, limit, step))
    bounded([max(int((b - a) / c), 0)], node)
    return torch.arange(a, b, c)


def _trilu(node: Node, x: Tensor, k: Array | None = None) -> Tensor:
    diagonal = 0 if k is None else int(k.item())
    return torch.triu(x, diagonal) if node.get("upper", 1) else torch.tril(x, diagonal)


def _dropout(node: Node, x: Tensor, ratio: Array | None = None, training: Array | None = None) -> Tensor:
    if training is not None and training.any():
        raise ModelError(f"{node} is in training mode; export the model for inference")
    return x


OPERATORS: dict[str, Operator] = {
    "Identity": Operator(lambda node, x: x),
    "Dropout": Operator(_dropout, plain=(1, 2)),
    "Shape": Operator(lambda node, x: as_tensor(shape_of(node, x))),
    "Size": Operator(lambda node, x: torch.tensor(x.numel())),
    "Reshape": Operator(_reshape, plain=(1,)),
    "Flatten": Operator(_flatten),
    "Squeeze": Operator(_squeeze, plain=(1,)),
    "Unsqueeze": Operator(_unsqueeze, plain=(1,)),
    "Transpose": Operator(_transpose),
    "Expand": Operator(_expand, plain=(1,)),
    "Concat": Operator(_concat),
    "Split": Operator(_split, plain=(1,)),
    "Slice": Operator(_slice, plain=(1, 2, 3, 4)),
    "Gather": Operator(_gather, plain=(1,)),
    "Pad": Operator(_pad, plain=(1, 2, 3)),
    "Tile": Operator(_tile, plain=(1,)),
    "DepthToSpace": Operator(_depth_to_space),
    "SpaceToDepth": Operator(_space_to_depth),
    "ConstantOfShape": Operator(_constant_of_shape, plain=(0,)),
    "Range": Operator(_range, plain=(0, 1, 2)),
    "Trilu": Operator(_trilu, plain=(1,)),
}
