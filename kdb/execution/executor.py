"""Runs a physical plan: workers take groups of batches through its stages; nothing is planned here.

Each worker computes on one thread, unless the plan has fewer groups than threads; a device's only worker on the thread
that is the device's.  A group's batches pass the delta stage one after another, their results are gathered in the
worker's own buffer, and the later stages run on that; so results depend on the plan alone, never on timing, and memory
on workers and groups, never on the number of positions.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain

import numpy as np

from kdb.errors import Error, ExecutionError, Interrupted
from kdb.execution.views import MaterializedViews
from kdb.geometry import Boxes, IntArray, Part, Size
from kdb.kernels.base import Array, Delta, Epilogue
from kdb.kernels.kernel import FUSED
from kdb.operators.base import Update, materialize
from kdb.operators.network import Node
from kdb.operators.pointwise import Pointwise
from kdb.planner.plan import PhysicalPlan, Stage, Step
from kdb.system.interrupts import deferred
from kdb.system.threads import Task, computing, limited_pools


@dataclass(frozen=True, eq=False)
class Occlusion:
    """What is laid over the image, in the units of the network's input: ``replacement`` is [h, w, C] (the patch), or
    [H, W, C] where ``aligned`` (an image that shows through the patch, a blurred one say); ``channels`` limits it."""

    replacement: Array
    aligned: bool = False
    channels: Array | None = None


Sink = Callable[[IntArray, Array], None]
"""Takes results: indices of positions [n], and their logits float32 [n, K]; called from any worker, one at a time."""


@dataclass
class Measured:
    """What execution saw: thread-seconds by layer and by stage, positions evaluated, multiply-adds made."""

    layers: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    evaluated: int = 0
    macs: int = 0

    def add(self, other: Measured) -> None:
        """Fold in another worker's."""
        for mine, theirs in ((self.layers, other.layers), (self.stages, other.stages)):
            for name, seconds in theirs.items():
                mine[name] += seconds
        self.evaluated += other.evaluated
        self.macs += other.macs


class Executor:
    """Runs plans on ``threads`` workers."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(
        self,
        plan: PhysicalPlan,
        views: MaterializedViews,
        occlusion: Occlusion,
        sink: Sink,
        progress: Callable[[int], None] | None = None,
        analyze: bool = False,
    ) -> Measured:
        """Evaluate every group; ``progress`` is told the number of positions finished, in the calling thread.

        To ``analyze`` is to wait for a device after every layer, so that what is measured is its own time.

        Raises Interrupted on Ctrl-C, once the workers have stopped between two batches, and ExecutionError for
        whatever goes wrong in one of them.
        """

        def prepared() -> _Run:
            with plan.backend.running():
                return _Run(plan, views, occlusion, sink, analyze)

        state = plan.backend.threads.call(prepared)
        groups: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        for group in plan.logical.groups:
            groups.put(group)
        count = min(self.threads, len(plan.logical.groups))
        each = plan.threads_per_group
        work = partial(state.work, groups, each)
        workers = [plan.backend.threads.task(work, f"kdb-worker-{i}") for i in range(count)]
        try:
            with limited_pools(each, plan.backend.host):
                try:
                    for worker in workers:
                        worker.start()
                    self._wait(workers, state, progress)
                finally:
                    # A process that ends while a worker runs aborts, so that a second Ctrl-C has to wait for them.
                    with deferred():
                        state.stop.set()
                        for worker in workers:
                            worker.end()
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error
        if state.error is not None:
            if isinstance(state.error, Error):
                raise state.error
            raise ExecutionError(f"execution failed: {state.error}") from state.error
        return state.measured

    @staticmethod
    def _wait(workers: Sequence[Task], state: _Run, progress: Callable[[int], None] | None) -> None:
        # Not by joining: a join that Ctrl-C breaks off takes a running thread for an ended one (Python 3.11).
        for _ in workers:
            ended = False
            while not ended:
                ended = state.ended.acquire(timeout=0.1)
                if progress is not None:
                    progress(state.finished)


class _Run:
    """One execution, shared by its workers."""

    def __init__(
        self, plan: PhysicalPlan, views: MaterializedViews, occlusion: Occlusion, sink: Sink, analyze: bool = False
    ) -> None:
        self.plan, self.analyze = plan, analyze
        self.views = views
        self.replacement = plan.backend.upload(occlusion.replacement)
        self.aligned = occlusion.aligned
        self.channels = None if occlusion.channels is None else plan.backend.upload(occlusion.channels)
        self.baseline = plan.backend.download(views[plan.logical.network.output.name]).reshape(-1)
        self.sink = sink
        self.stop = threading.Event()
        self.ended = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.error: BaseException | None = None
        self.measured = Measured()
        self.finished = 0
        self.constants = _constants(plan, occlusion) if plan.logical.interior else {}

    def work(self, groups: queue.SimpleQueue[tuple[int, ...]], threads: int) -> None:
        """A worker's life."""
        try:
            with computing(threads), self.plan.backend.running():
                # A device computes one group while the host delivers the one before.
                pending: list[Callable[[], None]] = []
                while not self.stop.is_set():
                    try:
                        group = groups.get_nowait()
                    except queue.Empty:
                        break
                    pending.append(_Group(self, group).run())
                    while len(pending) > (not self.plan.backend.host):
                        pending.pop(0)()
                for deliver in pending:
                    deliver()
        except BaseException as error:  # whatever it is, the caller raises it
            self.error = self.error or error
            self.stop.set()
        finally:
            self.ended.release()

    def deliver(self, members: IntArray, logits: Array, measured: Measured) -> None:
        """Hand results to the sink."""
        with self.lock:
            self.sink(members, logits)
            self.measured.add(measured)
            self.finished += len(members)


class _Group:
    """A group of batches on its way through the stages."""

    def __init__(self, run: _Run, group: Sequence[int]) -> None:
        self.run_ = run
        self.plan = run.plan
        self.backend = run.plan.backend
        self.network = run.plan.logical.network
        self.batches = [run.plan.logical.batches[i] for i in group]
        self.measured = Measured()

    def run(self) -> Callable[[], None]:
        """All stages; what delivers the result, which a device may still be computing.

        Stops early, without a result, where the run is to stop.
        """
        first, *rest = self.plan.stages
        members: list[IntArray] = []
        total = sum(len(batch) for batch in self.batches)
        buffers: dict[str, Array] = {}
        row = 0
        for batch in self.batches:
            if self.run_.stop.is_set():
                return lambda: None
            kept, values = self._delta_stage(first, batch)
            if len(kept):
                members.append(kept)
                row = self._gather(buffers, values, row, total)
        fetched: Callable[[], Array] | None = None
        if row:
            values = {name: buffer[:row] for name, buffer in buffers.items()}
            for stage in rest:
                values = self._full_stage(stage, values, row)
            fetched = self.backend.fetch(values[self.network.output.name])
        self.measured.evaluated = row
        return lambda: self._deliver(np.concatenate([*members, np.zeros(0, np.int64)]), fetched)

    def _deliver(self, done: IntArray, fetched: Callable[[], Array] | None) -> None:
        """The results of the positions ``done``; the others' are those of the image itself."""
        asked = np.concatenate(self.batches)
        logits = np.empty((len(asked), self.network.output.shape.channels), np.float32)
        logits[:] = self.run_.baseline
        if fetched is not None:
            order = np.argsort(asked, kind="stable")
            logits[order[np.searchsorted(asked, done, sorter=order)]] = fetched().reshape(len(done), -1)
        self.run_.deliver(asked, logits, self.measured)

    def _gather(self, buffers: dict[str, Array], values: Mapping[str, Array], row: int, total: int) -> int:
        count = 0
        for name, value in values.items():
            count = len(value)
            if count == total:
                buffers[name] = value
            else:
                if name not in buffers:
                    _, height, width, channels = value.shape
                    buffers[name] = self.backend.empty(total, Size(height, width), channels)
                buffers[name][row : row + count] = value
        return row + count

    def _delta_stage(self, stage: Stage, batch: IntArray) -> tuple[IntArray, dict[str, Array]]:
        """Deltas of one batch, and those that cross the cut laid on their views: [n, H, W, C]."""
        start = time.perf_counter()
        logical, views = self.plan.logical, self.run_.views
        source = self.network.source
        footprint = logical.geometry.footprints[source.name]
        assert footprint is not None
        boxes = footprint.boxes(batch, source.shape.size)
        updates = Boxes(logical.positions[batch], logical.patch)
        placed = self._placed(stage, batch)
        self.backend.announce(chain((boxes, updates), placed.values(), self._derived(stage, placed)))
        values = self._source_delta(boxes, updates)
        if logical.drop_null:
            changed = (values != 0).any(axis=(1, 2, 3))
            if not changed.all():
                batch, values = batch[changed], values[changed]
                left = Boxes(boxes.origins[changed], boxes.extent)
                if not len(batch):
                    return batch, {}
                # The largest may have gone, and the boxes of all later layers go by those that are left.
                boxes, placed = footprint.boxes(batch, source.shape.size), self._placed(stage, batch)
                values = self.backend.embed(Delta(left, values), boxes)
        deltas: dict[str, Delta] = {source.name: Delta(boxes, values)}
        for step in stage.steps:
            if step.kernel is FUSED:
                deltas[step.node.name] = deltas.pop(step.node.inputs[0])
                continue
            begun = time.perf_counter()
            deltas[step.node.name] = self._apply(step, deltas, batch, placed[step.node.name])
            self._awaited()
            for name in step.releases:
                deltas.pop(name, None)
            self.measured.layers[step.node.name] += time.perf_counter() - begun
        crossing = {}
        for name in stage.keeps:
            delta = deltas.pop(name)
            readers = [node.operator for node in self.network.readers(name)]
            delta.donate = not any(operator.aliases for operator in (self.network[name].operator, *readers))
            crossing[name] = materialize(self.backend, views[name], delta, self.network[name].shape.size)
        self.measured.stages[stage.name] += time.perf_counter() - start
        return batch, crossing

    def _awaited(self) -> None:
        if self.run_.analyze:
            self.backend.synchronize()

    def _placed(self, stage: Stage, batch: IntArray) -> dict[str, Boxes]:
        """The boxes of each layer; those that go by one footprint are one object."""
        geometry, known = self.plan.logical.geometry, dict[tuple[int, Size], Boxes]()
        placed = {}
        for step in stage.steps:
            size = step.node.shape.size
            footprint = geometry.footprints[step.node.name]
            assert footprint is not None, "only layers that change have a step"
            if (id(footprint), size) not in known:
                known[id(footprint), size] = footprint.boxes(batch, size)
            placed[step.node.name] = known[id(footprint), size]
        return placed

    @staticmethod
    def _derived(stage: Stage, placed: Mapping[str, Boxes]) -> Iterator[Boxes]:
        """The boxes that kernels derive from those of their layers."""
        for step in stage.steps:
            frames = step.node.operator.frames(step.kernel, placed[step.node.name])
            if frames is not None:
                yield frames

    def _source_delta(self, boxes: Boxes, updates: Boxes) -> Array:
        """``fill - image[B]``; a patch clipped by the far edge keeps what is inside, zero elsewhere in its box."""
        run = self.run_
        image = run.views[self.network.source.name]
        return self.backend.occlude(image, updates, run.replacement, run.aligned, run.channels, boxes)

    def _apply(self, step: Step, deltas: Mapping[str, Delta], batch: IntArray, boxes: Boxes) -> Delta:
        node, views = step.node, self.run_.views
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
            self.network.input_shapes(node),
            step.kernel,
            None if step.epilogue is None else self._epilogue(step.epilogue),
        )
        core = self.plan.logical.geometry.core(node, batch, boxes) if step.interior else None
        cells = boxes.extent.area - (core.extent.area if core else 0)
        self.measured.macs += node.operator.macs(update.shapes, node.shape, cells * len(boxes))
        if core is not None:
            return Delta(boxes, self._around(node, update, core))
        return Delta(boxes, node.operator.delta(self.backend, self.network.parameters, update))

    def _epilogue(self, node: Node) -> Epilogue:
        """What a pointwise layer makes of its input's delta."""
        operator, views = node.operator, self.run_.views
        assert isinstance(operator, Pointwise), "only those fuse"
        result = views[node.name] if operator.rounded else None
        return Epilogue(operator.program, self.network.parameters, views[node.inputs[0]], result)

    def _around(self, node: Node, update: Update, core: Part) -> Array:
        """The delta rule around the core; in it the layer's constant less its view."""
        boxes = update.boxes
        values = self.backend.empty(len(boxes), boxes.extent, node.shape.channels)
        for strip in core.around(boxes.extent):
            part = replace(update, boxes=boxes.part(strip))
            values[strip.slices] = node.operator.delta(self.backend, self.network.parameters, part)
        constant = self.run_.constants[node.name].reshape(-1)
        self.backend.replace(self.run_.views[node.name], boxes.part(core), constant, values[core.slices])
        return values

    def _full_stage(self, stage: Stage, values: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Full evaluation of gathered maps, in equal parts of at most ``stage.batch`` positions."""
        start = time.perf_counter()
        parts = -(-n // (stage.batch or n))
        size = -(-n // parts)
        kept: dict[str, Array] = {}
        for first in range(0, n, size):
            if first and self.run_.stop.is_set():
                raise Interrupted
            maps = {name: value[first : first + size] for name, value in values.items()}
            for step in stage.steps:
                begun = time.perf_counter()
                node, count = step.node, min(size, n - first)
                inputs = [self._map(maps, name, count) for name in node.inputs]
                maps[node.name] = node.operator.evaluate(
                    self.backend, self.network.parameters, inputs, step.kernel, step.donate[0]
                )
                self._awaited()
                for name in step.releases:
                    maps.pop(name, None)
                area = node.shape.size.area * count
                self.measured.macs += node.operator.macs(self.network.input_shapes(node), node.shape, area)
                self.measured.layers[node.name] += time.perf_counter() - begun
            self._gather(kept, {name: maps[name] for name in stage.keeps}, first, n)
        self.measured.stages[stage.name] += time.perf_counter() - start
        return kept

    def _map(self, maps: Mapping[str, Array], name: str, n: int) -> Array:
        """A map of the batch; a layer that no position changes lends its view to all of them."""
        if name in maps:
            return maps[name]
        return self.backend.repeat(self.run_.views[name], n)


def _constants(plan: PhysicalPlan, occlusion: Occlusion) -> dict[str, Array]:
    """What each layer is, [1, 1, 1, C], where it reads the patch alone."""
    network, inside = plan.logical.network, plan.logical.geometry.enclosed
    constants = {network.source.name: occlusion.replacement[None, :1, :1]}
    for node in network.nodes[1 : plan.logical.cut]:
        if node.name in inside:
            value = constants[node.inputs[0]]
            constants[node.name] = node.operator.constant(plan.backend, network.parameters, value)
    return constants
