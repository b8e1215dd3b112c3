"""A traced CNN: a directed acyclic graph of operators in trace order, and the parameters they name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import networkx as nx
import numpy as np
import numpy.typing as npt

from kdb.kernels.base import Weight
from kdb.operators.base import Operator, Shape
from kdb.operators.leaves import Source


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

    def extended(self, arrays: Mapping[str, npt.NDArray[np.float32]]) -> ParameterStore:
        """A store that has ``arrays`` besides."""
        return ParameterStore({**self._weights, **{name: Weight(array) for name, array in arrays.items()}})

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays as stored."""
        return sum(weight.array.nbytes for weight in self._weights.values())


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

    @classmethod
    def build(cls, layers: Sequence[tuple[str, Operator, tuple[str, ...]]], parameters: ParameterStore) -> Network:
        """A network from (name, operator, inputs) in order; shapes are inferred, layers that feed nothing are left out.

        Raises ValueError for a cycle, an unknown input or shapes that do not fit.
        """
        graph = nx.DiGraph()
        for name, _, inputs in layers:
            graph.add_node(name)
            graph.add_edges_from((source, name) for source in inputs)
        output = layers[-1][0]
        live = nx.ancestors(graph, output) | {output, layers[0][0]}
        shapes: dict[str, Shape] = {}
        nodes = []
        for name, operator, inputs in layers:
            if name not in live:
                continue
            missing = [source for source in inputs if source not in shapes]
            if missing:
                raise ValueError(f"layer {name} reads {', '.join(missing)}, which does not come before it")
            shapes[name] = operator.output_shape([shapes[source] for source in inputs])
            nodes.append(Node(name, operator, inputs, shapes[name]))
        return cls(tuple(nodes), parameters)

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
        return [self[reader] for reader in self.graph.successors(name)]

    def input_shapes(self, node: Node) -> list[Shape]:
        """Of ``node``'s inputs."""
        return [self[source].shape for source in node.inputs]

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of one full inference (equation 11, dense layers included)."""
        return sum(node.operator.macs(self.input_shapes(node), node.shape, node.shape.size.area) for node in self.nodes)

    @cached_property
    def digest(self) -> str:
        """Hex digest of the graph's structure; weights are digested by the model they come from."""
        text = "\n".join(f"{node.name}={node.operator!r}({','.join(node.inputs)})" for node in self.nodes)
        return hashlib.sha256(text.encode()).hexdigest()

    def verify(self) -> None:
        """Raise ValueError unless the graph is sound: order, shapes, weights present, one source that comes first."""
        seen: dict[str, Shape] = {}
        for node in self.nodes:
            if any(source not in seen for source in node.inputs):
                raise ValueError(f"layer {node.name} comes before what it reads")
            if node.operator.output_shape([seen[source] for source in node.inputs]) != node.shape:
                raise ValueError(f"layer {node.name} says {node.shape}, which its operator does not give")
            if any(weight not in self.parameters for weight in node.operator.weights()):
                raise ValueError(f"layer {node.name} names a weight that is not there")
            if isinstance(node.operator, Source) != (node is self.nodes[0]):
                raise ValueError("a network has one source, and it comes first")
            seen[node.name] = node.shape
