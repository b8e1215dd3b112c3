"""Translates a :class:`~kdb.frontends.graph.Graph` of ATen nodes into a Network, node by node.

:mod:`kdb.frontends.aten` has the translator of each operator.  A node without one, and all nodes that depend on it,
become one Opaque operator.  Nodes that do not depend on the image are computed once and become parameters.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from kdb.errors import ModelError
from kdb.frontends.aten import TRANSLATORS
from kdb.frontends.axes import Traced, Unsupported
from kdb.frontends.builder import Builder
from kdb.frontends.graph import Call, Graph, mapped
from kdb.kernels.base import Tail
from kdb.operators.base import Shape
from kdb.operators.network import Network
from kdb.operators.sources import Opaque


class Symbol:
    """Stands for the batch size, or an expression of it."""


SYMBOL = Symbol()

MakeTail = Callable[[Mapping[str, str], Mapping[str, Any]], tuple[Tail, tuple[str, ...]]]
"""Builds the part of the model that PyTorch evaluates: given why each opaque node is opaque and the values of all other
nodes, both by name, it returns one function and the names of the layers whose maps the function takes."""


def translate(graph: Graph, state: Mapping[str, Any], shape: tuple[int, int, int], make_tail: MakeTail) -> Network:
    """The network of ``graph``, with the parameters and buffers in ``state``, for images of ``shape`` (C, H, W).

    Raises ModelError if the output does not depend on the image or is not logits [N, K].
    """
    with torch.no_grad():
        network = _Translation(graph, state, shape).network(make_tail)
    network.verify()
    if not network.depends_on_source:
        raise ModelError("the model's output does not depend on its input: there is nothing to explain")
    return network


class _Translation:
    """The state of one pass over a graph: the layers so far, and the value of each node or why it has none."""

    def __init__(self, graph: Graph, state: Mapping[str, Any], shape: tuple[int, int, int]) -> None:
        self.graph = graph
        self.builder = Builder(Shape(*shape))
        self.opaque: dict[str, str] = {}
        self.values: dict[str, Any] = {}
        for given in graph.inputs:
            if given.kind == "image":
                self.values[given.name] = self.builder.image
            else:
                value = (state if given.kind == "state" else graph.constants)[given.source]
                self.values[given.name] = value.detach().cpu() if isinstance(value, torch.Tensor) else value

    def network(self, make_tail: MakeTail) -> Network:
        """Translate all nodes; the opaque ones that the result needs become the last layer."""
        for call in self.graph.calls:
            self._visit(call)
        result = self.graph.result
        if result in self.opaque:
            tail, inputs = make_tail(self.opaque, self.values)
            shape = next(call.shape for call in self.graph.calls if call.name == result) or ()
            logits = Opaque(self.opaque[result], Shape(int(np.prod(shape[1:])), 1, 1), tail)
            self.builder.layer = ""
            self.builder.finish(self.builder.emit(logits, *inputs))
        elif isinstance(self.values[result], Traced):
            self.builder.finish(self.values[result])
        return self.builder.network()

    def _visit(self, call: Call) -> None:
        culprit = next((self.opaque[name] for name in call.reads if name in self.opaque), None)
        if culprit is not None:
            self.opaque[call.name] = culprit
            return
        inputs = [self.values[name] for name in call.reads]
        try:
            if any(_holds_traced(value) for value in inputs):
                self.values[call.name] = self._translate(call)
            elif any(isinstance(value, Symbol) for value in inputs):
                if call.shape is not None:
                    raise Unsupported("a constant that depends on the batch size")
                self.values[call.name] = SYMBOL
            else:  # no image in it: a constant, computed once
                self.values[call.name] = _function(call)(*self._filled(call.args), **self._filled(call.kwargs))
        except Unsupported as error:
            because = f"{call.layer or call.operator}: {call.operator}"
            self.opaque[call.name] = because + (f" ({error})" if str(error) else "")

    def _translate(self, call: Call) -> Any:
        args, kwargs = self._filled(call.args), self._filled(call.kwargs)
        if call.target == "getitem":
            value = args[0][args[1]]
            if value is None:
                raise Unsupported("an output that inference does not need")
            return value
        if call.target == "aten.sym_size.int":
            return SYMBOL if args[1] == 0 else call.number
        translator = TRANSLATORS.get(call.target.removeprefix("aten.")) or TRANSLATORS.get(call.operator)
        if translator is None:
            raise Unsupported
        self.builder.layer = call.layer
        return translator(self.builder, list(call.shape or ()), *args, **kwargs)

    def _filled(self, arguments: Any) -> Any:
        return mapped(arguments, lambda ref: self.values[ref.name])


def _function(call: Call) -> Callable[..., Any]:
    """The PyTorch function that computes a node."""
    if call.target == "getitem":
        return operator.getitem
    found: Any = torch.ops
    try:
        for part in call.target.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise Unsupported from error
    return found  # type: ignore[no-any-return]


def _holds_traced(value: Any) -> bool:
    return isinstance(value, Traced) or (isinstance(value, tuple | list) and any(_holds_traced(v) for v in value))
