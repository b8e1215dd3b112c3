"""Times the distinct layers of a plan, as its workers run them, with every kernel that competes for them."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.timing import Seconds, interleave
from kdb.geometry import Boxes, IntArray
from kdb.kernels.base import Array, Backend, Delta, FloatArray
from kdb.kernels.kernel import Kernel
from kdb.kernels.work import Work
from kdb.operators.base import Shape, Update
from kdb.operators.convolution import Convolution
from kdb.operators.dense import Dense
from kdb.operators.network import Node
from kdb.planner.calibration import busy_seconds
from kdb.planner.plan import PhysicalPlan
from kdb.system.threads import limited_pools

LEAST_SECONDS = 0.01
"""Least seconds of a kernel's turn, for which it is launched repeatedly."""
HOPELESS = 3
"""A kernel whose first run takes this many times as long as the fastest one's is not timed further."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One launch of a convolution or dense layer of a plan.

    Attributes:
        node: the layer; the first one of those that are alike.
        shape: of its input.
        inputs: boxes of a batch's input; whole maps if the layer is evaluated in full.
        outputs: boxes of a batch's output.
        incremental: whether it computes deltas.
        chosen: the plan's kernel.
        launches: number of launches for all positions, over all layers of the plan that are alike.
    """

    node: Node
    shape: Shape
    inputs: Boxes
    outputs: Boxes
    incremental: bool
    chosen: str
    launches: float

    def kernels(self, backend: Backend) -> dict[str, Kernel]:
        """The kernels that compete for the layer, by name."""
        operator = self.node.operator
        competing = operator.kernels(backend) if self.incremental else operator.evaluation_kernels(backend)
        return {kernel.name: kernel for kernel in competing}

    def work(self, kernel: Kernel) -> Work:
        """The work of ``kernel`` for one position, as the operator states it to the cost model."""
        if self.incremental:
            extents = self.inputs.extent, self.outputs.extent
            return self.node.operator.delta_work(kernel, [self.shape], extents[:1], self.node.shape, extents[1])
        return self.node.operator.full_work(kernel, [self.shape], self.node.shape)


def layers(plan: PhysicalPlan) -> list[Layer]:
    """The distinct convolution and dense layers, in the order of the plan.

    Incremental layers get the boxes of the plan's typical batch; the head gets as many positions as a group has.
    """
    logical = plan.logical
    network, count, batch = logical.network, len(logical.positions), typical_batch(plan)
    positions_at_once = {"full": min(logical.full_batch, count), "head": round(count / len(logical.groups))}
    found: dict[Hashable, Layer] = {}
    for stage in plan.stages:
        for step in stage.steps:
            node, operator = step.node, step.node.operator
            if not isinstance(operator, Convolution | Dense):
                continue
            before = network[node.inputs[0]]
            if step.incremental:
                inputs, outputs = (logical.geometry.boxes(each, batch) for each in (before, node))
                assert inputs is not None and outputs is not None, "an incremental step has an input that changes"
            else:
                inputs, outputs = (
                    Boxes.whole(positions_at_once[stage.name], each.shape.size) for each in (before, node)
                )
            launches = count / len(outputs)
            alike = replace(operator, weight="", bias=None), before.shape, node.shape, step.kernel.name
            key = (*alike, inputs.extent, outputs.extent, len(outputs), step.incremental)
            if key in found:
                found[key] = replace(found[key], launches=found[key].launches + launches)
            else:
                found[key] = Layer(node, before.shape, inputs, outputs, step.incremental, step.kernel.name, launches)
    return list(found.values())


def typical_batch(plan: PhysicalPlan) -> IntArray:
    """The batch with the median of multiply-adds, int64 indices of positions.

    Boxes differ between batches, and the planner chooses kernels by their mean.
    """
    logical = plan.logical
    network = logical.network
    steps = [step for stage in plan.stages for step in stage.steps if step.incremental]

    def macs(batch: IntArray) -> int:
        extents = ((step.node, boxes.extent) for step in steps if (boxes := logical.geometry.boxes(step.node, batch)))
        each = (
            node.operator.macs(network.input_shapes(node), node.shape, math.prod(extent)) for node, extent in extents
        )
        return len(batch) * sum(each)

    return sorted(logical.batches, key=macs)[len(logical.batches) // 2]


class Launch:
    """Launches ``layer`` on random numbers, as times depend on shapes alone."""

    def __init__(self, plan: PhysicalPlan, layer: Layer) -> None:
        self.backend, self.parameters, self.layer = plan.backend, plan.logical.network.parameters, layer
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> FloatArray:
            return rng.standard_normal(shape, np.float32)

        self.values = normal(len(layer.inputs), *layer.inputs.extent, layer.shape.channels)
        self.views = [normal(*shape.size, shape.channels) for shape in (layer.shape, layer.node.shape)]

    def __call__(self, kernel: Kernel) -> Array:
        """Launch the delta rule, or full evaluation, with a kernel; returns its output [n, h, w, C]."""
        layer, operator = self.layer, self.layer.node.operator
        if not layer.incremental:
            return operator.evaluate(self.backend, self.parameters, [self.values], kernel, False)
        before, after = self.views
        delta = Delta(layer.inputs, self.values)
        update = Update([delta], [before], after, layer.outputs, [layer.shape], kernel)
        return operator.delta(self.backend, self.parameters, update)


def kernel_seconds(plan: PhysicalPlan, layer: Layer, rounds: int) -> dict[str, float]:
    """Seconds of one launch by each kernel that competes for the layer: the least of ``rounds``, in turns.

    All threads of the plan run the same launch at once.  The layouts of weights are prepared beforehand.
    """
    launch, kernels = Launch(plan, layer), layer.kernels(plan.backend)
    first: dict[str, float] = {}
    with limited_pools(1):
        for name, kernel in kernels.items():
            launch(kernel)
            first[name] = busy_seconds(partial(launch, kernel), plan.threads)
        limit = HOPELESS * min(first.values())

        def turn(name: str) -> Seconds:
            repeats = math.ceil(LEAST_SECONDS / first[name])
            return Seconds(busy_seconds(partial(launch, kernels[name]), plan.threads, repeats))

        turns = {name: partial(turn, name) for name in first if first[name] <= limit or name == layer.chosen}
        timings = interleave(turns, rounds=rounds, warmups=0)
    return first | {name: min(timing.seconds) for name, timing in timings.items()}
