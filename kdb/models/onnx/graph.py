"""An ONNX graph as plain data."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kdb.errors import ModelError
from kdb.system.limits import ONNX_NUMBERS

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Node:
    """A node with the arguments of the newest opset.

    ``name`` is an identifier, unique in the graph.  ``op`` is the operator's name, with the prefix ``domain::`` if it
    is not one of ONNX's own.  ``inputs`` and ``outputs`` are names of tensors, '' for one that is left out.  Attributes
    are numbers, strings, arrays and tuples of them.  ``proto`` is the original node, serialized.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 0
    proto: bytes = b""

    def get(self, attribute: str, default: Any = None) -> Any:
        """The attribute's value, or ``default`` if the node does not have it."""
        return self.attributes.get(attribute, default)

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.op})"


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; ``image`` and ``result`` are the names of the input and the output.

    ``image_shape`` has the lengths of the input's four axes, None for dynamic ones; ``shapes`` are those of other
    tensors, if known.  ``metadata`` is what the file says of images.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    image: str
    image_shape: tuple[int | None, ...]
    result: str
    shapes: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def needed(self) -> Graph:
        """The graph of the nodes and constants that the result depends on."""
        wanted, kept = {self.result}, []
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs) - {""}:
                wanted.update(node.inputs)
                kept.append(node)
        constants = {name: value for name, value in self.constants.items() if name in wanted}
        return replace(self, nodes=tuple(reversed(kept)), constants=constants)


def bounded(shape: Sequence[Any], node: Node, most: int = ONNX_NUMBERS) -> Sequence[Any]:
    """``shape``; raises ModelError for negative lengths or too many elements, where symbolic lengths count as one."""
    known = [n for n in shape if isinstance(n, int)]
    if any(n < 0 for n in known) or math.prod(known) > most:
        raise ModelError(f"{node} makes a tensor of {' x '.join(map(str, known[:8]))}")
    return shape


def as_tensor(array: Array) -> torch.Tensor:
    """A constant as a tensor of bool, float32, int64, or int32, which all narrower integers become.

    Raises ValueError for any other array, such as one with the symbolic batch size.
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


class Names:
    """Gives identifiers that are like names, no two the same, and none that is ``taken``."""

    def __init__(self, taken: Callable[[str], bool] = lambda name: False) -> None:
        self._taken = taken
        self._given: set[str] = set()
        self._last: dict[str, int] = {}  # or of many names that are alike, each would try the numbers of all before

    def __call__(self, name: str) -> str:
        """An identifier like ``name``."""
        base = found = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "node"
        while found in self._given or self._taken(found):
            self._last[base] = self._last.get(base, 1) + 1
            found = f"{base}_{self._last[base]}"
        self._given.add(found)
        return found
