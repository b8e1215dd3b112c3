"""Computes shapes on the host, as small arrays of Python numbers, so that the batch size can be symbolic.

Files compute shapes by ordinary nodes: Shape, Gather, Concat, Reshape.  With tensors, tracing would need their values;
instead they are arrays of dtype object, of int, float, bool and torch.SymInt.  Integers have 64 bits, as in ONNX, and
arrays few elements: more of either is a ModelError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError
from kdb.models.onnx.graph import Array, Node, bounded
from kdb.system.limits import ONNX_SHAPE_NUMBERS

Hosted = Callable[..., Array]

_ENDLESS = 2**31 - 1
"""The smallest number that exporters write for the end of an axis."""


def shape_of(node: Node, x: Any) -> Array:
    """The shape of a tensor or an array, sliced by the attributes ``start`` and ``end``."""
    return objects(list(x.shape)[slice(node.get("start", 0), node.get("end"))])


def objects(values: list[Any]) -> Array:
    """A list of numbers as an array of dtype object."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def ints(array: Array | None) -> list[Any]:
    """The elements as int or torch.SymInt; an empty list for None."""
    return [] if array is None else [_int(value) for value in np.asarray(array).reshape(-1).tolist()]


def floats(array: Array | None) -> list[float]:
    """The elements as floats; an empty list for None."""
    return [] if array is None else [float(value) for value in np.asarray(array).reshape(-1).tolist()]


def _int(value: Any) -> Any:
    return value if isinstance(value, torch.SymInt) else int(value)


_WHOLE = range(-(2**63), 2**63)


def _whole(value: Any, node: Node) -> Any:
    """``value``; raises ModelError for an integer that ONNX does not have, and Python does."""
    if isinstance(value, int) and value not in _WHOLE:
        raise ModelError(f"{node} computes an integer of more than 64 bits")
    return value


def _few(shape: Sequence[Any], node: Node) -> None:
    bounded(shape, node, ONNX_SHAPE_NUMBERS)


def _each(function: Callable[..., Any]) -> Hosted:
    """``function`` applied elementwise to broadcast arrays."""

    def apply(node: Node, *arrays: Array) -> Array:
        _few(np.broadcast_shapes(*map(np.shape, arrays)), node)
        parts = np.broadcast_arrays(*(np.asarray(array, object) for array in arrays))
        each = zip(*(part.reshape(-1).tolist() for part in parts), strict=True)
        values = [_whole(function(*given), node) for given in each]
        return objects(values).reshape(parts[0].shape)

    return apply


def _divide(a: Any, b: Any) -> Any:
    """Division; of integers rounded towards zero, as in ONNX.  Symbolic sizes are not negative."""
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    return a // b if isinstance(a, torch.SymInt) or a * b >= 0 else -(-a // b)


def _cast(node: Node, x: Array) -> Array:
    kinds: dict[int, Callable[[Any], Any]] = {1: float, 10: float, 11: float, 9: bool}
    convert = kinds.get(node.get("to"), int)
    return _each(lambda value: value if isinstance(value, torch.SymInt) else convert(value))(node, x)


def _gather(node: Node, x: Array, indices: Array) -> Array:
    _few([np.size(indices), *np.shape(x)], node)
    return np.asarray(np.take(np.asarray(x, object), np.asarray(indices, np.int64), axis=node.get("axis", 0)), object)


def _concat(node: Node, *parts: Array) -> Array:
    _few([sum(map(np.size, parts))], node)
    return np.concatenate([np.asarray(part, object) for part in parts], axis=node.get("axis", 0))


def slices(rank: int, starts: Array, ends: Array, axes: Array | None, steps: Array | None) -> list[slice]:
    """One Python slice per axis, for the arguments of Slice.

    A start at zero and an end beyond all lengths become None, so that a full slice of the symbolic batch is seen to be
    one.
    """
    found = [slice(None)] * rank
    over = range(rank) if axes is None else ints(axes)
    for axis, start, end, step in zip(over, ints(starts), ints(ends), ints(steps) or [1] * rank, strict=False):
        if step > 0 and end >= _ENDLESS:
            found[axis] = slice(start or None, None, None if step == 1 else step)
        else:
            found[axis] = slice(start, end, step)
    return found


def _slice(
    node: Node, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    return np.asarray(x, object)[tuple(slices(np.ndim(x), starts, ends, axes, steps))]


def _squeeze(node: Node, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(np.asarray(x, object), axis=None if axes is None else tuple(ints(axes)))


def _unsqueeze(node: Node, x: Array, axes: Array) -> Array:
    return np.expand_dims(np.asarray(x, object), tuple(ints(axes)))


def _reshape(node: Node, x: Array, shape: Array) -> Array:
    return np.asarray(x, object).reshape(ints(shape))


def _product(node: Node, x: Array, axes: Array | None = None) -> Array:
    whole = reduce(lambda a, b: _whole(a * b, node), np.asarray(x, object).reshape(-1).tolist(), 1)
    return objects([whole]).reshape((1,) * np.ndim(x) if node.get("keepdims", 1) else ())


def _range(node: Node, start: Array, limit: Array, step: Array) -> Array:
    a, b, c = (value.reshape(-1).tolist()[0] for value in (start, limit, step))
    _few([max(math.ceil((b - a) / c), 0)], node)
    return objects(np.arange(a, b, c).tolist())


def _expand(node: Node, x: Array, shape: Array) -> Array:
    x = np.asarray(x, object)
    _few(ints(shape), node)
    wanted = np.broadcast_shapes(x.shape, tuple(ints(shape)))
    _few(wanted, node)
    return np.broadcast_to(x, wanted)


HOSTED: dict[str, Hosted] = {
    "Identity": lambda node, x: x,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Expand": _expand,
    "ReduceProd": _product,
    "Range": _range,
    "Add": _each(lambda a, b: a + b),
    "Sub": _each(lambda a, b: a - b),
    "Mul": _each(lambda a, b: a * b),
    "Div": _each(_divide),
    "Mod": _each(lambda a, b: a % b),
    "Neg": _each(lambda a: -a),
    "Min": _each(min),
    "Max": _each(max),
    "Floor": _each(math.floor),
    "Ceil": _each(math.ceil),
    "Equal": _each(lambda a, b: a == b),
    "Less": _each(lambda a, b: a < b),
    "Greater": _each(lambda a, b: a > b),
    "Not": _each(lambda a: not a),
    "Where": _each(lambda condition, a, b: a if condition else b),
}
"""By operator; each takes the node and its arguments, as arrays, and returns an array."""
