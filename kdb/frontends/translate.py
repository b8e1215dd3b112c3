"""Translates a :class:`~kdb.frontends.graph.Graph` of ATen nodes into a Network, node by node.

:mod:`kdb.frontends.aten` has the translator of each operator.  A node without one, and all nodes that depend on it,
become one Opaque operator.  So do nodes whose arguments the translator does not take, and those of another dtype than
the image: a network computes in one.  Nodes that do not depend on the image are computed once and become parameters.
"""

from __future__ import annotations

import inspect
import math
import operator
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch

from kdb.errors import ModelError
from kdb.frontends.aten import TRANSLATORS
from kdb.frontends.aten.types import Translator
from kdb.frontends.axes import BATCH, Traced, Unsupported
from kdb.frontends.builder import Builder
from kdb.frontends.check import first_line
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


def translate(graph: Graph, state: Mapping[str, Any], shape: tuple[int, ...], make_tail: MakeTail) -> Network:
    """The network of ``graph``, with the parameters and buffers in ``state``, for images of ``shape`` (C, *size).

    Raises ModelError if the output does not depend on the image or is not logits [N, K].
    """
    return translated(graph, state, shape, make_tail, {})[0]


def translated(
    graph: Graph,
    state: Mapping[str, Any],
    shape: tuple[int, ...],
    make_tail: MakeTail,
    refused: Mapping[str, str],
) -> tuple[Network, Mapping[str, Any]]:
    """The network that :func:`translate` returns, and the values of the nodes that are in it, by name.

    ``refused`` says, by their names, why nodes are to be opaque though they have a translator.
    """
    with torch.no_grad():
        translation = _Translation(graph, state, shape, refused)
        network = translation.network(make_tail)
    network.verify()
    if not network.depends_on_source:
        raise ModelError("the model's output does not depend on its input: there is nothing to explain")
    return network, translation.values


class _Translation:
    """The state of one pass over a graph: the layers so far, and the value of each node or why it has none."""

    def __init__(
        self, graph: Graph, state: Mapping[str, Any], shape: tuple[int, ...], refused: Mapping[str, str]
    ) -> None:
        self.graph = graph
        self.refused = refused
        self.builder = Builder(Shape(shape[0], shape[1:]))
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
            made = self.builder.shape("image").vector._replace(channels=math.prod(shape[1:]))
            if len(shape) == 2 + len(made.size):
                made = Shape(shape[1], tuple(shape[2:]))
            logits = Opaque(self.opaque[result], made, tail)
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
            self._give_up(call, str(error))
        except Exception as error:  # arguments that a translator does not expect, but PyTorch does
            self._give_up(call, f"{type(error).__name__}: {first_line(error)}")

    def _give_up(self, call: Call, reason: str) -> None:
        because = f"{call.layer or call.operator}: {call.operator}"
        self.opaque[call.name] = because + (f" ({reason})" if reason else "")

    def _translate(self, call: Call) -> Any:
        if call.name in self.refused:
            raise Unsupported(self.refused[call.name])
        if call.dtype not in (None, self.graph.dtype):
            was, is_ = (str(dtype).removeprefix("torch.") for dtype in (self.graph.dtype, call.dtype))
            raise Unsupported(f"{is_}, where the image is {was}")
        args, kwargs = self._filled(call.args), self._filled(call.kwargs)
        if call.target == "getitem":
            value = args[0][args[1]]
            if value is None:
                raise Unsupported("an output that inference does not need")
            return value
        if call.target == "aten.sym_size.int":
            return _size(args[0], args[1], call.number)
        translator = TRANSLATORS.get(call.overload)
        if translator is None:
            raise Unsupported
        self.builder.layer = call.layer
        given = (self.builder, list(call.shape or ()), *args)
        try:
            _signature(translator).bind(*given, **kwargs)
        except TypeError as error:
            raise Unsupported(f"arguments that kdb does not know: {error}") from error
        return translator(*given, **kwargs)

    def _filled(self, arguments: Any) -> Any:
        return mapped(arguments, lambda ref: self.values[ref.name])


@cache
def _signature(translator: Translator) -> inspect.Signature:
    return inspect.signature(translator)


def _size(value: Traced, dim: int, number: int | None) -> int | Symbol | None:
    """The length of a dimension, which is ``number`` in the trace."""
    if BATCH not in value.dims[dim]:
        return number
    if value.dims[dim] != (BATCH,):
        raise Unsupported("the length of an axis that merges the batch with another")
    return SYMBOL


def _function(call: Call) -> Callable[..., Any]:
    """The PyTorch operator that computes a node; a graph that was read from a file may name anything."""
    if call.target == "getitem":
        return operator.getitem
    found: Any = torch.ops
    try:
        for part in call.target.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise Unsupported from error
    if not isinstance(found, torch._ops.OpOverload):
        raise Unsupported("it is no operator of PyTorch")
    return found


def _holds_traced(value: Any) -> bool:
    return isinstance(value, Traced) or (isinstance(value, tuple | list) and any(_holds_traced(v) for v in value))
