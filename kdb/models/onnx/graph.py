"""An ONNX graph as plain data: nodes, constants, which tensor is the image and which the result."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdb.errors import ModelError

Array = npt.NDArray[Any]

LARGEST = 1 << 28
"""Elements of a tensor that a node may make out of numbers alone: a damaged file asks for any size."""


@dataclass(frozen=True)
class Node:
    """A node of a file, its arguments as of the newest opset.

    ``name`` is unique in the graph and an identifier.  ``op`` is the operator's name, behind ``domain::`` where it is
    not ONNX's own.  ``inputs`` and ``outputs`` name tensors, '' one that is left out.  Attributes are numbers, texts,
    arrays and tuples of them.  ``proto`` is the node as it stands in the file, serialized.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 0
    proto: bytes = b""

    def get(self, attribute: str, default: Any = None) -> Any:
        """The attribute, or ``default`` where the file leaves it out."""
        return self.attributes.get(attribute, default)

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.op})"


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed.

    ``image`` names the input and ``image_shape`` is what the file says of its four axes, None of one that is open.
    ``shapes`` are those of other tensors, as far as they are known.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    image: str
    image_shape: tuple[int | None, ...]
    result: str
    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)

    def needed(self) -> Graph:
        """The graph without what its result does not need."""
        wanted, kept = {self.result}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs) - {""}:
                wanted.update(node.inputs)
                kept.append(node)
        constants = {name: value for name, value in self.constants.items() if name in wanted}
        return replace(self, nodes=tuple(reversed(kept)), constants=constants)


def bounded(shape: Sequence[Any], node: Node) -> Sequence[Any]:
    """``shape``, or ModelError where it has negative or far too many elements; the batch counts as one."""
    known = [n for n in shape if isinstance(n, int)]
    if any(n < 0 for n in known) or math.prod(known) > LARGEST:
        raise ModelError(f"{node} makes a tensor of {' x '.join(map(str, known))}")
    return shape


def as_tensor(array: Array) -> torch.Tensor:
    """A constant as operators compute with it: bool, float32, int64, or int32 for all narrower integers.

    Raises ValueError for an array of anything else, as the batch's size while it is traced.
    """
    if array.dtype == object:
        array = np.array(array.tolist())  # of Python's numbers
    kind = array.dtype.name
    if array.dtype != bool and "int" not in kind and "float" not in kind:
        raise ValueError("not a constant of numbers")
    if "float" in kind:
        array = array.astype(np.float32)
    elif "int" in kind:
        array = array.astype(np.int64 if array.dtype.itemsize > 4 or array.dtype == np.uint32 else np.int32)
    return torch.from_numpy(np.array(array, order="C"))  # always a copy: a file's bytes are read-only


def unique_name(name: str, taken: Callable[[str], bool]) -> str:
    """An identifier like ``name`` that is not ``taken``."""
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "node"
    return next(each for each in chain([base], (f"{base}_{n}" for n in count(2))) if not taken(each))
