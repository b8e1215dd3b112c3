"""A graph of ATen nodes as plain data, which can be written as JSON and cached.

Operators, other nodes, parameters and buffers are referred to by name; the values of parameters and buffers stay in the
module.  Only tensors that the forward makes of literals are part of the graph.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

import numpy as np
import torch

CONSTANT_BYTES = 1 << 20
"""Most bytes of constants in a graph that is written as JSON."""


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument that is the output of another node."""

    name: str


@dataclass(frozen=True, slots=True)
class Input:
    """An input of the graph: the image, a tensor of the module (``state``), or one of the graph's constants.

    ``source`` is the path of the module's tensor (``layer1.0.conv1.weight``), or the name of the constant.
    """

    name: str
    kind: Literal["image", "state", "constant"]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A node that is computed: ``target`` is the operator (``aten.relu.default``, ``getitem``).

    Arguments are Refs, numbers, strings, PyTorch's dtypes, devices and layouts, and tuples of these.  ``shape`` and
    ``dtype`` are those of the output, None if it is no tensor; ``number`` is the output if it is an integer.  Shape and
    number are for the batch size of the example.  ``layer`` is the path of the module that the node comes from.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...] | None
    dtype: torch.dtype | None
    number: int | None
    layer: str

    @property
    def operator(self) -> str:
        """The target's name without namespace and overload."""
        return self.overload.split(".")[0]

    @property
    def overload(self) -> str:
        """The target's name and overload, if that is not the default: ``relu``, ``add.Tensor``."""
        return self.target.removeprefix("aten.").removesuffix(".default")

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the nodes in its arguments, each once, in order."""
        found: dict[str, None] = {}
        mapped((self.args, self.kwargs), lambda ref: found.setdefault(ref.name))
        return tuple(found)


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order; ``result`` is the name of the one that computes the logits.

    ``dtype`` is the image's.
    """

    inputs: tuple[Input, ...]
    calls: tuple[Call, ...]
    result: str
    dtype: torch.dtype
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict, compare=False)

    def state(self, module: torch.nn.Module) -> dict[str, Any]:
        """The module's tensors that are inputs, by path.

        Raises AttributeError if ``module`` lacks one, and TypeError if it is something else.
        """
        found = {i.source: attrgetter(i.source)(module) for i in self.inputs if i.kind == "state"}
        if others := [name for name, value in found.items() if not isinstance(value, torch.Tensor)]:
            raise TypeError(f"'{others[0]}' is no tensor")
        return found

    def to_json(self) -> str:
        """The graph as JSON.

        Raises TypeError, ValueError or RuntimeError for arguments that are no plain data or too large constants.
        """
        if sum(tensor.nbytes for tensor in self.constants.values()) > CONSTANT_BYTES:
            raise ValueError("the constants are too large")
        record = {
            "inputs": [[i.name, i.kind, i.source] for i in self.inputs],
            "calls": [
                [c.name, c.target, _plain(c.args), _plain(c.kwargs), c.shape, _plain(c.dtype), c.number, c.layer]
                for c in self.calls
            ],
            "result": self.result,
            "dtype": _plain(self.dtype),
            "constants": {name: _packed(tensor) for name, tensor in self.constants.items()},
        }
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """The graph that :meth:`to_json` wrote; other text may raise any exception."""
        record = json.loads(text)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair in a name, which no digest is made of
        calls = [
            Call(name, target, _value(args), {k: _value(v) for k, v in kwargs.items()}, *map(_value, facts))
            for name, target, args, kwargs, *facts in record["calls"]
        ]
        constants = {name: _unpacked(*packed) for name, packed in record["constants"].items()}
        inputs = tuple(Input(*each) for each in record["inputs"])
        texts = [each for i in inputs for each in (i.name, i.kind, i.source)]
        texts += [each for call in calls for each in (call.name, call.target, call.layer, *call.reads)]
        if not all(isinstance(each, str) for each in [*texts, record["result"]]):
            raise TypeError("a name that is no text")
        numbers = [each for call in calls for each in (call.number, *(call.shape or ())) if each is not None]
        if not all(type(each) is int for each in numbers):
            raise TypeError("a length that is no whole number")
        return cls(inputs, tuple(calls), record["result"], _value(record["dtype"]), constants)


def mapped(value: Any, function: Callable[[Ref], Any]) -> Any:
    """``value`` with each Ref, at any depth of tuples and mappings, replaced by ``function(ref)``."""
    if isinstance(value, Ref):
        return function(value)
    if isinstance(value, tuple):
        return tuple(mapped(each, function) for each in value)
    if isinstance(value, Mapping):
        return {key: mapped(each, function) for key, each in value.items()}
    return value


def _plain(value: Any) -> Any:
    """An argument as JSON data; an object with one key stands for a type that JSON lacks."""
    if isinstance(value, Ref):
        return {"ref": value.name}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, torch.device):
        return {"device": str(value)}
    if isinstance(value, torch.dtype | torch.layout | torch.memory_format):
        return {"torch": str(value).removeprefix("torch.")}
    return value


def _value(plain: Any) -> Any:
    """The inverse of :func:`_plain`."""
    if isinstance(plain, list):
        return tuple(map(_value, plain))
    if not isinstance(plain, dict):
        return plain
    ((kind, name),) = plain.items()
    if kind == "torch":
        found = getattr(torch, name)
        if not isinstance(found, torch.dtype | torch.layout | torch.memory_format):
            raise TypeError(f"torch.{name} is no type of tensors")
        return found
    return Ref(name) if kind == "ref" else torch.device(name)


def _packed(tensor: torch.Tensor) -> tuple[Any, tuple[int, ...], str]:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _plain(tensor.dtype), tuple(tensor.shape), base64.b64encode(data).decode()


def _unpacked(dtype: Any, shape: list[int], text: str) -> torch.Tensor:
    data = np.frombuffer(bytearray(base64.b64decode(text)), np.uint8)
    return torch.from_numpy(data).view(_value(dtype)).reshape(shape)
