"""What a file may ask for: it is compared with limits before anything is expanded, inferred or computed for it.

A file of two kilobytes can name 2^25 nodes by functions that call one another, and any number of elements by a shape.
The limits are in :mod:`kdb.system.limits`; what is above them is a ModelError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from kdb.errors import ModelError
from kdb.models.onnx import reference
from kdb.system.limits import ONNX_FOLDED_BYTES, ONNX_NODES, ONNX_NUMBERS


def check_nodes(model: Any, file_bytes: int) -> None:
    """Raise ModelError if a ModelProto has too many nodes, or would have with its local functions expanded.

    Expanded, it also may not be much larger than the file, which has ``file_bytes``.
    """
    functions: dict[tuple[str, str], list[Any]] = {}
    for function in model.functions:
        functions.setdefault((function.domain, function.name), []).append(function)
    known: dict[tuple[str, str], tuple[int, int] | None] = {}

    def of_nodes(nodes: Iterable[Any]) -> tuple[int, int]:
        count = size = 0
        for node in nodes:
            more = of_function((node.domain, node.op_type)) or (1, node.ByteSize())
            inside = [graph for each in node.attribute for graph in (each.g, *each.graphs)]
            for n, m in (more, *(of_nodes(graph.node) for graph in inside)):
                count, size = count + n, size + m
        return count, size

    def of_function(key: tuple[str, str]) -> tuple[int, int] | None:
        if key not in functions:
            return None
        if key not in known:
            known[key] = None
            known[key] = max(of_nodes(each.node) for each in functions[key])
        if (found := known[key]) is None:
            raise ModelError(f"its function '{key[1]}' calls itself")
        return found

    count, size = of_nodes(model.graph.node)
    if count > ONNX_NODES:
        raise ModelError(f"it has {_number(count)} nodes, local functions expanded; at most {ONNX_NODES} are read")
    if model.functions and size > ONNX_FOLDED_BYTES + 8 * file_bytes:
        raise ModelError(f"with its local functions expanded it has {_number(size)} bytes, which is too much")


def _number(number: int) -> str:
    return str(number) if number < 1e9 else f"some {float(min(number, 10**300)):.0e}"


class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within it no function of PyTorch makes a tensor of more than ``left`` bytes."""

    def __init__(self, left: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = left

    @classmethod
    def of_constants(cls, constants: Iterable[Any]) -> Budget:
        """For what is computed from these arrays."""
        return cls(ONNX_FOLDED_BYTES + 8 * sum(each.nbytes for each in constants))

    @classmethod
    def of_images(cls, images: torch.Tensor) -> Budget:
        """For what a module computes of a batch, in the type of its images."""
        return cls(images.element_size() * ONNX_NUMBERS * max(len(images), 1))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.check(_sizes(func, args, kwargs))
        return func(*args, **kwargs)

    def check(self, sizes: Sequence[int]) -> None:
        """Raise ModelError if there is not as much left."""
        if sum(sizes) > self.left:
            raise ModelError(f"a tensor of {_number(sum(sizes))} bytes would be computed, which is too large")


class _Like(NamedTuple):
    """What the sizes of a function's outputs depend on, of a tensor that it is given."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def _sizes(func: Any, args: Any, kwargs: Any) -> Sequence[int]:
    """The bytes of the outputs of a function, without computing them; none where that cannot be told."""
    if func is torch.ops.onnx_reference.node.default:
        with suppress(Exception):  # the function itself will fail, and say why
            return [math.prod(shape) * dtype.itemsize for shape, dtype in reference.shapes(*args)]
        return []
    leaves, tree = tree_flatten((args, kwargs))
    given = (_Like(tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
    typed = tuple((type(each), each) for each in given)  # as 1 and 1.0 are equal, and promote types differently
    try:
        return _known_sizes(func, tree, typed)
    except TypeError:  # an argument cannot be hashed
        return _known_sizes.__wrapped__(func, tree, typed)


@lru_cache(maxsize=1 << 14)
def _known_sizes(func: Any, tree: Any, typed: tuple[tuple[type, Any], ...]) -> tuple[int, ...]:
    """The same; it takes ten times as long as small layers do, and a forward asks the same as the one before."""
    try:
        with _disable_current_modes():  # other modes would take this for a part of the forward
            leaves = (
                torch.empty(each.shape, dtype=each.dtype, device="meta") if kind is _Like else each
                for kind, each in typed
            )
            args, kwargs = tree_unflatten(leaves, tree)
            if any(each.name == "device" for each in func._schema.arguments):
                kwargs = {**kwargs, "device": torch.device("meta")}
            made = func(*args, **kwargs)
    except Exception:  # where the shapes depend on the values; or else the function itself will fail, and say why
        return ()
    return tuple(each.numel() * each.element_size() for each in tree_leaves(made) if isinstance(each, torch.Tensor))
