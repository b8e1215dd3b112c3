"""Layers outside the vocabulary: cuts them out of the exported graph as one function that PyTorch evaluates.

It computes in the dtypes that the graph had, whatever the network before it computes in.
"""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from kdb.errors import ModelError
from kdb.frontends.axes import BATCH, Atom, Traced, length
from kdb.frontends.state.reach import content
from kdb.frontends.translate import Symbol
from kdb.kernels.base import Tail

Copies = dict[torch.fx.Node, torch.fx.Node]

_PLACES = frozenset({"argmax", "argmin", "argsort", "searchsorted", "bucketize", "nonzero"})
"""Functions that give the places of values."""
_PLACES_BESIDE = frozenset(
    {"sort", "topk", "max", "min", "median", "nanmedian", "mode", "kthvalue", "cummax", "cummin"}
    | {"max_pool2d_with_indices", "adaptive_max_pool2d", "fractional_max_pool2d"}
)
"""Functions whose second output has the places of the values in their first."""


def make_tail(
    exported: torch.fx.Graph, dtype: torch.dtype, opaque: Mapping[str, str], values: Mapping[str, Any]
) -> tuple[Tail, tuple[str, ...]]:
    """One function of all opaque nodes that the result needs, and the names of the layers whose maps it takes.

    ``dtype`` is the image's, and that of all traced tensors in the graph.  ``opaque`` says why nodes are opaque,
    ``values`` has the values of the others, as :func:`translate` found them.  Nodes that the result does not need,
    such as asserts, are left out.
    """

    def is_repeated(node: torch.fx.Node) -> bool:
        # An opaque node, or one with several outputs, some of which are opaque.
        return node.name in opaque or isinstance(values.get(node.name), tuple | list)

    result = result_of(exported)
    wanted = {result}
    for node in reversed(exported.nodes):
        if node in wanted:
            wanted.update(source for source in node.all_input_nodes if is_repeated(source))
    needed = [node for node in exported.nodes if node in wanted]
    graph = torch.fx.Graph()
    copies: Copies = {}
    crossing: dict[str, Traced] = {}
    root = torch.nn.Module()
    for node in needed:
        for source in node.all_input_nodes:
            value = values.get(source.name)
            if source not in copies and isinstance(value, Traced):
                copies[source] = graph.placeholder(f"value_{len(crossing)}")
                crossing[source.name] = value
    # The batch size is an input of its own, since no input tensor need have it as a dimension.
    batch = graph.placeholder("batch")
    for node in needed:
        for source in node.all_input_nodes:
            if source in copies:
                continue
            value = values[source.name]
            if isinstance(value, torch.Tensor):
                name = f"constant_{len(copies)}"
                root.register_buffer(name, value)
                copies[source] = graph.get_attr(name)
            elif isinstance(value, torch.fx.GraphModule):
                root.add_module(str(source.target), value)
                copies[source] = graph.get_attr(str(source.target))
            elif isinstance(value, Symbol):
                copies[source] = _copy_symbol(graph, source, batch, copies)
            else:
                raise ModelError(f"the model cannot be traced: {opaque[node.name]}")
        copies[node] = graph.node_copy(node, lambda source: copies[source])
    graph.output(copies[result])
    names = tuple(dict.fromkeys(value.name for value in crossing.values()))
    return TorchTail(torch.fx.GraphModule(root, graph), dtype, crossing, names), names


def value_of(program: torch.export.ExportedProgram, source: str) -> Any:
    """The value of an input of the exported graph: a parameter, a buffer, or a constant of the forward."""
    return program.state_dict[source] if source in program.state_dict else program.constants[source]


def result_of(exported: torch.fx.Graph) -> torch.fx.Node:
    """The node that computes the logits: the last output; the others are buffers that the forward modifies."""
    outputs: Any = exported.output_node().args[0]
    result: torch.fx.Node = outputs[-1]
    return result


def _copy_symbol(graph: torch.fx.Graph, node: torch.fx.Node, batch: torch.fx.Node, copies: Copies) -> torch.fx.Node:
    if node.target is torch.ops.aten.sym_size.int:
        return batch
    for source in node.all_input_nodes:
        if source not in copies:
            copies[source] = _copy_symbol(graph, source, batch, copies)
    return graph.node_copy(node, lambda source: copies[source])


class TorchTail:
    """The opaque part of a graph as a function of the maps [n, H, W, C] of the layers ``names``.

    ``crossing`` are the nodes whose values it takes, by name, as views of these maps, of which several may be of one.
    ``dtype`` is theirs in the graph.
    """

    def __init__(
        self, module: torch.fx.GraphModule, dtype: torch.dtype, crossing: Mapping[str, Traced], names: Sequence[str]
    ) -> None:
        self.crossing = crossing
        self._dtype, self._names = dtype, names
        self._modules = {torch.device("cpu"): module}

    def __call__(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The logits, float32 [n, K]."""
        maps = dict(zip(self._names, inputs, strict=True))
        return self._run([as_traced(maps[value.name], value) for value in self.crossing.values()], len(inputs[0]))

    def of(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The logits that it makes of the values of the nodes ``crossing``, for a batch as that of the example."""
        return self._run([values[name] for name in self.crossing], BATCH.length)

    @property
    def digest(self) -> str:
        """The SHA-256, in hexadecimal, of what it computes: functions, arguments and constants."""
        module = self._modules[torch.device("cpu")]
        digest = hashlib.sha256(f"{self._dtype} {[str(value) for value in self.crossing.values()]}".encode())
        for node in module.graph.nodes:
            digest.update(f"{node.name} {node.op} {node.target} {node.args} {node.kwargs};".encode())
        for part in module.modules():
            digest.update(str(part.code).encode() if isinstance(part, torch.fx.GraphModule) else b"")
        for name, tensor in module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
            digest.update(content(tensor))
        return digest.hexdigest()

    @property
    def jumps(self) -> str:
        """In words, what in it shows any rounding; empty for nothing.

        That is what works on the bits of numbers, or tells where in a map the largest values are: among equal values
        those that come first, which rounding would tell apart.  In vectors values seldom are equal.
        """
        maps = any(value.spatial for value in self.crossing.values())
        for node in self._modules[torch.device("cpu")].graph.nodes:
            name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
            second = any(user.target is operator.getitem and user.args[1] == 1 for user in node.users)
            if maps and (name in _PLACES or (name in _PLACES_BESIDE and second)):
                return f"{name} takes the first of equal values, which rounding of deltas would tell apart"
            masks = getattr(node.meta.get("val"), "dtype", None) == torch.bool
            if (name.startswith("bitwise_") and not masks) or node.target is torch.ops.aten.view.dtype:
                return f"{name} works on the bits of numbers, which rounding of deltas changes"
        return ""

    def _run(self, tensors: Sequence[torch.Tensor], n: int) -> torch.Tensor:
        device = tensors[0].device
        if device not in self._modules:
            self._modules[device] = copy.deepcopy(self._modules[torch.device("cpu")]).to(device)
        with torch.inference_mode():
            y: torch.Tensor = self._modules[device](*(each.to(self._dtype) for each in tensors), n)
        return y.float()


def as_traced(x: torch.Tensor, value: Traced) -> torch.Tensor:
    """A map [n, H, W, C] in the layout that the traced tensor had; contiguous, as views in the graph may require."""
    atoms, order = _atoms(value)
    n = len(x)
    x = x.reshape(n, *(atom.length for atom in atoms[1:])).permute(order)
    sizes = [n * length(dim) // BATCH.length if BATCH in dim else length(dim) for dim in value.dims]
    return x.reshape(sizes).contiguous()


def from_traced(x: torch.Tensor, value: Traced) -> torch.Tensor:
    """The inverse of :func:`as_traced`, for the batch of the example."""
    atoms, order = _atoms(value)
    x = x.reshape([atoms[i].length for i in order]).permute([order.index(i) for i in range(len(atoms))])
    size = (1 if axis is None else axis.length for axis in value.axes)
    return x.reshape(BATCH.length, *size, length(value.channels)).contiguous()


def _atoms(value: Traced) -> tuple[list[Atom], list[int]]:
    """The atoms of a map in memory order, and their order in the traced tensor."""
    atoms = [BATCH, *value.spatial, *value.channels]
    return atoms, [atoms.index(atom) for dim in value.dims for atom in dim]
