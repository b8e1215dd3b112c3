"""Plans as data: the logical plan that rules rewrite, and the physical plan that the executor runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kdb.geometry import Boxes, Footprint, IntArray, Size, Spans
from kdb.kernels.base import Backend
from kdb.network import Network, Node
from kdb.operators.base import Work
from kdb.operators.leaves import Source


class Geometry:
    """The footprint of every layer for a set of positions: computed once a plan, without pixels."""

    def __init__(self, network: Network, positions: IntArray, patch: Size, bounded: bool = False) -> None:
        self.network = network
        self.footprints: dict[str, Footprint | None] = {}
        for node in network:
            if isinstance(node.operator, Source):
                self.footprints[node.name] = _updates(positions, patch, node.shape.size, bounded)
            else:
                inputs = [self.footprints[source] for source in node.inputs]
                self.footprints[node.name] = node.operator.project(inputs, network.input_shapes(node), node.shape)

    def boxes(self, node: Node, members: IntArray) -> Boxes | None:
        """Uniform boxes of a batch in one layer; None where nothing changes."""
        footprint = self.footprints[node.name]
        return None if footprint is None else footprint.boxes(members, node.shape.size)

    def mean_extent(self, node: Node, batches: tuple[IntArray, ...]) -> Size | None:
        """The extent of a batch's boxes, averaged over the batches and rounded up."""
        footprint = self.footprints[node.name]
        if footprint is None:
            return None
        flat = np.concatenate(batches)
        starts = np.cumsum([0, *(len(batch) for batch in batches[:-1])])
        height, width = (
            np.maximum(np.maximum.reduceat(spans.lengths[flat], starts), 1) for spans in (footprint.y, footprint.x)
        )
        # The area is what counts: a square mean of the areas, at the mean aspect.
        area, aspect = float(np.mean(height * width)), float(np.mean(height) / np.mean(width))
        rows = min(max(round((area * aspect) ** 0.5), 1), node.shape.height)
        return Size(rows, min(max(round(area / rows), 1), node.shape.width))


def _updates(positions: IntArray, patch: Size, image: Size, bounded: bool) -> Footprint:
    """The patch at each position, clipped at the image's far edges."""
    y, x = (Spans(positions[:, axis], np.minimum(positions[:, axis] + patch[axis], image[axis])) for axis in (0, 1))
    return Footprint(y, x, bounded)


@dataclass(frozen=True, eq=False)
class LogicalPlan:
    """What is to be computed: the last view of ``network`` for each update of its source.

    Nodes before ``cut`` are maintained incrementally by their delta rules, the others are evaluated in full; a plan
    begins as the naive one, with only the source before the cut.  ``batches`` partition the distinct positions,
    ``groups`` partition the batches: results of a group's batches are gathered before a later stage goes on.
    ``bounded`` boxes are the paper's upper bound instead of the exact ones.
    """

    network: Network
    positions: IntArray
    patch: Size
    cut: int
    batches: tuple[IntArray, ...]
    groups: tuple[tuple[int, ...], ...]
    duplicates: IntArray | None = None
    drop_null: bool = False
    full_batch: int = 1
    bounded: bool = False

    @classmethod
    def naive(cls, network: Network, positions: IntArray, patch: Size, bounded: bool = False) -> LogicalPlan:
        """Full inference, a position at a time."""
        n = len(positions)
        batches = tuple(np.array([i]) for i in range(n))
        return cls(network, positions, patch, 1, batches, tuple((i,) for i in range(n)), bounded=bounded)

    @cached_property
    def geometry(self) -> Geometry:
        """Footprints of all layers."""
        return Geometry(self.network, self.positions, self.patch, self.bounded)

    @property
    def mean_batch(self) -> int:
        """Positions in a batch, on average."""
        return max(round(len(self.positions) / max(len(self.batches), 1)), 1)

    def extents(self) -> dict[str, Size | None]:
        """Every layer's mean batch extent."""
        return {node.name: self.geometry.mean_extent(node, self.batches) for node in self.network}

    def with_network(self, network: Network) -> LogicalPlan:
        """The same over a rewritten network; only valid while the plan is naive, as the cut counts layers."""
        return replace(self, network=network)

    def crossing(self) -> tuple[str, ...]:
        """Layers before the cut that are read after it, in order."""
        before = {node.name for node in self.network.nodes[: self.cut]}
        read = {source for node in self.network.nodes[self.cut :] for source in node.inputs}
        if self.cut == len(self.network):
            read = {self.network.output.name}
        return tuple(node.name for node in self.network.nodes[: self.cut] if node.name in read & before)

    def verify(self) -> None:
        """Raise ValueError unless the plan is sound."""
        self.network.verify()
        if not 1 <= self.cut <= len(self.network):
            raise ValueError(f"the cut {self.cut} is outside the network")
        covered = np.sort(np.concatenate([*self.batches, np.zeros(0, np.int64)]))
        if not np.array_equal(covered, np.arange(len(self.positions))):
            raise ValueError("the batches do not partition the positions")
        if sorted(i for group in self.groups for i in group) != list(range(len(self.batches))):
            raise ValueError("the groups do not partition the batches")


@dataclass(frozen=True)
class Step:
    """One layer of a stage: how it is computed, what is expected of it, and whose memory it may take or free."""

    node: Node
    kernel: str
    incremental: bool
    extent: Size
    work: Work
    seconds: float
    disposable: tuple[bool, ...]
    releases: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """A pipeline of steps that a batch passes without a stop.

    ``keeps`` are the layers handed on to the next stage; ``batch`` is the number of positions at a time, None where
    the plan's own batches are meant.
    """

    name: str
    steps: tuple[Step, ...]
    keeps: tuple[str, ...]
    batch: int | None


@dataclass(frozen=True, eq=False)
class PhysicalPlan:
    """What the executor runs: stages over groups of batches, and the views that must be materialized first.

    Each step's work and seconds are those of one launch, for a batch of the stage.
    """

    logical: LogicalPlan
    backend: Backend
    stages: tuple[Stage, ...]
    views: frozenset[str]
    threads: int = 1

    @property
    def threads_per_group(self) -> int:
        """Threads that a kernel may use: more than one only where there are fewer groups than threads."""
        return max(self.threads // len(self.logical.groups), 1)

    @cached_property
    def seconds(self) -> float:
        """Estimated seconds of all stages, on ``threads`` that share the work evenly."""
        return sum(self.seconds_of(step) for stage in self.stages for step in stage.steps) / self.threads

    def seconds_of(self, step: Step) -> float:
        """Estimated thread-seconds of one step over all positions."""
        n = len(self.logical.positions)
        return step.seconds * n / (self.logical.mean_batch if step.incremental else min(self.logical.full_batch, n))

    @property
    def naive_macs(self) -> int:
        """Multiply-adds of full inference at every position asked for."""
        asked = self.logical.positions if self.logical.duplicates is None else self.logical.duplicates
        return self.logical.network.macs * len(asked)

    @cached_property
    def planned_macs(self) -> int:
        """Multiply-adds of the plan, over all batches, with the boxes as they will be run."""
        return sum(self.macs_by_layer.values())

    @cached_property
    def macs_by_layer(self) -> Mapping[str, int]:
        """Multiply-adds of each layer, over all positions."""
        network, geometry = self.logical.network, self.logical.geometry
        totals: dict[str, int] = {}
        for stage in self.stages:
            for step in stage.steps:
                node, shapes = step.node, network.input_shapes(step.node)
                if not step.incremental:
                    area = node.shape.size.area * len(self.logical.positions)
                    totals[node.name] = node.operator.macs(shapes, node.shape, area)
                elif node.operator.macs(shapes, node.shape, 1):
                    area = sum(
                        boxes.extent.area * len(boxes)
                        for batch in self.logical.batches
                        if (boxes := geometry.boxes(node, batch)) is not None
                    )
                    totals[node.name] = node.operator.macs(shapes, node.shape, area)
        return totals
