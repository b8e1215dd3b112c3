"""A traced CNN: a directed acyclic graph of operators in trace order, and the parameters they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx

from kdb.kernels.base import Origin, Weight
from kdb.operators.base import Operator, Shape
from kdb.operators.sources import Source


class ParameterStore(Mapping[str, Weight]):
    """Weights by name; shared, never changed in place.  Rules add derived ones under new names."""

    def __init__(self, weights: Mapping[str, Weight] | None = None) -> None:
        self._weights = dict(weights or {})

    def __getitem__(self, name: str) -> Weight:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def extended(self, added: Mapping[str, Origin]) -> ParameterStore:
        """A store that has more weights: arrays, or functions that are called when a weight is first read."""
        return ParameterStore({**self._weights, **{name: Weight(origin) for name, origin in added.items()}})


@dataclass(frozen=True, slots=True)
class Node:
    """One layer: a name, its operator, the names of its inputs, and the shape of its output."""

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in a topological order (the order of the trace); the first is the source, the last gives the logits."""

    nodes: tuple[Node, ...]
    parameters: ParameterStore
    sound: bool = False
    """Whether :meth:`verify` has nothing left to find; so it is with what :meth:`build` makes."""

    @classmethod
    def build(cls, layers: Sequence[tuple[str, Operator, tuple[str, ...]]], parameters: ParameterStore) -> Network:
        """A network from (name, operator, inputs) in order; shapes are inferred, layers that feed nothing are left out.

        Raises ValueError for a cycle, a name of two layers, an unknown input or shapes that do not fit.
        """
        live = {layers[0][0], layers[-1][0]}
        for name, _, inputs in reversed(layers):
            if name in live:
                live.update(inputs)
        shapes: dict[str, Shape] = {}
        nodes = []
        for name, operator, inputs in layers:
            if name not in live:
                continue
            missing = [source for source in inputs if source not in shapes]
            if missing:
                raise ValueError(f"layer {name} reads {', '.join(missing)}, which does not come before it")
            if name in shapes:
                raise ValueError(f"two layers are called {name}")
            shapes[name] = operator.output_shape([shapes[source] for source in inputs])
            nodes.append(Node(name, operator, inputs, shapes[name]))
            _check(nodes[-1], len(nodes) == 1, parameters)
        return cls(tuple(nodes), parameters, sound=True)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @property
    def source(self) -> Node:
        """The image."""
        return self.nodes[0]

    @property
    def output(self) -> Node:
        """The logits."""
        return self.nodes[-1]

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The nodes' names, an edge from each input to its reader."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(node.name for node in self.nodes)
        graph.add_edges_from((source, node.name) for node in self.nodes for source in node.inputs)
        return graph

    @property
    def depends_on_source(self) -> bool:
        """Whether the image has any say in the logits."""
        return self.source is not self.output and nx.has_path(self.graph, self.source.name, self.output.name)

    def readers(self, name: str) -> list[Node]:
        """The nodes that read ``name``, in order."""
        return self._readers[name]

    @cached_property
    def _readers(self) -> dict[str, list[Node]]:
        readers: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                readers[source].append(node)
        return readers

    @cached_property
    def last_read(self) -> tuple[int, ...]:
        """For each node, the index of the last one that reads it; the logits are read after all others."""
        last = {source: i for i, node in enumerate(self.nodes) for source in node.inputs}
        last[self.output.name] = len(self)
        return tuple(last.get(node.name, 0) for node in self.nodes)

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Of ``node``'s inputs."""
        return self._input_shapes[node.name]

    @cached_property
    def _input_shapes(self) -> dict[str, tuple[Shape, ...]]:
        return {node.name: tuple(self[source].shape for source in node.inputs) for node in self.nodes}

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one full inference (equation 11, dense layers included)."""
        return sum(node.operator.macs(self.input_shapes(node), node.shape, node.shape.cells) for node in self.nodes)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the graph's structure; weights are digested by the model they come from."""
        names = {node.name: _first_name(node) for node in self.nodes}
        text = "\n".join(
            f"{names[node.name]}={node.operator.signature}({','.join(names[source] for source in node.inputs)})"
            for node in self.nodes
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def verify(self) -> None:
        """Raise ValueError unless the graph is sound: order, shapes, weights present, one source that comes first."""
        if self.sound:
            return
        seen: dict[str, Shape] = {}
        for node in self.nodes:
            if any(source not in seen for source in node.inputs):
                raise ValueError(f"layer {node.name} comes before what it reads")
            if node.operator.output_shape([seen[source] for source in node.inputs]) != node.shape:
                raise ValueError(f"layer {node.name} says {node.shape}, which its operator does not give")
            _check(node, not seen, self.parameters)
            seen[node.name] = node.shape


def _first_name(node: Node) -> str:
    """What the first version would have called a node: those without a name are called by their operator's label."""
    label, mark, number = node.name.partition("#")
    return (node.operator.first_label or label) + mark + number if label == node.operator.label else node.name


def _check(node: Node, first: bool, parameters: ParameterStore) -> None:
    if any(weight not in parameters for weight in node.operator.weights()):
        raise ValueError(f"layer {node.name} names a weight that is not there")
    if isinstance(node.operator, Source) != first:
        raise ValueError("a network has one source, and it comes first")
