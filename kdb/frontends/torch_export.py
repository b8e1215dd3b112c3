"""An ``nn.Module`` -> a graph and its network, by torch.export and its core ATen decompositions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch.export import Dim, ExportedProgram, default_decompositions
from torch.export.graph_signature import InputKind

from kdb.errors import ModelError
from kdb.frontends.axes import BATCH
from kdb.frontends.graph import Call, Graph, Input, Ref
from kdb.frontends.tail import make_tail, result_of
from kdb.frontends.walk import walk
from kdb.network import Network


def trace(module: torch.nn.Module, shape: tuple[int, int, int]) -> Network:
    """The network of ``module`` in eval mode for images of ``shape`` (C, H, W).

    Raises ModelError where the module does not run on such an image, cannot be traced, or returns no logits [N, K].
    """
    return traced(module, shape)[0]


def traced(module: torch.nn.Module, shape: tuple[int, int, int]) -> tuple[Network, Graph]:
    """The same, with the graph that :func:`kdb.frontends.walk.walk` made the network of."""
    module.eval()
    weight = next(module.parameters(), torch.zeros(1))
    example = torch.zeros(BATCH.length, *shape, dtype=weight.dtype, device=weight.device)
    _check_runs(module, example)
    program = _export(module, example)
    try:
        graph, state = _recorded(program, module)
        return walk(graph, state, shape, partial(make_tail, program.graph)), graph
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


def _recorded(program: ExportedProgram, module: torch.nn.Module) -> tuple[Graph, Mapping[str, Any]]:
    """The graph of ``program`` without what the result does not need, and the state that its inputs name."""
    nodes: list[torch.fx.Node] = list(program.graph.nodes)
    result = result_of(program.graph)
    needed = {result}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    state: dict[str, Any] = {}
    constants: dict[str, torch.Tensor] = {}
    inputs, calls = [], []
    for node in nodes:
        if node.op == "placeholder" and specs[node.name].kind == InputKind.USER_INPUT:
            inputs.append(Input(node.name, "image"))
        elif node not in needed:
            continue
        elif node.op == "call_function":
            calls.append(_call(node))
        elif node.op == "placeholder":
            source = str(specs[node.name].target)
            value = program.state_dict[source] if source in program.state_dict else program.constants[source]
            owned = _has(module, source)
            (state if owned else constants)[source] = value
            inputs.append(Input(node.name, "state" if owned else "constant", source))
        else:  # a branch of torch.cond
            state[str(node.target)] = getattr(program.graph_module, str(node.target))
            inputs.append(Input(node.name, "state", str(node.target)))
    return Graph(tuple(inputs), tuple(calls), result.name, constants), state


def _has(module: torch.nn.Module, path: str) -> bool:
    try:
        return isinstance(attrgetter(path)(module), torch.Tensor)
    except AttributeError:
        return False


def _call(node: torch.fx.Node) -> Call:
    target, value = node.target, node.meta["val"]
    return Call(
        name=node.name,
        target=str(target) if isinstance(target, torch._ops.OperatorBase) else getattr(target, "__name__", str(target)),
        args=_arguments(node.args),
        kwargs={name: _arguments(each) for name, each in node.kwargs.items()},
        shape=tuple(map(_hint, value.shape)) if isinstance(value, torch.Tensor) else None,
        number=_hint(value) if isinstance(value, int | torch.SymInt) else None,
        layer=_layer(node),
    )


def _arguments(value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return Ref(value.name)
    return tuple(map(_arguments, value)) if isinstance(value, tuple | list) else value


def _hint(n: int | torch.SymInt) -> int:
    return n if isinstance(n, int) else int(n.node.hint)


def _layer(node: torch.fx.Node) -> str:
    """The path of the innermost module that the node comes from."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""
