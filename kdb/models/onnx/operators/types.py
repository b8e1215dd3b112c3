"""What an operator is, and how it takes its arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from kdb.models.onnx.graph import Array

Number = float | int | bool
Value = torch.Tensor | Array


@dataclass(frozen=True)
class Operator:
    """``function`` takes the node and its arguments: tensors, None for one that is left out.

    Arguments at the positions ``plain`` come as arrays, since their values decide shapes or become part of the graph:
    they must be constants, or computed from shapes alone.  Where ``scalars``, so does any constant of one element and
    at most one dimension.
    """

    function: Callable[..., Any]
    plain: tuple[int, ...] = ()
    scalars: bool = False


def operand(value: Value) -> torch.Tensor | Number:
    """An argument of an operator that takes scalars: a tensor as it is, an array as its one number."""
    if isinstance(value, torch.Tensor):
        return value
    number: Number = value.item()
    return number
