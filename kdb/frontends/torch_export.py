"""An ``nn.Module`` -> a Network, by torch.export and its core ATen decompositions.

The walk translates ATen nodes through the table of :mod:`kdb.frontends.aten`.  The first node outside the vocabulary
and all that depends on it become one Opaque operator, evaluated by torch.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.export import Dim, ExportedProgram, default_decompositions
from torch.export.graph_signature import InputKind

from kdb.errors import ModelError
from kdb.frontends.aten import TRANSLATORS
from kdb.frontends.axes import BATCH, Traced, Unsupported, length
from kdb.frontends.builder import Builder
from kdb.network import Network
from kdb.operators.base import Shape
from kdb.operators.leaves import Opaque, Tail


class _Symbol:
    """The batch size, or an expression of it."""


SYMBOL = _Symbol()


def trace(module: torch.nn.Module, shape: tuple[int, int, int]) -> Network:
    """The network of ``module`` in eval mode for images of ``shape`` (C, H, W).

    Raises ModelError where the module does not run on such an image, cannot be traced, or returns no logits [N, K].
    """
    module.eval()
    weight = next(module.parameters(), torch.zeros(1))
    example = torch.zeros(BATCH.length, *shape, dtype=weight.dtype, device=weight.device)
    _check_runs(module, example)
    program = _export(module, example)
    try:
        return _Walk(program, shape).network()
    except ModelError:
        raise
    except Exception as error:  # a trace may hold what nobody planned for; the user learns what, and no traceback
        raise ModelError(f"the model cannot be translated: {type(error).__name__}: {_first_line(error)}") from error


def _check_runs(module: torch.nn.Module, example: torch.Tensor) -> None:
    """Run once, so that a layer that fails is named."""
    entered: list[str] = []

    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            entered.append(name)

        return hook

    def leave(*_: Any) -> None:
        entered.pop()

    hooks = []
    for name, child in module.named_modules():
        hooks += [child.register_forward_pre_hook(enter(name)), child.register_forward_hook(leave)]
    try:
        with torch.no_grad():
            out = module(example)
    except Exception as error:
        layer = f"layer '{entered[-1]}'" if entered and entered[-1] else "the model"
        raise ModelError(f"{layer} fails on an input of shape {tuple(example.shape)}: {_first_line(error)}") from error
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(out, torch.Tensor):
        raise ModelError(f"the model must return logits [N, K]; it returns {type(out).__name__}")
    if out.ndim < 2 or out.shape[0] != example.shape[0] or out[0].numel() != out.shape[1]:
        raise ModelError(f"the model must return logits [N, K]; it returns {list(out.shape)} for N = {len(example)}")


def _export(module: torch.nn.Module, example: torch.Tensor) -> ExportedProgram:
    batch = Dim("batch", min=1)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
            decomposed: ExportedProgram = program.run_decompositions(_decompositions())
            return decomposed
    except Exception as error:
        frames = re.findall(r"[Nn]n_module_stack.*?'([\w.]+)'", str(error))
        where = f" in layer '{frames[-1]}'" if frames else ""
        reason = _first_line(error)
        if "Constraints violated" in reason:
            reason = "its forward fixes the size of the batch, as len(x) does; x.shape[0] leaves it open"
        raise ModelError(f"the model cannot be traced{where}: {reason}") from error


def _decompositions() -> Any:
    """The core ones, but dense layers stay whole: of permuted maps they would become products of many matrices."""
    table: Any = default_decompositions()
    for kept in (torch.ops.aten.linear.default, torch.ops.aten.celu.default):
        table.pop(kept)
    return table


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class _Walk:
    """One pass over a program's graph."""

    def __init__(self, program: ExportedProgram, shape: tuple[int, int, int]) -> None:
        self.program = program
        self.builder = Builder(Shape(*shape))
        self.values: dict[torch.fx.Node, Any] = {}
        self.opaque: dict[torch.fx.Node, str] = {}

    def network(self) -> Network:
        """The walk, and the tail where one is needed."""
        with torch.no_grad():
            self._placeholders()
            output = next(node for node in self.program.graph.nodes if node.op == "output")
            for node in self.program.graph.nodes:
                if node.op == "call_function":
                    self._visit(node)
                elif node.op == "get_attr":  # a branch of torch.cond
                    self.values[node] = getattr(self.program.graph_module, str(node.target))
            (result,) = output.args[0]
            if result in self.opaque:
                self._add_tail(result)
            elif isinstance(self.values[result], Traced):
                self.builder.finish(self.values[result])
        network = self.builder.network()
        network.verify()
        if not network.depends_on_source:
            raise ModelError("the model's output does not depend on its input: there is nothing to explain")
        return network

    def _placeholders(self) -> None:
        constants = {**self.program.state_dict, **self.program.constants}
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                if spec.kind == InputKind.USER_INPUT:
                    self.values[node] = self.builder.image
                else:
                    self.values[node] = constants[spec.target].detach().cpu()

    def _visit(self, node: torch.fx.Node) -> None:
        culprit = next((self.opaque[source] for source in node.all_input_nodes if source in self.opaque), None)
        if culprit is not None:
            self.opaque[node] = culprit
            return
        inputs = [self.values[source] for source in node.all_input_nodes]
        try:
            if any(_holds_traced(value) for value in inputs):
                self.values[node] = self._translate(node)
            elif any(isinstance(value, _Symbol) for value in inputs):
                self._visit_symbol(node)
            else:  # no image in it: a constant, computed once
                self.values[node] = node.target(*self._arguments(node.args), **self._arguments(node.kwargs))  # type: ignore[operator]
        except Unsupported as error:
            name = str(node.target).removeprefix("aten.").split(".")[0]
            self.opaque[node] = f"{_layer(node) or name}: {name}" + (f" ({error})" if str(error) else "")

    def _visit_symbol(self, node: torch.fx.Node) -> None:
        if isinstance(node.meta["val"], torch.Tensor):
            raise Unsupported("a constant that depends on the batch size")
        self.values[node] = SYMBOL

    def _translate(self, node: torch.fx.Node) -> Any:
        if node.target is operator.getitem:
            value = self.values[node.args[0]][node.args[1]]  # type: ignore[index]
            if value is None:
                raise Unsupported("an output that inference does not need")
            return value
        if node.target is torch.ops.aten.sym_size.int:
            return SYMBOL if node.args[1] == 0 else _hint(node.meta["val"])
        name = str(node.target).removeprefix("aten.")
        translator = TRANSLATORS.get(name) or TRANSLATORS.get(name.split(".")[0])
        if translator is None:
            raise Unsupported
        self.builder.layer = _layer(node)
        value = node.meta["val"]
        shape = [_hint(n) for n in value.shape] if isinstance(value, torch.Tensor) else []
        return translator(self.builder, shape, *self._arguments(node.args), **self._arguments(node.kwargs))

    def _arguments(self, arguments: Any) -> Any:
        return torch.fx.map_arg(arguments, lambda source: self.values[source])

    def _add_tail(self, result: torch.fx.Node) -> None:
        """One operator for all opaque nodes that the result needs; a trace also holds asserts that nothing reads."""
        wanted = {result}
        for node in reversed(self.program.graph.nodes):
            if node in wanted:
                wanted.update(source for source in node.all_input_nodes if self._is_repeated(source))
        needed = [node for node in self.program.graph.nodes if node in wanted]
        graph = torch.fx.Graph()
        copies: dict[torch.fx.Node, torch.fx.Node] = {}
        crossing: list[Traced] = []
        root = torch.nn.Module()
        for node in needed:
            for source in node.all_input_nodes:
                value = self.values.get(source)
                if source not in copies and isinstance(value, Traced):
                    copies[source] = graph.placeholder(f"value_{len(crossing)}")
                    crossing.append(value)
        # The number of positions comes in by itself: a crossing tensor need not have it as a dimension.
        batch = graph.placeholder("batch")
        for node in needed:
            for source in node.all_input_nodes:
                if source in copies:
                    continue
                value = self.values[source]
                if isinstance(value, torch.Tensor):
                    name = f"constant_{len(copies)}"
                    root.register_buffer(name, value.float() if value.is_floating_point() else value)
                    copies[source] = graph.get_attr(name)
                elif isinstance(value, torch.fx.GraphModule):
                    root.add_module(str(source.target), value)
                    copies[source] = graph.get_attr(str(source.target))
                elif isinstance(value, _Symbol):
                    copies[source] = self._copy_symbol(graph, source, batch, copies)
                else:
                    raise ModelError(f"the model cannot be traced: {self.opaque[node]}")
            copies[node] = graph.node_copy(node, lambda source: copies[source])
        graph.output(copies[result])
        tail = _tail(torch.fx.GraphModule(root, graph), crossing)
        shape = Shape(int(np.prod([_hint(n) for n in result.meta["val"].shape[1:]])), 1, 1)
        because = self.opaque[result]
        inputs = tuple(dict.fromkeys(value.name for value in crossing))
        self.builder.layer = ""
        self.builder.finish(self.builder.emit(Opaque(because, shape, tail), *inputs))

    def _is_repeated(self, node: torch.fx.Node) -> bool:
        """Whether the tail computes a node itself: an opaque one, or several outputs of which one is outside kdb's."""
        return node in self.opaque or isinstance(self.values.get(node), tuple | list)

    def _copy_symbol(
        self,
        graph: torch.fx.Graph,
        node: torch.fx.Node,
        batch: torch.fx.Node,
        copies: dict[torch.fx.Node, torch.fx.Node],
    ) -> torch.fx.Node:
        if node.target is torch.ops.aten.sym_size.int:
            return batch
        for source in node.all_input_nodes:
            if source not in copies:
                copies[source] = self._copy_symbol(graph, source, batch, copies)
        return graph.node_copy(node, lambda source: copies[source])


def _tail(module: torch.fx.GraphModule, crossing: Sequence[Traced]) -> Tail:
    """The opaque graph as a function of maps [n, H, W, C]; several views may be of one map."""
    names = list(dict.fromkeys(value.name for value in crossing))

    def tail(arrays: Sequence[Any]) -> Any:
        maps = dict(zip(names, arrays, strict=True))
        tensors = [_as_tensor(maps[value.name], value) for value in crossing]
        with torch.inference_mode():
            y = module(*tensors, len(arrays[0]))
        return np.ascontiguousarray(y.float().numpy()).reshape(len(y), 1, 1, -1)

    return tail


def _as_tensor(array: Any, value: Traced) -> torch.Tensor:
    """A map [n, H, W, C] as the tensor that the trace saw; contiguous, since views in the trace may count on it."""
    atoms = [BATCH, *(atom for atom in (value.y, value.x) if atom is not None), *value.channels]
    x = torch.from_numpy(np.ascontiguousarray(array)).reshape(len(array), *(atom.length for atom in atoms[1:]))
    x = x.permute([atoms.index(atom) for dim in value.dims for atom in dim])
    sizes = [len(array) * length(dim) // BATCH.length if BATCH in dim else length(dim) for dim in value.dims]
    return x.reshape(sizes).contiguous()


def _holds_traced(value: Any) -> bool:
    return isinstance(value, Traced) or (isinstance(value, tuple | list) and any(_holds_traced(v) for v in value))


def _hint(n: Any) -> int:
    return n if isinstance(n, int) else int(n.node.hint)


def _layer(node: torch.fx.Node) -> str:
    """The path of the innermost module that the node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""
