"""The two kinds of stage: layers that are maintained by their delta rules, and layers that are evaluated in full.

A stage keeps nothing from one call to the next, so that workers share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np

from kdb.errors import Interrupted
from kdb.execution.cancellation import MOST, Doubts, doubts
from kdb.execution.changes import Changes
from kdb.execution.measured import Measured, timed
from kdb.execution.occlusion import Occlusion, Replacement
from kdb.execution.views import MaterializedViews
from kdb.geometry import Boxes, IntArray, Part, Size
from kdb.kernels.base import Array, Backend, Delta, Epilogue, rounded
from kdb.kernels.kernel import FUSED
from kdb.operators.base import Update, materialize
from kdb.operators.network import Node
from kdb.operators.pointwise import Pointwise
from kdb.planner.plan import PhysicalPlan, Stage, Step


class Gathered:
    """Maps of up to ``capacity`` positions, collected part by part in buffers; one part that has all is not copied."""

    def __init__(self, backend: Backend, capacity: int) -> None:
        self._backend, self._capacity = backend, capacity
        self._buffers: dict[str, Array] = {}
        self.count = 0

    def add(self, maps: Mapping[str, Array]) -> None:
        """Append the ``maps`` [n, H, W, C] of n positions, by layer."""
        added = 0
        for name, values in maps.items():
            added = len(values)
            if added == self._capacity:
                self._buffers[name] = values
                continue
            if name not in self._buffers:
                _, *size, channels = values.shape
                self._buffers[name] = self._backend.memory.empty(self._capacity, tuple(size), channels)
            self._buffers[name][self.count : self.count + added] = values
        self.count += added

    def maps(self) -> dict[str, Array]:
        """All that was added, [count, H, W, C] by layer."""
        return {name: buffer[: self.count] for name, buffer in self._buffers.items()}


class DeltaStage:
    """The layers before the cut: a batch of patches to maps of the layers that cross the cut.

    ``note`` is called with each layer, the batch's positions and their maps [n, H, W, C]: to find out what is wrong.
    ``changes`` are told of what observed layers read.
    """

    def __init__(
        self,
        stage: Stage,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        analyze: bool,
        note: Callable[[str, IntArray, Array], None] | None = None,
        changes: Changes | None = None,
    ) -> None:
        self._note, self._changes = note, changes
        self._stage, self._plan, self._views, self._analyze = stage, plan, views, analyze
        self._backend, self._network = plan.backend, plan.logical.network
        self._source_delta = occlusion.delta_on(plan.backend, views[self._network.source.name])
        self._constants: Mapping[str, Array] = {}
        if plan.logical.interior:
            assert isinstance(occlusion, Replacement), "no other is of one colour"
            self._constants = _constants(plan, occlusion)

    def run(self, batch: IntArray, measured: Measured) -> tuple[IntArray, dict[str, Array], Doubts]:
        """The positions of ``batch`` that change anything, as indices [n], and what crosses the cut, [n, H, W, C].

        The third is how far each position may not be trusted, [n]; see :mod:`kdb.execution.cancellation`.
        """
        with timed(measured.stages, self._stage.name):
            return self._run(batch, measured)

    def _run(self, batch: IntArray, measured: Measured) -> tuple[IntArray, dict[str, Array], Doubts]:
        logical = self._plan.logical
        source = self._network.source
        footprint = logical.geometry.footprints[source.name]
        assert footprint is not None
        boxes = footprint.boxes(batch, source.shape.size)
        updates = logical.updates(batch)
        placed = self._placed(batch)
        self._backend.memory.announce(chain((boxes, updates), placed.values(), self._derived(placed)))
        values = self._source_delta(updates, boxes)
        if logical.drop_null:
            changed = (values != 0).any(axis=tuple(range(1, values.ndim)))
            if not changed.all():
                batch, values = batch[changed], values[changed]
                left = Boxes(boxes.origins[changed], boxes.extent)
                if not len(batch):
                    return batch, {}, np.zeros(0, np.float32)
                # The largest box may have gone: all boxes of a batch have the extent of the largest that is left.
                boxes, placed = footprint.boxes(batch, source.shape.size), self._placed(batch)
                values = self._backend.deltas.embed(Delta(left, values), boxes)
        deltas: dict[str, Delta] = {source.name: Delta(boxes, values)}
        doubtful = np.zeros(len(batch), np.float32)
        for step in self._stage.steps:
            if step.kernel is FUSED:
                deltas[step.node.name] = deltas.pop(step.node.inputs[0])
                self._tell(step, batch, deltas)
                continue
            with timed(measured.layers, step.node.name):
                if step.watched:
                    np.maximum(doubtful, self._doubts(step.node, deltas), out=doubtful)
                if self._changes is not None and step.node.operator.observed:
                    delta = deltas[step.node.inputs[0]]
                    downloaded = Delta(delta.boxes, self._backend.memory.download(delta.values))
                    self._changes.take(downloaded, doubtful <= MOST)
                deltas[step.node.name] = self._apply(step, deltas, batch, placed[step.node.name], measured)
                if self._analyze:
                    self._backend.synchronize()
                self._tell(step, batch, deltas)
                for name in step.releases:
                    deltas.pop(name, None)
        return batch, {name: self._materialized(name, deltas.pop(name)) for name in self._stage.keeps}, doubtful

    def _doubts(self, node: Node, deltas: Mapping[str, Delta]) -> Doubts:
        """Of a layer on vectors, whose only input changes."""
        (name,) = node.inputs
        views, maps = [self._views[name]], [self._maps(name, deltas[name])]
        return doubts(self._backend, self._network, node, views, maps, self._plan.noise)

    def _tell(self, step: Step, batch: IntArray, deltas: Mapping[str, Delta]) -> None:
        """Call ``note``, if there is one, unless the kernel has computed the layer behind as well."""
        if self._note is not None and step.epilogue is None:
            name = step.node.name
            self._note(name, batch, self._backend.memory.download(self._maps(name, deltas[name])))

    def _maps(self, name: str, delta: Delta) -> Array:
        """A layer's maps [n, H, W, C], in memory of their own."""
        kept = Delta(delta.boxes, delta.values)
        return materialize(self._backend, self._views[name], kept, self._network[name].shape.size)

    def _materialized(self, name: str, delta: Delta) -> Array:
        """The maps of a layer that crosses the cut: its view with the deltas added, [n, H, W, C]."""
        readers = [node.operator for node in self._network.readers(name)]
        delta.donate = not any(operator.aliases for operator in (self._network[name].operator, *readers))
        return materialize(self._backend, self._views[name], delta, self._network[name].shape.size)

    def _placed(self, batch: IntArray) -> dict[str, Boxes]:
        """The boxes of each layer; layers with the same footprint share one object."""
        geometry, known = self._plan.logical.geometry, dict[tuple[int, Size], Boxes]()
        placed = {}
        for step in self._stage.steps:
            size = step.node.shape.size
            footprint = geometry.footprints[step.node.name]
            assert footprint is not None, "only layers that change have a step"
            if (id(footprint), size) not in known:
                known[id(footprint), size] = footprint.boxes(batch, size)
            placed[step.node.name] = known[id(footprint), size]
        return placed

    def _derived(self, placed: Mapping[str, Boxes]) -> Iterator[Boxes]:
        """The boxes that kernels derive from those of their layers."""
        for step in self._stage.steps:
            frames = step.node.operator.frames(step.kernel, placed[step.node.name])
            if frames is not None:
                yield frames

    def _apply(
        self, step: Step, deltas: Mapping[str, Delta], batch: IntArray, boxes: Boxes, measured: Measured
    ) -> Delta:
        """One layer's delta rule."""
        node, views = step.node, self._views
        inputs = [deltas.get(name) for name in node.inputs]
        for delta, donate in zip(inputs, step.donate, strict=True):
            if delta is not None:
                delta.donate = donate
        reads = node.operator.reads(step.kernel, [delta is not None for delta in inputs])
        update = Update(
            inputs,
            [views[name] if read else None for name, read in zip(node.inputs, reads.inputs, strict=True)],
            views[node.name] if reads.output else None,
            boxes,
            self._network.input_shapes(node),
            step.kernel,
            None if step.epilogue is None else self._epilogue(step.epilogue),
        )
        core = self._plan.logical.geometry.core(node, batch, boxes) if step.interior else None
        cells = math.prod(boxes.extent) - (math.prod(core.extent) if core else 0)
        measured.macs += node.operator.macs(update.shapes, node.shape, cells * len(boxes))
        if core is not None:
            return Delta(boxes, self._around(node, update, core))
        return Delta(boxes, node.operator.delta(self._backend, self._network.parameters, update))

    def _epilogue(self, node: Node) -> Epilogue:
        """A pointwise layer, for the kernel of the layer before it to compute in the same pass."""
        operator = node.operator
        assert isinstance(operator, Pointwise), "only those fuse"
        kept = rounded(operator.program) and node.name in self._views
        result = self._views[node.name] if kept else None
        return Epilogue(operator.program, self._network.parameters, self._views[node.inputs[0]], result)

    def _around(self, node: Node, update: Update, core: Part) -> Array:
        """A layer's delta: by its delta rule around the core, and inside it the layer's constant minus its view."""
        boxes = update.boxes
        values = self._backend.memory.empty(len(boxes), boxes.extent, node.shape.channels)
        for strip in core.around(boxes.extent):
            part = replace(update, boxes=boxes.part(strip))
            values[strip.slices] = node.operator.delta(self._backend, self._network.parameters, part)
        constant = self._constants[node.name].reshape(-1)
        self._backend.deltas.replace(self._views[node.name], boxes.part(core), constant, values[core.slices])
        return values


class FullStage:
    """Layers after the cut: maps to maps, each layer evaluated on all of its cells.

    ``stopped`` tells whether to give up between two parts.  ``changes`` are told of what observed layers read.
    """

    def __init__(
        self,
        stage: Stage,
        plan: PhysicalPlan,
        views: MaterializedViews,
        stopped: Callable[[], bool],
        analyze: bool,
        changes: Changes | None = None,
    ) -> None:
        self._changes = changes
        self._noise = plan.noise
        self._stage, self._views, self._stopped, self._analyze = stage, views, stopped, analyze
        self._backend, self._network = plan.backend, plan.logical.network

    def run(self, given: Mapping[str, Array], doubtful: Doubts, measured: Measured) -> dict[str, Array]:
        """The maps [n, H, W, C] that later stages read, from those ``given``, in equal parts of ``stage.batch``.

        ``doubtful`` [n] is raised where a watched layer's input is to be trusted less.
        """
        count = len(doubtful)
        parts = -(-count // (self._stage.batch or count))
        size = -(-count // parts)
        results = Gathered(self._backend, count)
        with timed(measured.stages, self._stage.name):
            for first in range(0, count, size):
                if first and self._stopped():
                    raise Interrupted
                part = {name: values[first : first + size] for name, values in given.items()}
                results.add(self._part(part, doubtful[first : first + size], measured))
        return results.maps()

    def _part(self, maps: dict[str, Array], doubtful: Doubts, measured: Measured) -> dict[str, Array]:
        count = len(doubtful)
        for step in self._stage.steps:
            node = step.node
            with timed(measured.layers, node.name):
                inputs = [self._map(maps, name, count) for name in node.inputs]
                if step.watched:
                    views = [self._views[name] for name in node.inputs]
                    found = doubts(self._backend, self._network, node, views, inputs, self._noise)
                    np.maximum(doubtful, found, out=doubtful)
                if self._changes is not None and node.operator.observed:
                    self._changes.take(self._changed(node, inputs[0]), doubtful <= MOST)
                maps[node.name] = node.operator.evaluate(
                    self._backend, self._network.parameters, inputs, step.kernel, step.donate[0]
                )
                if self._analyze:
                    self._backend.synchronize()
                for name in step.releases:
                    maps.pop(name, None)
                cells = node.shape.cells * count
                measured.macs += node.operator.macs(self._network.input_shapes(node), node.shape, cells)
        return {name: maps[name] for name in self._stage.keeps}

    def _changed(self, node: Node, given: Array) -> Delta:
        """What changes of the only input of a layer, all over its map."""
        view = self._backend.memory.download(self._views[node.inputs[0]])
        values = self._backend.memory.download(given) - view
        return Delta(Boxes.whole(len(values), view.shape[:-1]), values)

    def _map(self, maps: Mapping[str, Array], name: str, count: int) -> Array:
        """A layer's maps [count, H, W, C]; where no position changes the layer, its view repeated."""
        if name in maps:
            return maps[name]
        return self._backend.maps.repeat(self._views[name], count)


def _constants(plan: PhysicalPlan, occlusion: Replacement) -> dict[str, Array]:
    """By layer, its value [1, 1, 1, C] where its window sees nothing but the patch."""
    network, inside = plan.logical.network, plan.logical.geometry.enclosed
    one = (slice(1),) * (occlusion.values.ndim - 1)
    constants = {network.source.name: occlusion.values[None, *one]}
    for node in network.nodes[1 : plan.logical.cut]:
        if node.name in inside:
            value = constants[node.inputs[0]]
            constants[node.name] = node.operator.constant(plan.backend, network.parameters, value)
    return constants
