"""A decomposed ATen graph as plain data: what a frontend makes of a traced module, and what is kept between processes.

Nodes name ATen operators by text, and one another by name.  Parameters and buffers are named too: their values stay
with the module.  Only tensors that the forward makes of literals are part of the graph.
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
"""Of constants in a graph's text, at most."""


@dataclass(frozen=True, slots=True)
class Ref:
    """An argument: the output of another node."""

    name: str


@dataclass(frozen=True, slots=True)
class Input:
    """A node that is given: the image, or a tensor, an attribute of the module or one of the graph's constants.

    ``source`` is the path of the attribute (``layer1.0.conv1.weight``), or the name of the constant.
    """

    name: str
    kind: Literal["image", "state", "constant"]
    source: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A node that is computed: ``target`` is an operator (``aten.relu.default``, ``getitem``).

    Arguments are Refs, numbers, texts, torch's own constants (types, devices, layouts) and tuples of these.  ``shape``
    is that of the output, or None where it is no tensor; ``number`` is the output where it is an integer; the batch
    counts as that of the example.  ``layer`` is the path of the module that the node comes from.
    """

    name: str
    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    shape: tuple[int, ...] | None
    number: int | None
    layer: str

    @property
    def operator(self) -> str:
        """The target without namespace and overload."""
        return self.target.removeprefix("aten.").split(".")[0]

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the nodes that it reads, each once, in order."""
        found: dict[str, None] = {}
        mapped((self.args, self.kwargs), lambda ref: found.setdefault(ref.name))
        return tuple(found)


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed; ``result`` names the one that gives the logits."""

    inputs: tuple[Input, ...]
    calls: tuple[Call, ...]
    result: str
    constants: Mapping[str, torch.Tensor] = field(default_factory=dict, compare=False)

    def state(self, module: torch.nn.Module) -> dict[str, Any]:
        """The tensors that the inputs name, as they are in ``module`` now; raises AttributeError where it lacks one."""
        return {i.source: attrgetter(i.source)(module) for i in self.inputs if i.kind == "state"}

    def to_json(self) -> str:
        """The graph as a text.

        Raises TypeError, ValueError or RuntimeError where it has none: an argument is no data, constants are large.
        """
        if sum(tensor.nbytes for tensor in self.constants.values()) > CONSTANT_BYTES:
            raise ValueError("the constants are too large")
        record = {
            "inputs": [[i.name, i.kind, i.source] for i in self.inputs],
            "calls": [
                [c.name, c.target, _plain(c.args), _plain(c.kwargs), c.shape, c.number, c.layer] for c in self.calls
            ],
            "result": self.result,
            "constants": {name: _packed(tensor) for name, tensor in self.constants.items()},
        }
        return json.dumps(record, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Graph:
        """The graph of such a text; what is raised for any other text is not said."""
        record = json.loads(text)
        calls = [
            Call(name, target, _value(args), {k: _value(v) for k, v in kwargs.items()}, _value(shape), number, layer)
            for name, target, args, kwargs, shape, number, layer in record["calls"]
        ]
        constants = {name: _unpacked(*packed) for name, packed in record["constants"].items()}
        return cls(tuple(Input(*each) for each in record["inputs"]), tuple(calls), record["result"], constants)


def mapped(value: Any, function: Callable[[Ref], Any]) -> Any:
    """``value`` with ``function`` of each Ref in its place, however deep in tuples and mappings."""
    if isinstance(value, Ref):
        return function(value)
    if isinstance(value, tuple):
        return tuple(mapped(each, function) for each in value)
    if isinstance(value, Mapping):
        return {key: mapped(each, function) for key, each in value.items()}
    return value


def _plain(value: Any) -> Any:
    """An argument as JSON has it; an object of one entry stands for what JSON lacks."""
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
    """What :func:`_plain` made so."""
    if isinstance(plain, list):
        return tuple(map(_value, plain))
    if not isinstance(plain, dict):
        return plain
    ((kind, name),) = plain.items()
    if kind == "torch":
        return getattr(torch, name)
    return Ref(name) if kind == "ref" else torch.device(name)


def _packed(tensor: torch.Tensor) -> tuple[Any, tuple[int, ...], str]:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _plain(tensor.dtype), tuple(tensor.shape), base64.b64encode(data).decode()


def _unpacked(dtype: Any, shape: list[int], text: str) -> torch.Tensor:
    data = np.frombuffer(bytearray(base64.b64decode(text)), np.uint8)
    return torch.from_numpy(data).view(_value(dtype)).reshape(shape)
