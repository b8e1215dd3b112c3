"""Traces an ``nn.Module`` by torch.export into a graph of core ATen operators, and translates that into a network."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from operator import attrgetter
from typing import Any

import torch
from torch.export import Dim, ExportedProgram, default_decompositions
from torch.export.graph_signature import InputKind
from torch.fx.experimental import symbolic_shapes

from kdb.errors import ModelError, Timeout
from kdb.frontends.axes import BATCH
from kdb.frontends.check import along_batch, check_independence, examples, first_line, logits_of
from kdb.frontends.comparison import Comparison
from kdb.frontends.fallback import make_tail, result_of, value_of
from kdb.frontends.graph import Call, Graph, Input, Ref
from kdb.frontends.narrowing import narrow
from kdb.frontends.size import require_room
from kdb.frontends.state.untouched import untouched
from kdb.frontends.translate import translated
from kdb.operators.network import Network
from kdb.system.threads import quiet


def trace(module: torch.nn.Module, shape: tuple[int, ...]) -> Network:
    """The network of ``module`` in eval mode for images of ``shape`` (C, *size); the module is left as it was.

    Before it is returned, the network has given the module's logits for random images.

    Raises ModelError if the module fails on such an image, cannot be traced, does not return logits [N, K], or gives
    an image logits that depend on chance or on the rest of the batch; ExecutionError where there is no memory for it.
    """
    return traced(module, shape)[0]


def traced(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[Network, Graph]:
    """The network that :func:`trace` returns, and the graph that it was translated from."""
    with untouched(module):
        require_room(module, (BATCH.length, *shape))
        images = examples(module, (BATCH.length, *shape))
        logits = logits_of(module, images)
        program = _export(module, images)
        _refuse_chance(program)
        check_independence(module, images, logits)
        comparison = Comparison(module, *_compared(module, images, logits), program)
    try:
        graph, state = _recorded(program, module)
        tail = partial(make_tail, program.graph, graph.dtype)
        refused: dict[str, str] = {}
        with quiet():
            for _ in range(ROUNDS):
                network, values = translated(graph, state, shape, tail, refused)
                culprit = comparison.culprit(network, values) if comparison.differs(network) else None
                if culprit is None:
                    return comparison.counted(network), graph
                refused[culprit] = "its translation gives other values"
        raise ModelError(f"the model cannot be translated: its network gives other logits, for {', '.join(refused)}")
    except (ModelError, Timeout):
        raise
    except Exception as error:  # translators may meet arguments that they do not expect: one error, no traceback
        raise ModelError(f"the model cannot be translated: {type(error).__name__}: {first_line(error)}") from error


def _compared(module: torch.nn.Module, images: torch.Tensor, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of smooth noise on both sides of zero, on which networks are as well conditioned as on photographs, and
    the module's logits; those given if it does not take such images."""
    n, channels, *size = images.shape
    chance = torch.Generator().manual_seed(0)
    coarse = torch.randn(n, channels, *(-(-length // 16) for length in size), generator=chance)
    random = torch.nn.functional.interpolate(coarse, tuple(size), mode=SMOOTH[len(size)])
    random += 0.3 * torch.randn(images.shape, generator=chance)
    random = (random * along_batch(torch.tensor([1.0, 2.0]), random)).to(images.device, images.dtype)
    try:
        found = logits_of(module, random)
    except ModelError:
        return images, logits
    return (random, found) if bool(found.isfinite().all()) else (images, logits)


SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}
"""PyTorch's names for linear interpolation, by the number of axes."""

ROUNDS = 5
"""How often a module is translated at most, each time with another node left to PyTorch."""


def _export(module: torch.nn.Module, example: torch.Tensor) -> ExportedProgram:
    batch = Dim("batch", min=1)
    try:
        with _silent(), torch.no_grad():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
            decomposed: ExportedProgram = program.run_decompositions(_decompositions())
            narrow(decomposed.graph)
            return decomposed
    except Exception as error:
        frames = re.findall(r"[Nn]n_module_stack.*?'([\w.]+)'", str(error))
        where = f" in layer '{frames[-1]}'" if frames else ""
        reason = first_line(error)
        if "Constraints violated" in reason:
            reason = "its forward fixes the size of the batch, as len(x) and float(x.shape[0]) do; "
            reason += "x.shape[0] itself leaves it open"
        elif "data-dependent" in reason:
            reason = "its forward branches on the values of a tensor, as `if x.sum() > 0` does; "
            reason += "torch.where and torch.cond can be traced instead"
        elif (scripted := next(_scripted(module), None)) is not None:
            where, reason = "", f"layer '{scripted}' is scripted (torch.jit.script), and only Python can be traced: "
            reason += "put the module that it was compiled from in its place"
        raise ModelError(f"the model cannot be traced{where}: {reason}") from error


def _scripted(module: torch.nn.Module) -> Iterator[str]:
    """The paths of scripted parts, each before its own parts."""
    return (name for name, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule))


@contextmanager
def _silent() -> Iterator[None]:
    """Suppress what the exporter warns of, logs and prints besides the exception that it raises."""
    log = logging.getLogger(symbolic_shapes.__name__)
    was = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = was


_RECURRENT = (torch.ops.aten.lstm, torch.ops.aten.gru, torch.ops.aten.rnn_tanh, torch.ops.aten.rnn_relu)
_TRAIN = 6
"""The place of the argument of all these that says whether they train."""


def _decompositions() -> Any:
    """PyTorch's core decompositions, without those that lose what kdb has an operator for.

    Decomposed, dense layers on permuted maps become products of many matrices, some activations choices between two
    branches, interpolation a gather of cells, and recurrent layers some nodes a step.
    """
    table: Any = default_decompositions()
    aten = torch.ops.aten
    for whole in (aten.linear, aten.celu, aten.softplus, aten.mish, aten._prelu_kernel, aten.pixel_shuffle):
        table.pop(whole.default)
    for interpolated in (aten.upsample_linear1d, aten.upsample_trilinear3d):
        table.pop(interpolated.vec)
    for recurrent in _RECURRENT:
        table.pop(recurrent.input)
    return table


def _refuse_chance(program: ExportedProgram) -> None:
    """Raise ModelError if the result depends on random numbers; two runs that agree do not show that it does not."""
    for node in _needed(program.graph):
        if not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target.overloadpacket in _RECURRENT and not node.args[_TRAIN]:
            continue  # without dropout they draw nothing
        if torch.Tag.nondeterministic_seeded in node.target.tags:
            where = f"layer '{layer}' draws" if (layer := _layer(node)) else "the model draws"
            raise ModelError(
                f"{where} random numbers ({node.target.overloadpacket.__name__}) in eval mode: "
                "the output for an image may not depend on chance"
            )


def _recorded(program: ExportedProgram, module: torch.nn.Module) -> tuple[Graph, Mapping[str, Any]]:
    """The nodes of ``program`` that the result needs, and the values of the inputs by their source."""
    needed = _needed(program.graph)
    specs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
    state: dict[str, Any] = {}
    constants: dict[str, torch.Tensor] = {}
    inputs, calls = [], []
    for node in program.graph.nodes:
        if node.op == "placeholder" and specs[node.name].kind == InputKind.USER_INPUT:
            inputs.append(Input(node.name, "image"))
            dtype = node.meta["val"].dtype
        elif node not in needed:
            continue
        elif node.op == "call_function":
            calls.append(_call(node))
        elif node.op == "placeholder":
            source = str(specs[node.name].target)
            value = value_of(program, source)
            owned = _has(module, source)
            (state if owned else constants)[source] = value
            inputs.append(Input(node.name, "state" if owned else "constant", source))
        else:  # a branch of torch.cond
            state[str(node.target)] = getattr(program.graph_module, str(node.target))
            inputs.append(Input(node.name, "state", str(node.target)))
    return Graph(tuple(inputs), tuple(calls), result_of(program.graph).name, dtype, constants), state


def _needed(graph: torch.fx.Graph) -> dict[torch.fx.Node, None]:
    """The nodes that the result depends on, in the order of the graph; asserts, for example, are not among them."""
    needed = {result_of(graph)}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return {node: None for node in graph.nodes if node in needed}


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
        dtype=value.dtype if isinstance(value, torch.Tensor) else None,
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
