"""The type of operators, and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch

from kdb.models.onnx.graph import Array, Node, bounded

Number = float | int | bool
Value = torch.Tensor | Array


@dataclass(frozen=True)
class Operator:
    """``function`` is called with the node and its arguments: tensors, or None for one that is left out.

    Arguments at the positions ``plain`` are passed as arrays, since their values determine shapes or become part of the
    graph; they must be constants or computed from shapes alone.  With ``scalars``, so are constants with one element
    and at most one dimension.
    """

    function: Callable[..., Any]
    plain: tuple[int, ...] = ()
    scalars: bool = False


def together(node: Node, *values: Value | None) -> None:
    """Raise ModelError if the shape to which tensors broadcast is implausibly large."""
    shapes = [tuple(value.shape)[::-1] for value in values if value is not None]
    sides = zip_longest(*shapes, fillvalue=1)
    bounded([max((n for n in side if isinstance(n, int)), default=1) for side in sides], node)


def operand(value: Value) -> torch.Tensor | Number:
    """An argument of an operator with ``scalars``: a tensor, or the number in an array."""
    if isinstance(value, torch.Tensor):
        return value
    number: Number = value.item()
    return number
