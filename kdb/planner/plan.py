"""Plans as data: the logical plan that rules rewrite, and the physical plan that the executor runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

from kdb.geometry import Boxes, IntArray, Laid, Segments, Size
from kdb.kernels.base import Backend
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import Work
from kdb.operators.network import Network, Node
from kdb.planner.footprints import Core, Geometry


class ByModel(NamedTuple):
    """The thread-seconds that the model itself is expected to take for the positions, and why it is run, in words."""

    seconds: float
    because: str


@dataclass(frozen=True, eq=False)
class LogicalPlan:
    """What is to be computed: the last view of ``network`` for each update of its source.

    An update is a ``patch`` at a position, or a segment at the place by which it is known.

    Nodes before ``cut`` are maintained incrementally by their delta rules, the others are evaluated in full; a plan
    begins as the naive one, with only the source before the cut.  ``batches`` partition the distinct positions,
    ``groups`` partition the batches: results of a group's batches are gathered before a later stage goes on.
    ``bounded`` boxes are the paper's upper bound instead of the exact ones.  A patch that is ``uniform`` is of one
    colour; in the ``interior`` layers what reads it alone is its constant, and only the ring around that is computed.
    Boxes take at most the share ``threshold`` of a map on either axis: 1, unless the query permits less.  Layers that
    are ``frozen`` keep the value that they have on the unmodified image.  ``by_model`` says that the model itself
    evaluates everything, with the unmodified image in the same batch; no rule changes such a plan.
    """

    network: Network
    positions: IntArray
    patch: Laid
    cut: int
    batches: tuple[IntArray, ...]
    groups: tuple[tuple[int, ...], ...]
    duplicates: IntArray | None = None
    drop_null: bool = False
    full_batch: int = 1
    bounded: bool = False
    uniform: bool = False
    interior: frozenset[str] = frozenset()
    threshold: float = 1.0
    frozen: frozenset[str] = frozenset()
    by_model: ByModel | None = None
    full_macs: int = 0
    """Multiply-adds of one full inference, before any rule."""
    _geometries: list[Geometry] = field(default_factory=list, repr=False)
    """The last geometry computed, handed on from plan to plan: most rules leave it as it is."""

    @classmethod
    def naive(
        cls, network: Network, positions: IntArray, patch: Laid, bounded: bool = False, uniform: bool = False
    ) -> LogicalPlan:
        """Full inference, a position at a time."""
        n = len(positions)
        batches = tuple(np.arange(n)[:, None])
        groups = tuple((i,) for i in range(n))
        macs = network.macs
        return cls(network, positions, patch, 1, batches, groups, bounded=bounded, uniform=uniform, full_macs=macs)

    @property
    def geometry(self) -> Geometry:
        """Footprints of all layers."""
        asked = self.patch, self.bounded, self.threshold, self.frozen
        for last in self._geometries:
            same = last.network is self.network and last.positions is self.positions
            if same and (last.patch, last.bounded, last.threshold, last.frozen) == asked:
                return last
        self._geometries[:] = [Geometry(self.network, self.positions, *asked)]
        return self._geometries[0]

    def updates(self, batch: IntArray) -> Boxes:
        """The patches at the positions of a batch; of segments the places by which they are known."""
        extent = (1,) * self.positions.shape[1] if isinstance(self.patch, Segments) else self.patch
        return Boxes(self.positions[batch], extent)

    @property
    def mean_batch(self) -> int:
        """Positions in a batch, on average."""
        return max(round(len(self.positions) / max(len(self.batches), 1)), 1)

    def extents(self) -> dict[str, Size | None]:
        """Every layer's mean batch extent; None where nothing changes."""
        return self.geometry.batched(self.batches).means

    def changing(self) -> dict[str, Size | None]:
        """The size of every layer that positions change, None of the others: found faster than the extents."""
        footprints = self.geometry.footprints
        return {node.name: None if footprints[node.name] is None else node.shape.size for node in self.network}

    def cores(self, node: Node) -> tuple[Core, ...]:
        """What each batch's boxes in a layer have in their interior."""
        return self.geometry.batched(self.batches).cores(node)

    def with_network(self, network: Network) -> LogicalPlan:
        """The same over a rewritten network; only valid while the plan is naive, as the cut counts layers."""
        return replace(self, network=network, _geometries=[])  # a rule that compares both keeps this one's

    def crossing(self) -> tuple[str, ...]:
        """Layers before the cut that are read after it, in order."""
        before = zip(self.network.nodes[: self.cut], self.network.last_read, strict=False)
        return tuple(node.name for node, last in before if last >= self.cut)

    def verify(self, since: LogicalPlan | None = None) -> None:
        """Raise ValueError unless the plan is sound; what it shares with a sound one, ``since``, is not looked at."""
        self.network.verify()
        if not 1 <= self.cut <= len(self.network):
            raise ValueError(f"the cut {self.cut} is outside the network")
        if self.cut < len(self.network) and self.network.nodes[self.cut].operator.joined:
            raise ValueError(f"the cut parts {self.network.nodes[self.cut].name} from the layer before it")
        shared = since is not None and self.positions is since.positions and self.batches is since.batches
        if not shared:
            members = np.concatenate([*self.batches, np.zeros(0, np.int64)])
            if not _enumerate(members, len(self.positions)):
                raise ValueError("the batches do not partition the positions")
        if not (shared and since is not None and self.groups is since.groups):
            batches = np.fromiter(chain.from_iterable(self.groups), np.int64)
            if not _enumerate(batches, len(self.batches)):
                raise ValueError("the groups do not partition the batches")
        if self.network.output.name in self.frozen or not self.frozen <= {node.name for node in self.network}:
            raise ValueError("what is frozen is no layer before the output")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"{self.threshold} is no share of a map")
        if self.interior and not self.uniform:
            raise ValueError("a patch of several colours has no constant interior")
        if not self.interior <= {node.name for node in self.network.nodes[: self.cut] if node.operator.divisible}:
            raise ValueError("a layer with a constant interior has no delta rule for the ring around it")


def _enumerate(indices: IntArray, n: int) -> bool:
    """Whether each of n is there once."""
    return np.array_equal(np.sort(indices), np.arange(n))


@dataclass(frozen=True)
class Step:
    """One layer of a stage: how it is computed, what is expected of it, and whose memory it may take or free.

    The inputs of a ``watched`` layer are compared with their views: where they nearly cancel, deltas are not exact.
    """

    node: Node
    kernel: Kernel
    incremental: bool
    extent: Size
    work: Work
    seconds: float
    donate: tuple[bool, ...]
    releases: tuple[str, ...]
    interior: bool = False
    epilogue: Node | None = None
    """The pointwise layer that the same pass computes; its own step does nothing."""
    watched: bool = False


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


class Lowered(NamedTuple):
    """The stages of a plan, and the views that they read."""

    stages: tuple[Stage, ...]
    views: frozenset[str]


@dataclass(frozen=True, eq=False)
class PhysicalPlan:
    """What the executor runs: stages over groups of batches, and the views that must be materialized first.

    Each step's work and seconds are those of one launch, for a batch of the stage.  They are ``lowering``'s, which is
    called when they are first read: a plan that is left to the model itself does without.
    """

    logical: LogicalPlan
    backend: Backend
    lowering: Callable[[], Lowered]
    threads: int = 1

    @cached_property
    def _lowered(self) -> Lowered:
        return self.lowering()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In their order."""
        return self._lowered.stages

    @property
    def views(self) -> frozenset[str]:
        """The layers whose views are read."""
        return self._lowered.views

    @property
    def threads_per_group(self) -> int:
        """Threads that a kernel may use: more than one only where there are fewer groups than threads."""
        return max(self.threads // len(self.logical.groups), 1)

    @cached_property
    def noise(self) -> float:
        """The rounding error of deltas: that of the kernel which rounds most."""
        return max(step.kernel.noise for stage in self.stages for step in stage.steps)

    @cached_property
    def seconds(self) -> float:
        """Estimated seconds of all stages, or of the model itself, on ``threads`` that share the work evenly."""
        if self.logical.by_model:
            return self.logical.by_model.seconds / self.threads
        return sum(self.seconds_of(step) for stage in self.stages for step in stage.steps) / self.threads

    def seconds_of(self, step: Step) -> float:
        """Estimated thread-seconds of one step over all positions."""
        n = len(self.logical.positions)
        return step.seconds * n / (self.logical.mean_batch if step.incremental else min(self.logical.full_batch, n))

    @property
    def naive_macs(self) -> int:
        """Multiply-adds of full inference at every position asked for."""
        asked = self.logical.positions if self.logical.duplicates is None else self.logical.duplicates
        return self.logical.full_macs * len(asked)

    @cached_property
    def planned_macs(self) -> int:
        """Multiply-adds of the plan, over all batches, with the boxes as they will be run."""
        return sum(self.macs_by_layer.values())

    @cached_property
    def macs_by_layer(self) -> Mapping[str, int]:
        """Multiply-adds of each layer, over all positions."""
        network = self.logical.network
        cells = self.logical.geometry.batched(self.logical.batches).cells
        totals: dict[str, int] = {}
        for stage in self.stages:
            for step in stage.steps:
                node, shapes = step.node, network.input_shapes(step.node)
                if not step.incremental:
                    whole = node.shape.cells * len(self.logical.positions)
                    totals[node.name] = node.operator.macs(shapes, node.shape, whole)
                elif node.operator.macs(shapes, node.shape, 1):
                    inside = sum(core.cells for core in self.logical.cores(node)) if step.interior else 0
                    totals[node.name] = node.operator.macs(shapes, node.shape, cells[node.name] - inside)
        return totals
